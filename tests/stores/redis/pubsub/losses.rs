//! What is not heard is told.

use std::time::{Duration, Instant};

use cachex::store::redis::RedisStore;
use cachex_core::{Effect, ErrorKind, Invalidation};
use cachex_test_support::{Fault, FaultProxy, RedisServer, eventually};

use super::super::ping;
use super::{CHANNEL, MISSED, PATIENCE, keys, listeners, next, publish, subscribe, try_subscribe, until};

const LIMIT: Duration = Duration::from_millis(500);
/// The store asks every 3 s whether the server is there.
const NOTICED: Duration = Duration::from_secs(3).saturating_add(LIMIT);

#[tokio::test]
async fn a_killed_connection_comes_back_and_says_so() {
    let server = RedisServer::start().await;
    let store = RedisStore::connect(server.url()).unwrap();
    let mut subscription = subscribe(&store).await;
    for round in 1..=3 {
        server.command(["CLIENT", "KILL", "TYPE", "pubsub"]).await;
        assert_eq!(next(&mut subscription).await, MISSED);
        eventually(PATIENCE, async || listeners(&server).await == 1).await;
        let before = until(&mut subscription, &store, "after").await;
        assert!(before.iter().all(|message| *message == Invalidation::Missed), "{before:?}");
        assert_eq!(store.subscription_stats().losses, round);
    }
}

#[tokio::test]
async fn a_server_that_dies_and_returns_is_heard_again() {
    let server = RedisServer::start().await;
    let store = RedisStore::builder().url(server.url()).connections(1).build().unwrap();
    let mut subscription = subscribe(&store).await;
    publish(&store, &["before"]).await.unwrap();
    assert_eq!(next(&mut subscription).await, keys(&["before"]));

    server.kill().await;
    assert_eq!(next(&mut subscription).await, MISSED, "told at once, not when it is back");
    assert!(!store.subscription_stats().connected);
    // Those who come now are told why, at once; those who were there stay.
    eventually(PATIENCE, async || {
        let error = try_subscribe(&store).await.unwrap_err();
        (error.kind(), error.effect()) == (ErrorKind::Connection, Effect::None)
    })
    .await;

    server.restart().await;
    eventually(PATIENCE, async || listeners(&server).await == 1).await;
    // Requests have a connection of their own, which finds out by itself.
    eventually(PATIENCE, async || ping(&store).await.is_ok()).await;
    // What was published between the two was missed as well.
    let before = until(&mut subscription, &store, "after").await;
    assert_eq!(before, [Invalidation::Missed]);
    assert_eq!(store.subscription_stats().losses, 1);
}

#[tokio::test]
async fn a_half_open_connection_is_noticed() {
    let server = RedisServer::start().await;
    let proxy = FaultProxy::start(server.addr()).await;
    let store = RedisStore::builder().url(proxy.url()).response_timeout(LIMIT).build().unwrap();
    let mut subscription = subscribe(&store).await;
    let quick = RedisStore::connect(server.url()).unwrap();
    let start = Instant::now();
    proxy.set(Fault::Blackhole);
    publish(&quick, &["lost"]).await.unwrap();
    assert_eq!(next(&mut subscription).await, MISSED);
    assert!(start.elapsed() < NOTICED + Duration::from_secs(5), "{:?}", start.elapsed());

    proxy.set(Fault::Pass);
    eventually(PATIENCE, async || store.subscription_stats().connected).await;
    let before = until(&mut subscription, &quick, "after").await;
    assert_eq!(before, [Invalidation::Missed]);
}

#[tokio::test]
async fn a_quiet_connection_is_not_given_up() {
    let server = RedisServer::start().await;
    let store = RedisStore::builder().url(server.url()).response_timeout(LIMIT).build().unwrap();
    let mut subscription = subscribe(&store).await;
    // Asked for at least once, and answered.
    eventually(PATIENCE, async || {
        let clients = server.command(["CLIENT", "LIST", "TYPE", "pubsub"]).await;
        clients.as_str().unwrap().contains("cmd=ping")
    })
    .await;
    publish(&store, &["a"]).await.unwrap();
    assert_eq!(next(&mut subscription).await, keys(&["a"]));
    assert_eq!(store.subscription_stats().losses, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_subscriber_loses_messages_and_is_told_first() {
    const MESSAGES: usize = 600;
    let server = RedisServer::start().await;
    let store = RedisStore::connect(server.url()).unwrap();
    let (mut slow, mut quick) = (subscribe(&store).await, subscribe(&store).await);
    let long = "x".repeat(4000);
    let names = |n: usize| (0..4).map(|k| format!("{n}:{k}:{long}")).collect::<Vec<_>>();
    for n in 0..MESSAGES {
        let names = names(n);
        publish(&store, &names.iter().map(String::as_str).collect::<Vec<_>>()).await.unwrap();
        // The one that reads hears everything.
        let Some(Invalidation::Keys(heard)) = next(&mut quick).await else { panic!("message {n}") };
        assert!(heard.iter().map(|key| key.as_str()).eq(names.iter().map(String::as_str)));
    }
    assert!(store.subscription_stats().overflows > 0);
    assert_eq!(next(&mut slow).await, MISSED);
    // What is left is the end, without a gap, and less than there is room for.
    publish(&store, &["end"]).await.unwrap();
    let mut left = Vec::new();
    loop {
        match next(&mut slow).await {
            Some(Invalidation::Keys(heard)) if heard[0].as_str() == "end" => break,
            Some(Invalidation::Keys(heard)) => left.extend(heard),
            other => panic!("{other:?}"),
        }
    }
    assert!(left.len() * 4000 < 4 * 1024 * 1024, "{}", left.len());
    let expected: Vec<_> = (0..MESSAGES).flat_map(names).collect();
    let expected = &expected[expected.len() - left.len()..];
    assert!(left.iter().map(|key| key.as_str()).eq(expected.iter().map(String::as_str)));
}

#[tokio::test]
async fn a_server_that_is_down_is_a_typed_error_and_no_obstacle() {
    let server = RedisServer::start().await;
    server.kill().await;
    let store = RedisStore::connect(server.url()).unwrap();
    for _ in 0..10 {
        let error = try_subscribe(&store).await.unwrap_err();
        assert_eq!((error.kind(), error.effect()), (ErrorKind::Connection, Effect::None));
    }
    assert_eq!(store.subscription_stats().subscribers, 0);
    server.restart().await;
    let mut subscription = subscribe(&store).await;
    assert_eq!(until(&mut subscription, &store, "a").await, []);
}

#[tokio::test]
async fn a_subscriber_that_gave_up_leaves_nothing() {
    let server = RedisServer::start().await;
    let proxy = FaultProxy::start(server.addr()).await;
    proxy.set(Fault::Hold);
    let store = RedisStore::builder().url(proxy.url()).connect_timeout(PATIENCE).build().unwrap();
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { try_subscribe(&store).await.map(drop) }
    });
    eventually(PATIENCE, async || proxy.open_connections() == 1).await;
    assert_eq!(store.subscription_stats().subscribers, 1);
    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled());
    // Whatever it had begun would now come to pass.
    proxy.set(Fault::Pass);
    eventually(PATIENCE, async || proxy.open_connections() == 0).await;
    assert_eq!(store.subscription_stats().subscribers, 0);
}

#[test]
fn a_runtime_that_ends_takes_its_subscriptions_along_and_no_others() {
    let runtime =
        || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (first, second) = (runtime(), runtime());
    let server = second.block_on(RedisServer::start());
    let store = RedisStore::connect(server.url()).unwrap();
    let mut orphan = first.block_on(subscribe(&store));
    first.shutdown_background();
    second.block_on(async {
        assert_eq!(next(&mut orphan).await, None);
        let mut subscription = subscribe(&store).await;
        server.command(["PUBLISH", CHANNEL, "garbage"]).await;
        assert_eq!(next(&mut subscription).await, MISSED);
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_is_subscribed_hears_or_is_told_whatever_happens() {
    const SUBSCRIBERS: usize = 16;
    const ROUNDS: usize = 25;
    let server = RedisServer::start().await;
    let store = RedisStore::connect(server.url()).unwrap();
    let subscribers: Vec<_> = (0..SUBSCRIBERS)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut confirmed = 0;
                for round in 0..ROUNDS {
                    let Ok(mut subscription) = try_subscribe(&store).await else { continue };
                    confirmed += 1;
                    let name = format!("{n}:{round}");
                    publish(&store, &[&name]).await.unwrap();
                    loop {
                        match next(&mut subscription).await {
                            MISSED => break,
                            message if message == keys(&[&name]) => break,
                            message => assert!(message.is_some(), "the store is open"),
                        }
                    }
                }
                confirmed
            })
        })
        .collect();
    while subscribers.iter().any(|subscriber| !subscriber.is_finished()) {
        server.command(["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    }
    let mut confirmed = 0;
    for subscriber in subscribers {
        confirmed += subscriber.await.unwrap();
    }
    assert!(confirmed > 0);
    eventually(PATIENCE, async || listeners(&server).await == 0).await;
    assert_eq!(store.subscription_stats().subscribers, 0);
    let mut subscription = subscribe(&store).await;
    assert_eq!(until(&mut subscription, &store, "end").await, []);
}
