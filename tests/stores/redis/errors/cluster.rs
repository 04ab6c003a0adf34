//! A store for one server that was pointed at a node of a cluster: it cannot do its work, and says what would.

use cachex::store::redis::RedisStore;
use cachex_core::{CacheRequest, Effect, ErrorKind, Retry};
use cachex_test_support::{Cluster, RedisServer, eventually};

use crate::redis::{PATIENCE, assert_told, call, get, key, ping, set, soon};

const HINT: &str = "builder().cluster";

#[tokio::test]
async fn clusterdown_and_crossslot() {
    let node = RedisServer::builder().arg("cluster-enabled", "yes").start().await;
    let store = RedisStore::connect(node.url()).unwrap();
    ping(&store).await.unwrap();
    let error = get(&store, "k").await.unwrap_err();
    assert_told(&error, ErrorKind::ClusterDown, soon(100), Effect::None);
    assert!(error.to_string().contains(HINT), "{error}");

    node.command(["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).await;
    eventually(PATIENCE, async || get(&store, "k").await.is_ok()).await;
    let many = CacheRequest::get_many(vec![key("a"), key("b")]);
    let error = call(&store, many).await.unwrap_err();
    assert_told(&error, ErrorKind::CrossSlot, Retry::Never, Effect::None);
    assert!(error.to_string().contains(HINT), "{error}");
}

#[tokio::test]
async fn moved_ask_and_tryagain() {
    let cluster = Cluster::start().await;
    let slot = Cluster::slot("{t}");
    let owner = cluster.master_for_slot(slot).await;
    let masters = cluster.masters().await;
    let other = masters.iter().find(|master| master.addr() != owner.addr()).unwrap();

    let elsewhere = RedisStore::connect(other.url()).unwrap();
    let error = set(&elsewhere, "{t}1", "v").await.unwrap_err();
    assert_told(&error, ErrorKind::Moved, Retry::Never, Effect::None);
    assert!(error.to_string().contains(HINT), "{error}");

    let store = RedisStore::connect(owner.url()).unwrap();
    set(&store, "{t}1", "v").await.unwrap();
    cluster.set_slot_migrating(slot, owner, other).await;
    let error = get(&store, "{t}2").await.unwrap_err();
    assert_told(&error, ErrorKind::Moved, Retry::Never, Effect::None);
    let many = CacheRequest::get_many(vec![key("{t}1"), key("{t}2")]);
    let error = call(&store, many).await.unwrap_err();
    assert_told(&error, ErrorKind::TryAgain, soon(10), Effect::None);
    assert!(error.to_string().contains(HINT), "{error}");
    // What has not left yet is served.
    assert!(get(&store, "{t}1").await.unwrap().is_some());
}
