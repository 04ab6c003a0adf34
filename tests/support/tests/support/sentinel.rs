use cachex_test_support::{RedisServer, Reply, Sentinel, eventually};

use crate::SOON;

async fn role(server: &RedisServer) -> String {
    let role = server.command(["ROLE"]).await;
    role.as_array().and_then(|parts| parts[0].as_str()).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn all_know_each_other_when_start_returns() {
    let sentinel = Sentinel::start().await;
    let primary = sentinel.primary().await;
    assert_eq!(role(primary).await, "master");
    let replica = sentinel.replica().await;
    assert_eq!(role(replica).await, "slave");
    assert_eq!(sentinel.sentinel_addrs().len(), 3);
    assert_eq!(sentinel.urls()[0], format!("redis://{}", sentinel.sentinel_addrs()[0]));
    for watcher in sentinel.sentinels() {
        assert_eq!(role(watcher).await, "sentinel");
        let others = watcher.command(["SENTINEL", "SENTINELS", sentinel.master_name()]).await;
        assert_eq!(others.as_array().map(<[_]>::len), Some(2));
    }
    primary.set("k", "v").await;
    eventually(SOON, async || replica.command(["DBSIZE"]).await == Reply::Int(1)).await;
}

#[tokio::test]
async fn replaces_a_killed_primary_and_takes_it_back_as_a_replica() {
    let password = "p@ss \"w\u{f6}rd\"";
    let sentinel = Sentinel::builder().password(password).sentinel_password("watch \"me\"").start().await;
    let replica = sentinel.replica().await;
    sentinel.primary().await.set("k", "v").await;
    eventually(SOON, async || replica.command(["DBSIZE"]).await == Reply::Int(1)).await;

    let old = sentinel.kill_primary().await;
    let new = sentinel.wait_new_primary(old).await;
    assert_eq!(new.addr(), replica.addr());
    assert_eq!(new.get("k").await.as_deref(), Some(b"v".as_slice()));

    old.restart().await;
    sentinel.wait_ok().await;
    assert_eq!(sentinel.primary().await.addr(), new.addr());
    assert_eq!(sentinel.replica().await.addr(), old.addr());
    assert_eq!(role(old).await, "slave");
}

#[tokio::test]
async fn changes_the_parts_on_request_and_back() {
    let sentinel = Sentinel::start().await;
    let first = sentinel.failover().await;
    let second = sentinel.wait_new_primary(first).await;
    sentinel.wait_ok().await;
    assert_eq!(role(first).await, "slave");
    assert_eq!(sentinel.failover().await.addr(), second.addr());
    assert_eq!(sentinel.wait_new_primary(second).await.addr(), first.addr());
}

#[tokio::test]
async fn a_sentinel_remembers_over_a_restart_who_is_primary() {
    let sentinel = Sentinel::start().await;
    let old = sentinel.failover().await;
    let new = sentinel.wait_new_primary(old).await;
    let watcher = &sentinel.sentinels()[0];
    watcher.kill().await;
    watcher.restart().await;
    let name = sentinel.master_name();
    let addr = watcher.command(["SENTINEL", "GET-MASTER-ADDR-BY-NAME", name]).await;
    let port = addr.as_array().and_then(|parts| parts[1].as_str());
    assert_eq!(port, Some(new.port().to_string().as_str()));
    sentinel.wait_ok().await;
}

#[tokio::test]
async fn frozen_counts_as_dead() {
    let sentinel = Sentinel::start().await;
    let old = sentinel.primary().await;
    old.pause().await;
    let new = sentinel.wait_new_primary(old).await;
    assert_ne!(new.addr(), old.addr());
    old.resume().await;
    sentinel.wait_ok().await;
}
