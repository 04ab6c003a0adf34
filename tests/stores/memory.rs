//! The memory store: the behaviour suite, and what is its own.

mod bounds;
mod concurrency;
mod expiry;

use std::time::Duration;

use cachex::store::memory::MemoryStore;
use cachex_core::testing::store::{Capabilities, StoreHarness};
use cachex_core::{CacheError, CacheRequest, CacheResponse, Key};
use tower_service::Service;

struct Harness;

impl StoreHarness for Harness {
    type Value = String;
    type Store = MemoryStore<String>;

    fn capabilities(&self) -> Capabilities {
        Capabilities::all("memory store")
    }

    async fn open(&self, default_ttl: Option<Duration>) -> MemoryStore<String> {
        let builder = MemoryStore::builder().max_entries(1000);
        match default_ttl {
            Some(ttl) => builder.default_ttl(ttl).build(),
            None => builder.build(),
        }
    }

    fn value(&self, n: u32) -> String {
        format!("value {n}")
    }

    fn short_ttl(&self) -> Duration {
        Duration::from_secs(90)
    }

    async fn pass(&self, time: Duration) {
        tokio::time::advance(time).await;
    }
}

mod suite {
    use super::Harness;

    cachex_core::store_behaviour_suite!((start_paused = true), Harness);
}

fn key(name: impl AsRef<str>) -> Key {
    Key::new(name).unwrap()
}

#[test]
fn nothing_happens_before_a_call_is_polled() {
    let mut store = MemoryStore::<u32>::new(10);
    let set = || CacheRequest::set(key("k"), 1, None);
    drop(store.call(set()));
    assert!(matches!(call(&store, CacheRequest::get(key("k"))), Ok(CacheResponse::Miss(_))));

    let read = std::pin::pin!(store.call(CacheRequest::get(key("k"))));
    call(&store, set()).unwrap();
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(matches!(read.poll(&mut cx), std::task::Poll::Ready(Ok(CacheResponse::Hit(_)))));
}

#[test]
fn a_future_that_has_answered_does_not_keep_the_store() {
    let store = MemoryStore::<u32>::new(10);
    let value = std::sync::Arc::new(1);
    call(&store, CacheRequest::set(key("k"), std::sync::Arc::clone(&value), None)).unwrap();
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let mut answered = std::pin::pin!(store.clone().call(CacheRequest::Ping));
    assert!(answered.as_mut().poll(&mut cx).is_ready());
    drop(store);
    assert_eq!(std::sync::Arc::strong_count(&value), 1);
}

/// The answer of a store that is always ready and whose futures are, too.
fn call<V: Send + Sync + 'static>(
    store: &MemoryStore<V>,
    request: impl Into<CacheRequest<V>>,
) -> Result<CacheResponse<V>, CacheError> {
    let future = std::pin::pin!(store.clone().call(request.into()));
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match future.poll(&mut cx) {
        std::task::Poll::Ready(answer) => answer,
        std::task::Poll::Pending => panic!("a memory store never waits"),
    }
}
