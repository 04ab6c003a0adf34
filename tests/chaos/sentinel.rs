//! A primary and a replica under three sentinels.

use std::time::Instant;

use cachex::preset::Recommended;
use cachex::store::redis::RedisStore;
use cachex_core::ErrorKind;
use cachex_test_support::Sentinel;

use super::load::Load;
use super::sealed;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_is_killed() {
    let sentinel = Sentinel::start().await;
    let addrs = sentinel.sentinel_addrs();
    let builder =
        RedisStore::builder().sentinel(sentinel.master_name(), addrs.iter().map(ToString::to_string));
    let load = Load::start(sealed(&Recommended::new(), builder.build().unwrap())).await;
    // A machine that stood still may have had a failover of its own making meanwhile: the replica has to be one again.
    sentinel.wait_ok().await;
    load.expect_losses();
    let old = sentinel.kill_primary().await;
    sentinel.wait_new_primary(old).await;
    load.recovers(Instant::now()).await;
    load.expect_no_more_losses().await;
    // It comes back as a primary with nothing in it, until the sentinels make it a replica.
    old.restart().await;
    sentinel.wait_ok().await;
    load.serves(500).await;
    load.finish(&[ErrorKind::Connection, ErrorKind::Timeout, ErrorKind::ReadOnly, ErrorKind::CircuitOpen])
        .await;
}
