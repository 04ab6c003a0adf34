//! The store over Sentinel: the behaviour suite, and what becomes of it when another server is made the primary.

mod failover;
mod finding;

use std::time::Duration;

use cachex::store::redis::{RedisStore, RedisStoreBuilder};
use cachex_core::Encoded;
use cachex_core::testing::store::{Capabilities, StoreHarness};
use cachex_test_support::Sentinel;
use tokio::sync::OnceCell;

use super::{PATIENCE, capabilities, expire_on, get, ping, set, value};

/// A store that finds its primary through these sentinels.
fn builder(sentinel: &Sentinel) -> RedisStoreBuilder {
    let sentinels = sentinel.sentinels().iter().map(|sentinel| sentinel.addr().to_string());
    RedisStore::builder().sentinel(sentinel.master_name(), sentinels).connect_timeout(Duration::from_secs(2))
}

/// The same as a URL.
fn url(sentinel: &Sentinel) -> String {
    let sentinels: Vec<_> = sentinel.sentinels().iter().map(|sentinel| sentinel.addr().to_string()).collect();
    format!("redis-sentinel://{}/{}", sentinels.join(","), sentinel.master_name())
}

struct Harness;

/// One set of servers for the whole suite, whose cases share no keys.
async fn suite() -> &'static Sentinel {
    static SERVERS: OnceCell<Sentinel> = OnceCell::const_new();
    SERVERS.get_or_init(Sentinel::start).await
}

impl StoreHarness for Harness {
    type Value = Encoded;
    type Store = RedisStore;

    fn capabilities(&self) -> Capabilities {
        capabilities()
    }

    async fn open(&self, default_ttl: Option<Duration>) -> RedisStore {
        builder(suite().await).default_ttl(default_ttl).build().unwrap()
    }

    fn value(&self, n: u32) -> Encoded {
        value(format!("value {n}"))
    }

    fn short_ttl(&self) -> Duration {
        Duration::from_millis(100)
    }

    async fn pass(&self, time: Duration) {
        expire_on(suite().await.primary().await, time).await;
    }
}

mod behaviour {
    use super::Harness;

    cachex_core::store_behaviour_suite!((flavor = "current_thread"), Harness);
}
