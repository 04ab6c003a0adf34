//! A cluster of three masters and three replicas.

use std::time::Instant;

use cachex::preset::Recommended;
use cachex::store::redis::RedisStore;
use cachex_core::ErrorKind;
use cachex_test_support::Cluster;

use super::load::Load;
use super::typed;

/// Of a failover: a dead node, a cluster that does not serve all slots, and what layers say then.
const FAILOVER: [ErrorKind; 4] =
    [ErrorKind::Connection, ErrorKind::Timeout, ErrorKind::ClusterDown, ErrorKind::CircuitOpen];

fn store(cluster: &Cluster) -> RedisStore {
    RedisStore::builder().cluster(cluster.urls()).build().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_is_killed() {
    let cluster = Cluster::start().await;
    let load = Load::start(typed(&Recommended::new(), store(&cluster))).await;
    load.expect_losses();
    let old = cluster.kill_master(0).await;
    cluster.wait_promoted(0, old).await;
    load.recovers(Instant::now()).await;
    load.expect_no_more_losses().await;
    old.restart().await;
    cluster.wait_ok().await;
    load.serves(500).await;
    load.finish(&FAILOVER).await;
}

/// Its connections stay open, and nothing answers; nothing tells that another has its slots.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_falls_silent() {
    let cluster = Cluster::start().await;
    let load = Load::start(typed(&Recommended::new(), store(&cluster))).await;
    load.expect_losses();
    let old = cluster.master_for_slot(0).await;
    old.pause().await;
    cluster.wait_promoted(0, old).await;
    load.recovers(Instant::now()).await;
    load.expect_no_more_losses().await;
    old.resume().await;
    cluster.wait_ok().await;
    load.serves(500).await;
    load.finish(&FAILOVER).await;
}

/// A third of the slots goes to another master and comes back; nobody but the nodes notices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_move() {
    let cluster = Cluster::start().await;
    let load = Load::start_with_locks(typed(&Recommended::new(), store(&cluster))).await;
    let masters = cluster.masters().await;
    let (from, to) = (masters[0], masters[1]);
    for (from, to) in [(from, to), (to, from)] {
        cluster.move_slots(from, to, 2_000).await;
        load.serves(500).await;
    }
    load.recovers(Instant::now()).await;
    load.finish(&[ErrorKind::Timeout]).await;
}
