//! Invalidation messages on a cluster: the channel has a slot, and its subscribers go where that goes.

use std::time::Duration;

use cachex::store::redis::RedisStore;
use cachex_core::{ErrorKind, Invalidation};
use cachex_test_support::{Cluster, RedisServer, eventually};

use super::super::pubsub::{MISSED, keys, next, publish, subscribe, try_subscribe, until};
use super::{PATIENCE, builder, call, ping, shared};

const LIMIT: Duration = Duration::from_millis(500);

fn on(cluster: &Cluster, channel: &str) -> RedisStore {
    builder(cluster).invalidation_channel(channel).build().unwrap()
}

/// How many subscribers a node has on a channel.
async fn subscribers(node: &RedisServer, channel: &str) -> String {
    format!("{:?}", node.command(["PUBSUB", "SHARDNUMSUB", channel]).await)
}

#[tokio::test]
async fn what_one_store_publishes_another_hears() {
    let cluster = shared().await;
    let (ours, theirs) = (on(cluster, "{delivery}a"), on(cluster, "{delivery}a"));
    let apart = on(cluster, "{delivery}b");
    let (mut here, mut there) = (subscribe(&ours).await, subscribe(&theirs).await);
    assert_eq!(publish(&apart, &["elsewhere"]).await.unwrap(), 0);
    assert_eq!(publish(&ours, &["a", "b"]).await.unwrap(), 2);
    assert_eq!(next(&mut there).await, keys(&["a", "b"]));
    assert_eq!(next(&mut here).await, keys(&["a", "b"]));
    // Several messages, of keys in all slots.
    let names: Vec<_> = (0..5000).map(|n| format!("some:namespace:entity:{n}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    assert_eq!(publish(&theirs, &names).await.unwrap(), 2);
    let mut heard = Vec::new();
    while heard.len() < names.len() {
        match next(&mut here).await {
            Some(Invalidation::Keys(keys)) => heard.extend(keys),
            other => panic!("{other:?}"),
        }
    }
    assert!(heard.iter().map(|key| key.as_str()).eq(names));
    let stats = theirs.subscription_stats();
    assert_eq!((stats.subscribers, stats.connected, stats.losses), (1, true, 0));
    // The node that owns the slot, and no other, has them: a shard carries the channel.
    let owner = cluster.master_for_slot(Cluster::slot("{delivery}a")).await;
    for node in cluster.masters().await {
        let told = subscribers(node, "{delivery}a").await;
        assert_eq!(told.contains("Int(2)"), node.addr() == owner.addr(), "{told}");
    }
    drop(here);
    call(&theirs, cachex_core::CacheRequest::Close).await.unwrap();
    while next(&mut there).await.is_some() {}
    for error in
        [try_subscribe(&theirs).await.map(drop).unwrap_err(), publish(&theirs, &["a"]).await.unwrap_err()]
    {
        assert_eq!(error.kind(), ErrorKind::Closed);
    }
    eventually(PATIENCE, async || subscribers(owner, "{delivery}a").await.contains("Int(0)")).await;
}

#[tokio::test]
async fn a_channel_whose_slot_moves_is_heard_at_its_new_owner() {
    let cluster = Cluster::start().await;
    let from = cluster.master_for_slot(0).await;
    let masters = cluster.masters().await;
    let to = masters.into_iter().find(|master| master.addr() != from.addr()).unwrap();
    // Among the slots that move first.
    let channel = (0..).map(|n| format!("c{n}")).find(|name| Cluster::slot(name) < 50).unwrap();
    let [store, publisher, late] = [(); 3].map(|()| on(&cluster, &channel));
    for store in [&publisher, &late] {
        // Their map will be old.
        ping(store).await.unwrap();
    }
    let mut subscription = subscribe(&store).await;
    assert_eq!(publish(&publisher, &["before"]).await.unwrap(), 1);
    assert_eq!(next(&mut subscription).await, keys(&["before"]));

    cluster.move_slots(from, to, 50).await;
    assert_eq!(next(&mut subscription).await, MISSED, "told by the server, since nobody asks for anything");
    // Where it subscribed again before that was read, one message stands for both gaps.
    let is_cut_off = !store.subscription_stats().connected;
    eventually(PATIENCE, async || store.subscription_stats().connected).await;
    assert!(subscribers(to, &channel).await.contains("Int(1)"));
    assert_eq!(publish(&publisher, &["moved"]).await.unwrap(), 1, "follows the slot");
    let before = until(&mut subscription, &publisher, "after").await;
    if is_cut_off {
        assert_eq!(before.first(), MISSED.as_ref(), "what was published between the two was missed as well");
    }
    assert!(before.contains(&keys(&["moved"]).unwrap()), "{before:?}");
    assert!(store.subscription_stats().losses > 0);

    let mut second = subscribe(&late).await;
    assert_eq!(late.subscription_stats().losses, 0);
    assert_eq!(until(&mut second, &publisher, "late").await, []);
}

#[tokio::test]
async fn a_channel_outlives_its_owner() {
    let cluster = Cluster::start().await;
    let channel = "cachex:invalidations";
    let slot = Cluster::slot(channel);
    let connect = || builder(&cluster).connect_timeout(LIMIT).response_timeout(LIMIT).build().unwrap();
    let (store, publisher) = (connect(), connect());
    let mut subscription = subscribe(&store).await;
    publish(&publisher, &["before"]).await.unwrap();
    assert_eq!(next(&mut subscription).await, keys(&["before"]));
    let mut heard_again = async |new: &RedisServer| {
        eventually(PATIENCE, async || store.subscription_stats().connected).await;
        assert!(subscribers(new, channel).await.contains("Int(1)"));
        // The publisher finds out by itself.
        eventually(PATIENCE, async || publish(&publisher, &["again"]).await.is_ok()).await;
        let before = until(&mut subscription, &publisher, "after").await;
        assert!(before.contains(&Invalidation::Missed), "{before:?}");
    };

    let old = cluster.kill_master(slot).await;
    eventually(PATIENCE, async || store.subscription_stats().losses == 1).await;
    heard_again(cluster.wait_promoted(slot, old).await).await;

    // And one that vanishes without a word.
    old.restart().await;
    cluster.wait_ok().await;
    let frozen = cluster.master_for_slot(slot).await;
    frozen.pause().await;
    eventually(PATIENCE, async || store.subscription_stats().losses >= 2).await;
    heard_again(cluster.wait_promoted(slot, frozen).await).await;
    frozen.resume().await;
}
