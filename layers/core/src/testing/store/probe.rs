//! A store with the suite's words for it.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use tower_service::Service;

use super::{Capabilities, Fence, StoreHarness};
use crate::entry::Entry;
use crate::error::{CacheError, ErrorKind};
use crate::key::Key;
use crate::local::FillToken;
use crate::request::{CacheRequest, Condition, LockOwner, Op, Set};
use crate::response::{CacheResponse, FencingToken, KeyTtl};
use crate::tag::{IntoTags, Tags};
use crate::ttl::Ttl;

/// Long enough never to be waited for.
pub(super) const HOUR: Duration = Duration::from_secs(3600);

/// A part of [`HOUR`] that no test takes.
const SLACK: Duration = Duration::from_secs(600);

pub(super) type Answer<H> = Result<CacheResponse<<H as StoreHarness>::Value>, CacheError>;

pub(super) struct Probe<'h, H: StoreHarness> {
    pub(super) harness: &'h H,
    pub(super) store: H::Store,
}

pub(super) fn tags(names: &[&str]) -> Tags {
    names.into_tags().expect("names in the suite are valid tags")
}

impl<'h, H: StoreHarness> Probe<'h, H> {
    pub(super) async fn open(harness: &'h H) -> Self {
        Self::open_with(harness, None).await
    }

    pub(super) async fn open_with(harness: &'h H, default_ttl: Option<Duration>) -> Self {
        Self { harness, store: harness.open(default_ttl).await }
    }

    pub(super) fn key(&self, name: &str) -> Key {
        self.harness.key(name)
    }

    fn keys(&self, names: &[&str]) -> Vec<Key> {
        names.iter().map(|name| self.key(name)).collect()
    }

    pub(super) fn value(&self, n: u32) -> Arc<H::Value> {
        Arc::new(self.harness.value(n))
    }

    pub(super) async fn try_call(&self, request: impl Into<CacheRequest<H::Value>>) -> Answer<H> {
        let mut store = self.store.clone();
        poll_fn(|cx| store.poll_ready(cx)).await?;
        store.call(request.into()).await
    }

    pub(super) async fn call(&self, request: impl Into<CacheRequest<H::Value>>) -> CacheResponse<H::Value> {
        self.try_call(request).await.expect("the operation succeeds")
    }

    /// Whether the store has this operation. When it has not, the suite has seen it say so.
    pub(super) async fn has(&self, op: Op) -> bool {
        let Capabilities { store, unsupported, .. } = self.harness.capabilities();
        if !unsupported.contains(&op) {
            return true;
        }
        let error = self.try_call(self.sample(op)).await.expect_err("an unsupported operation is refused");
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{op}");
        assert_eq!(error.op(), Some(op), "the error names the operation");
        assert!(error.message().contains(store), "the error names the store {store}: {error}");
        false
    }

    /// Any valid request of this operation.
    pub(super) fn sample(&self, op: Op) -> CacheRequest<H::Value> {
        let key = self.key("sample");
        let owner = LockOwner(1);
        match op {
            Op::Get => CacheRequest::get(key),
            Op::GetMany => CacheRequest::get_many(vec![key]),
            Op::Set => CacheRequest::set(key, self.value(1), Ttl::Never),
            Op::SetMany => CacheRequest::set_many(vec![(key, self.value(1))], Ttl::Never),
            Op::Delete => CacheRequest::delete(key),
            Op::Exists => CacheRequest::exists(key),
            Op::Ttl => CacheRequest::ttl(key),
            Op::Expire => CacheRequest::expire(key, HOUR),
            Op::Increment => CacheRequest::increment(key, 1, Ttl::Never),
            Op::AddTags => CacheRequest::add_tags(key, tags(&["sample"])),
            Op::InvalidateTags => CacheRequest::invalidate_tags(tags(&["sample"])),
            Op::Lock => CacheRequest::lock(key, owner, HOUR),
            Op::ExtendLock => CacheRequest::extend_lock(key, owner, HOUR),
            Op::Unlock => CacheRequest::unlock(key, owner),
            Op::Publish => CacheRequest::publish(key),
            Op::Subscribe => CacheRequest::Subscribe,
            Op::Ping => CacheRequest::Ping,
            Op::Close => CacheRequest::Close,
        }
    }

    pub(super) fn fence(&self) -> Fence {
        self.harness.capabilities().fence
    }

    pub(super) fn typed_counters(&self) -> bool {
        self.harness.capabilities().typed_counters
    }

    pub(super) async fn get(&self, name: &str) -> Result<Entry<H::Value>, FillToken> {
        self.call(CacheRequest::get(self.key(name))).await.into_get().expect("get is answered by Hit or Miss")
    }

    /// Asserts that `name` holds value `n`, or nothing.
    pub(super) async fn expect(&self, name: &str, n: impl Into<Option<u32>>) {
        let found = self.get(name).await.ok().map(|entry| entry.value);
        let expected = n.into().map(|n| self.value(n));
        assert_eq!(found, expected, "the value of {name}");
    }

    /// The token of a miss.
    pub(super) async fn miss(&self, name: &str) -> FillToken {
        self.get(name).await.expect_err("a miss")
    }

    pub(super) async fn get_many(&self, names: &[&str]) -> Vec<Option<Arc<H::Value>>> {
        let answer = self.call(CacheRequest::get_many(self.keys(names))).await;
        let entries = answer.into_many(names.len()).expect("as many entries as keys");
        entries.into_iter().map(|entry| entry.map(|entry| entry.value)).collect()
    }

    pub(super) async fn set(&self, name: &str, n: u32, ttl: impl Into<Ttl>) {
        let stored = self.set_with(Set::new(self.key(name), self.value(n), ttl)).await;
        assert!(stored, "a plain write of {name} applies");
    }

    pub(super) async fn set_if(&self, condition: Condition, name: &str, n: u32, ttl: impl Into<Ttl>) -> bool {
        self.set_with(Set::new(self.key(name), self.value(n), ttl).condition(condition)).await
    }

    pub(super) async fn set_with(&self, set: Set<H::Value>) -> bool {
        self.call(set).await.into_applied(Op::Set).expect("set is answered by Applied")
    }

    pub(super) async fn set_tagged(&self, name: &str, n: u32, names: &[&str]) {
        assert!(self.set_with(Set::new(self.key(name), self.value(n), HOUR).tags(tags(names))).await);
    }

    pub(super) async fn set_many(&self, entries: &[(&str, u32)], ttl: impl Into<Ttl>) {
        let entries: Vec<_> = entries.iter().map(|&(name, n)| (self.key(name), self.value(n))).collect();
        let answer = self.call(CacheRequest::set_many(entries, ttl)).await;
        answer.into_done(Op::SetMany).expect("set_many is answered by Done");
    }

    pub(super) async fn fill(&self, name: &str, n: u32, ttl: impl Into<Ttl>, token: FillToken) -> bool {
        let answer = self.call(CacheRequest::fill(self.key(name), self.value(n), ttl, token)).await;
        answer.into_applied(Op::Set).expect("a fill is answered by Applied")
    }

    pub(super) async fn delete(&self, names: &[&str]) -> u64 {
        let answer = self.call(CacheRequest::delete(self.keys(names))).await;
        answer.into_count(Op::Delete).expect("delete is answered by Count")
    }

    pub(super) async fn exists(&self, names: &[&str]) -> u64 {
        let answer = self.call(CacheRequest::exists(self.keys(names))).await;
        answer.into_count(Op::Exists).expect("exists is answered by Count")
    }

    pub(super) async fn ttl(&self, name: &str) -> KeyTtl {
        self.call(CacheRequest::ttl(self.key(name))).await.into_ttl().expect("ttl is answered by Ttl")
    }

    /// Asserts that `name` has most of an hour to live.
    pub(super) async fn expect_an_hour(&self, name: &str) {
        match self.ttl(name).await {
            KeyTtl::After(left) if left <= HOUR && left > HOUR - SLACK => {}
            other => panic!("{name} should live for an hour, but: {other:?}"),
        }
    }

    pub(super) async fn expire(&self, name: &str, ttl: impl Into<Ttl>) -> bool {
        let answer = self.call(CacheRequest::expire(self.key(name), ttl)).await;
        answer.into_applied(Op::Expire).expect("expire is answered by Applied")
    }

    pub(super) async fn try_increment(
        &self,
        name: &str,
        delta: i64,
        ttl: impl Into<Ttl>,
    ) -> Result<i64, CacheError> {
        let answer = self.try_call(CacheRequest::increment(self.key(name), delta, ttl)).await?;
        Ok(answer.into_integer().expect("increment is answered by Integer"))
    }

    pub(super) async fn increment(&self, name: &str, delta: i64) -> i64 {
        self.try_increment(name, delta, Ttl::Never).await.expect("the increment succeeds")
    }

    pub(super) async fn lock(&self, name: &str, owner: u128, ttl: Duration) -> Option<FencingToken> {
        match self.call(CacheRequest::lock(self.key(name), LockOwner(owner), ttl)).await {
            CacheResponse::Locked(token) => token,
            other => panic!("lock is answered by Locked, not {other:?}"),
        }
    }

    pub(super) async fn extend(&self, name: &str, owner: u128, ttl: Duration) -> bool {
        let answer = self.call(CacheRequest::extend_lock(self.key(name), LockOwner(owner), ttl)).await;
        answer.into_applied(Op::ExtendLock).expect("extend_lock is answered by Applied")
    }

    pub(super) async fn unlock(&self, name: &str, owner: u128) -> bool {
        let answer = self.call(CacheRequest::unlock(self.key(name), LockOwner(owner))).await;
        answer.into_applied(Op::Unlock).expect("unlock is answered by Applied")
    }

    /// Lets time pass until `name` is gone.
    pub(super) async fn until_gone(&self, name: &str) {
        for _ in 0..PATIENCE {
            if self.exists(&[name]).await == 0 {
                return;
            }
            self.harness.pass(self.harness.short_ttl() / 4).await;
        }
        panic!("{name} has outlived its lifetime {} times over", PATIENCE / 4);
    }
}

/// How many quarters of a short lifetime the suite waits at most.
pub(super) const PATIENCE: u32 = 200;
