//! The Redis store on a cluster: the behaviour suite, and what a cluster adds.

mod failover;
mod outage;
mod pubsub;
mod redirects;
mod slots;
mod ways;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cachex::store::redis::{RedisStore, RedisStoreBuilder};
use cachex_core::testing::store::{Capabilities, StoreHarness};
use cachex_core::{CacheError, CacheRequest, Encoded, Op, StoredBytes};
use cachex_test_support::Cluster;
use tokio::sync::OnceCell;

use super::{PATIENCE, call, get, key, ping, set, value};

/// One cluster for all tests that leave its nodes alive. Slots may move under any of them.
async fn shared() -> &'static Cluster {
    static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
    CLUSTER.get_or_init(Cluster::start).await
}

/// Settings for a store that finds `cluster` by its first node.
fn builder(cluster: &Cluster) -> RedisStoreBuilder {
    RedisStore::builder().cluster([cluster.url()]).response_timeout(PATIENCE / 4)
}

struct Harness;

impl StoreHarness for Harness {
    type Value = Encoded;
    type Store = RedisStore;

    fn capabilities(&self) -> Capabilities {
        super::Harness.capabilities()
    }

    async fn open(&self, default_ttl: Option<Duration>) -> RedisStore {
        // Cases hear only themselves, and the slot is none of those that other tests move.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let channel = format!("{{suite}}{}", NEXT.fetch_add(1, Ordering::Relaxed));
        builder(shared().await).default_ttl(default_ttl).invalidation_channel(channel).build().unwrap()
    }

    fn value(&self, n: u32) -> Encoded {
        super::Harness.value(n)
    }

    fn short_ttl(&self) -> Duration {
        super::Harness.short_ttl()
    }

    async fn pass(&self, time: Duration) {
        super::Harness.pass(time).await;
    }
}

mod suite {
    use super::Harness;

    cachex_core::store_behaviour_suite!((flavor = "current_thread"), Harness);
}

async fn set_many(
    store: &RedisStore,
    entries: &[(String, String)],
    ttl: Option<Duration>,
) -> Result<(), CacheError> {
    let entries: Vec<_> =
        entries.iter().map(|(name, text)| (key(name), value(text.clone()).into())).collect();
    call(store, CacheRequest::set_many(entries, ttl)).await?.into_done(Op::SetMany)
}

async fn get_many(store: &RedisStore, names: &[String]) -> Result<Vec<Option<String>>, CacheError> {
    let keys: Vec<_> = names.iter().map(key).collect();
    let found = call(store, CacheRequest::get_many(keys)).await?.into_many(names.len())?;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Ok(found.into_iter().map(|entry| entry.map(|entry| text(entry.value.as_bytes()))).collect())
}

async fn count(store: &RedisStore, request: CacheRequest<Encoded>) -> Result<u64, CacheError> {
    let op = request.op();
    call(store, request).await?.into_count(op)
}

async fn increment(store: &RedisStore, name: &str, ttl: Option<Duration>) -> Result<i64, CacheError> {
    call(store, CacheRequest::increment(key(name), 1, ttl)).await?.into_integer()
}
