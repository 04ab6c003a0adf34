use cachex_test_support::{Cluster, RedisServer, Reply, eventually};

use crate::SOON;

/// A key of the first slot that `master` owns.
async fn key_of(cluster: &Cluster, master: &RedisServer) -> String {
    for n in 0.. {
        let key = format!("key:{n}");
        if cluster.master_for_slot(Cluster::slot(&key)).await.addr() == master.addr() {
            return key;
        }
    }
    unreachable!("every master owns a third of the slots")
}

fn error(reply: std::io::Result<Reply>) -> String {
    let reply = reply.expect("an answer");
    assert!(reply.is_error(), "{reply:?}");
    reply.as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn is_complete_and_in_step_when_start_returns() {
    let cluster = Cluster::start().await;
    assert_eq!(cluster.nodes().len(), 6);
    assert_eq!(cluster.urls().len(), 6);
    assert_eq!(cluster.url(), cluster.urls()[0]);
    let masters = cluster.masters().await;
    assert_eq!(masters.len(), 3);
    for master in masters {
        let replica = cluster.replica_of(master).await.expect("each has one");
        assert!(cluster.replica_of(replica).await.is_none());
        let key = key_of(&cluster, master).await;
        let slot = master.command(["CLUSTER", "KEYSLOT", &key]).await.as_int();
        assert_eq!(slot, Some(i64::from(Cluster::slot(&key))));

        assert_eq!(master.command(["SET", &key, "v"]).await.as_str(), Some("OK"));
        eventually(SOON, async || replica.command(["DBSIZE"]).await == Reply::Int(1)).await;
        let moved = error(replica.try_command(["GET", &key]).await);
        assert!(moved.starts_with("MOVED") && moved.ends_with(&master.addr().to_string()), "{moved}");
    }
}

#[tokio::test]
async fn replaces_a_killed_master_and_takes_it_back_as_a_replica() {
    let cluster = Cluster::builder().password("p@ss \"w\u{f6}rd\"").start().await;
    let slot = Cluster::slot("k");
    let replica = {
        let master = cluster.master_for_slot(slot).await;
        master.set("k", "v").await;
        cluster.replica_of(master).await.expect("it has one")
    };
    eventually(SOON, async || replica.command(["DBSIZE"]).await == Reply::Int(1)).await;

    let old = cluster.kill_master(slot).await;
    let new = cluster.wait_promoted(slot, old).await;
    assert_eq!(new.addr(), replica.addr());
    assert_eq!(new.get("k").await.as_deref(), Some(b"v".as_slice()));
    assert_eq!(cluster.masters().await.len(), 3);
    assert!(cluster.replica_of(new).await.is_none());

    old.restart().await;
    cluster.wait_ok().await;
    assert_eq!(cluster.replica_of(new).await.map(RedisServer::addr), Some(old.addr()));
}

#[tokio::test]
async fn replaces_a_frozen_master() {
    let cluster = Cluster::start().await;
    let old = cluster.master_for_slot(0).await;
    old.pause().await;
    let new = cluster.wait_promoted(0, old).await;
    assert_ne!(new.addr(), old.addr());
    old.resume().await;
    cluster.wait_ok().await;
    assert_eq!(cluster.replica_of(new).await.map(RedisServer::addr), Some(old.addr()));
}

#[tokio::test]
async fn moves_slots_with_their_keys() {
    let cluster = Cluster::builder().password("s3cret").start().await;
    let [from, to] = [0, 16_383].map(|slot| cluster.master_for_slot(slot));
    let (from, to) = (from.await, to.await);
    let keys = (0..).map(|n| format!("key:{n}")).filter(|key| Cluster::slot(key) < 200);
    let keys: Vec<_> = keys.take(50).collect();
    for key in &keys {
        from.set(key, key).await;
    }
    let moved = cluster.move_slots(from, to, 200).await;
    assert_eq!(moved, (0..200).collect::<Vec<_>>());
    for key in &keys {
        assert_eq!(to.get(key).await.as_deref(), Some(key.as_bytes()));
        assert!(error(from.try_command(["GET", key]).await).starts_with("MOVED"));
    }
    assert_eq!(cluster.master_for_slot(199).await.addr(), to.addr());
    assert_eq!(cluster.master_for_slot(200).await.addr(), from.addr());
}

#[tokio::test]
async fn a_slot_on_the_move_asks_and_wants_another_try() {
    let cluster = Cluster::start().await;
    let slot = Cluster::slot("{t}");
    let from = cluster.master_for_slot(slot).await;
    let masters = cluster.masters().await;
    let to = *masters.iter().find(|master| master.addr() != from.addr()).expect("three");
    from.set("{t}here", "1").await;

    cluster.set_slot_migrating(slot, from, to).await;
    assert_eq!(from.get("{t}here").await.as_deref(), Some(b"1".as_slice()));
    let ask = error(from.try_command(["GET", "{t}gone"]).await);
    assert_eq!(ask, format!("ASK {slot} {}", to.addr()));
    let again = error(from.try_command(["MGET", "{t}here", "{t}gone"]).await);
    assert!(again.starts_with("TRYAGAIN"), "{again}");

    cluster.cancel_migration(slot, from, to).await;
    assert_eq!(from.get("{t}gone").await, None);

    cluster.set_slot_migrating(slot, from, to).await;
    cluster.finish_migration(slot, from, to).await;
    assert_eq!(to.get("{t}here").await.as_deref(), Some(b"1".as_slice()));
    assert_eq!(cluster.master_for_slot(slot).await.addr(), to.addr());
}

#[tokio::test]
async fn a_dropped_cluster_is_gone() {
    let cluster = Cluster::start().await;
    let dirs: Vec<_> = cluster.nodes().iter().map(|node| node.dir().to_owned()).collect();
    let addrs: Vec<_> = cluster.nodes().iter().map(RedisServer::addr).collect();
    drop(cluster);
    assert!(dirs.iter().all(|dir| !dir.exists()));
    assert!(addrs.iter().all(|addr| std::net::TcpStream::connect(addr).is_err()));
}
