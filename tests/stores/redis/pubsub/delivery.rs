//! What is published is heard, by those who should.

use std::sync::Arc;

use cachex::Cache;
use cachex::store::redis::{RedisStore, Tls};
use cachex_core::{Encoded, ErrorKind, Invalidation};
use cachex_test_support::{RedisServer, TlsFiles, eventually};

use super::{CHANNEL, MISSED, PATIENCE, keys, listeners, next, publish, subscribe, try_subscribe};

fn connect(server: &RedisServer) -> RedisStore {
    RedisStore::connect(server.url()).unwrap()
}

#[tokio::test]
async fn every_store_hears_what_one_publishes() {
    let server = RedisServer::start().await;
    let (ours, theirs) = (connect(&server), connect(&server));
    let (mut here, mut there) = (subscribe(&ours).await, subscribe(&theirs).await);
    assert_eq!(publish(&ours, &["a", "b"]).await.unwrap(), 2);
    assert_eq!(next(&mut there).await, keys(&["a", "b"]));
    assert_eq!(next(&mut here).await, keys(&["a", "b"]));
    let stats = theirs.subscription_stats();
    assert_eq!((stats.subscribers, stats.connected, stats.received, stats.losses), (1, true, 1, 0));
}

#[tokio::test]
async fn own_echoes_are_dropped_on_request() {
    let server = RedisServer::start().await;
    let (ours, theirs) =
        (Cache::<Encoded, _>::new(connect(&server)), Cache::<Encoded, _>::new(connect(&server)));
    let (sender, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let listener = ours.subscribe_invalidations(move |message| sender.send(message).unwrap()).skip_own();
    let listener = listener.await.unwrap();
    // Another handle on the same store is no stranger.
    ours.clone().boxed().publish_invalidation(["own"]).await.unwrap();
    theirs.publish_invalidation(["other"]).await.unwrap();
    let message = tokio::time::timeout(PATIENCE, heard.recv()).await.unwrap();
    assert_eq!(message, keys(&["other"]));
    listener.close().await;
    eventually(PATIENCE, async || listeners(&server).await == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriptions_share_a_connection_that_ends_with_the_last() {
    let server = RedisServer::start().await;
    let store = connect(&server);
    for _ in 0..3 {
        let together = (0..20).map(|_| {
            let store = store.clone();
            tokio::spawn(async move { subscribe(&store).await })
        });
        let mut subscriptions = Vec::new();
        for subscription in together.collect::<Vec<_>>() {
            subscriptions.push(subscription.await.unwrap());
        }
        assert_eq!(listeners(&server).await, 1);
        let last = subscriptions.pop();
        drop(subscriptions);
        assert_eq!(publish(&store, &["a"]).await.unwrap(), 1);
        assert_eq!(next(&mut last.unwrap()).await, keys(&["a"]));
        eventually(PATIENCE, async || listeners(&server).await == 0).await;
    }
    assert_eq!(store.subscription_stats().losses, 0);
}

#[tokio::test]
async fn many_keys_are_split_over_messages_and_all_arrive() {
    let server = RedisServer::start().await;
    let store = connect(&server);
    let mut subscription = subscribe(&store).await;
    let names: Vec<_> = (0..10_000).map(|n| format!("some:namespace:entity:{n}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    assert_eq!(publish(&store, &names).await.unwrap(), 1);
    let mut heard = Vec::new();
    let mut messages = 0;
    while heard.len() < names.len() {
        match next(&mut subscription).await {
            Some(Invalidation::Keys(keys)) => heard.extend(keys),
            other => panic!("{other:?}"),
        }
        messages += 1;
    }
    assert!(heard.iter().map(|key| key.as_str()).eq(names));
    assert!(messages > 10, "{messages}");
}

#[tokio::test]
async fn channels_are_apart() {
    let server = RedisServer::start().await;
    let store = |channel: &str| {
        RedisStore::builder().url(server.url()).invalidation_channel(channel).build().unwrap()
    };
    let (orders, users) = (store("orders"), store("users"));
    let mut subscription = subscribe(&orders).await;
    assert_eq!(publish(&users, &["a"]).await.unwrap(), 0);
    assert_eq!(publish(&orders, &["b"]).await.unwrap(), 1);
    assert_eq!(next(&mut subscription).await, keys(&["b"]));
}

#[tokio::test]
async fn what_cannot_be_read_counts_as_missed() {
    let server = RedisServer::start().await;
    let store = connect(&server);
    let mut subscription = subscribe(&store).await;
    for garbage in ["", "hello", "\u{0}\u{1}\u{2}", &"x".repeat(1_000_000)] {
        server.command(["PUBLISH", CHANNEL, garbage]).await;
        assert_eq!(next(&mut subscription).await, MISSED);
    }
    publish(&store, &["after"]).await.unwrap();
    assert_eq!(next(&mut subscription).await, keys(&["after"]));
    let stats = store.subscription_stats();
    assert_eq!((stats.received, stats.undecodable, stats.losses), (5, 4, 0));
}

#[tokio::test]
async fn a_user_without_the_channel_is_told_so() {
    let server = RedisServer::builder().user("app", "pass", "~* resetchannels +@all").start().await;
    let store = RedisStore::connect(server.url_as("app")).unwrap();
    assert_eq!(try_subscribe(&store).await.unwrap_err().kind(), ErrorKind::PermissionDenied);
    assert_eq!(publish(&store, &["a"]).await.unwrap_err().kind(), ErrorKind::PermissionDenied);
    eventually(PATIENCE, async || listeners(&server).await == 0).await;

    server.command(["ACL", "SETUSER", "app", &format!("&{CHANNEL}")]).await;
    let mut subscription = subscribe(&store).await;
    publish(&store, &["a"]).await.unwrap();
    assert_eq!(next(&mut subscription).await, keys(&["a"]));
}

#[tokio::test]
async fn credentials_are_shown() {
    let server = RedisServer::builder().password("s3cret").start().await;
    let mut subscription = subscribe(&connect(&server)).await;
    assert_eq!(next(&mut subscription).await, None, "the store is gone");
    let wrong =
        RedisStore::builder().address("127.0.0.1", server.port()).password("hunter2").build().unwrap();
    let error = try_subscribe(&wrong).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth, "{error:?}");
    let none = RedisStore::builder().address("127.0.0.1", server.port()).build().unwrap();
    assert_eq!(try_subscribe(&none).await.unwrap_err().kind(), ErrorKind::Auth);
}

#[tokio::test]
async fn tls_and_unix_sockets_are_ways_too() {
    let files = TlsFiles::generate();
    let ca = std::fs::read(&files.ca_cert).unwrap();
    let server = RedisServer::builder().tls(files).unix_socket().start().await;
    let tls = RedisStore::builder().url(server.tls_url()).tls(Tls::new().ca_pem(ca)).build().unwrap();
    let socket = RedisStore::builder()
        .unix_socket(server.unix_socket().unwrap())
        .database(3)
        .client_name("listener")
        .build()
        .unwrap();
    let (mut by_tls, mut by_socket) = (subscribe(&tls).await, subscribe(&socket).await);
    let clients = server.command(["CLIENT", "LIST", "TYPE", "pubsub"]).await;
    assert!(clients.as_str().unwrap().contains("name=listener"), "{clients:?}");
    publish(&socket, &["a"]).await.unwrap();
    assert_eq!(next(&mut by_tls).await, keys(&["a"]));
    assert_eq!(next(&mut by_socket).await, keys(&["a"]));
}

#[tokio::test]
async fn closing_or_dropping_the_store_ends_its_subscriptions() {
    let server = RedisServer::start().await;
    let store = connect(&server);
    let (mut first, mut second) = (subscribe(&store).await, subscribe(&store).await);
    publish(&store, &["last"]).await.unwrap();
    assert_eq!(next(&mut first).await, keys(&["last"]));
    super::call(&store, cachex_core::CacheRequest::Close).await.unwrap();
    assert_eq!(next(&mut first).await, None);
    // What had arrived is still read.
    assert_eq!(next(&mut second).await, keys(&["last"]));
    assert_eq!(next(&mut second).await, None);
    assert_eq!(try_subscribe(&store).await.unwrap_err().kind(), ErrorKind::Closed);
    eventually(PATIENCE, async || listeners(&server).await == 0).await;

    let store = connect(&server);
    let mut subscription = subscribe(&store).await;
    drop(store);
    assert_eq!(next(&mut subscription).await, None);
    eventually(PATIENCE, async || listeners(&server).await == 0).await;
}

#[tokio::test]
async fn through_a_whole_stack() {
    let server = RedisServer::start().await;
    let cache = Arc::new(Cache::<String>::redis(&server.url()).unwrap());
    let mut subscription = cache.subscribe().await.unwrap();
    assert_eq!(cache.publish_invalidation(["a", "b"]).await.unwrap(), 1);
    assert_eq!(next(&mut subscription).await, keys(&["a", "b"]));
    cache.close().await.unwrap();
    assert_eq!(next(&mut subscription).await, None);
}
