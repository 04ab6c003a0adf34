//! One fault at a time: what the caller is told, and what it costs the others.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use cachex::store::redis::{ConnectionState, RedisStore};
use cachex_core::{CacheRequest, Effect, ErrorKind, Retry};
use cachex_test_support::{Fault, FaultProxy, RedisServer, Reply, eventually};
use tower_service::Service;

use super::{PATIENCE, assert_told, call, get, key, ping, set, soon, value};

const SHORT: Duration = Duration::from_millis(150);

async fn through_a_proxy() -> (RedisServer, FaultProxy, RedisStore) {
    let server = RedisServer::start().await;
    let proxy = FaultProxy::start(server.addr()).await;
    let store =
        RedisStore::builder().url(proxy.url()).connections(1).response_timeout(SHORT).build().unwrap();
    ping(&store).await.unwrap();
    (server, proxy, store)
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_a_timeout_of_unknown_effect() {
    let (server, proxy, store) = through_a_proxy().await;
    proxy.set(Fault::DropReplies);
    let start = Instant::now();
    let error = set(&store, "k", "v").await.unwrap_err();
    assert_told(&error, ErrorKind::Timeout, Retry::Now, Effect::Unknown);
    assert!(start.elapsed() >= SHORT && start.elapsed() < SHORT * 20, "{:?}", start.elapsed());
    // And indeed it had one.
    eventually(PATIENCE, async || server.get("k").await.is_some()).await;
}

#[tokio::test]
async fn a_half_open_connection_is_replaced() {
    let (_server, proxy, store) = through_a_proxy().await;
    // The bytes swallowed here leave the connection half open for good.
    proxy.set(Fault::Blackhole);
    assert_eq!(ping(&store).await.unwrap_err().kind(), ErrorKind::Timeout);
    proxy.set(Fault::Pass);
    eventually(PATIENCE, async || ping(&store).await.is_ok()).await;
    assert_eq!(store.state(), ConnectionState::Connected);
}

/// As under a stack whose time limit is shorter than the response timeout: no request is ever under way for that long.
#[tokio::test]
async fn a_half_open_connection_is_replaced_though_nobody_waits_for_a_timeout() {
    let server = RedisServer::start().await;
    let proxy = FaultProxy::start(server.addr()).await;
    let builder = RedisStore::builder().url(proxy.url()).connections(1);
    let store = builder.response_timeout(PATIENCE * 2).build().unwrap();
    ping(&store).await.unwrap();
    proxy.set(Fault::Blackhole);
    assert!(tokio::time::timeout(SHORT, ping(&store)).await.is_err());
    proxy.set(Fault::Pass);
    let impatient = async || tokio::time::timeout(SHORT, ping(&store)).await.is_ok_and(|pong| pong.is_ok());
    eventually(PATIENCE, impatient).await;
    assert_eq!(proxy.connections(), 2);
}

#[tokio::test]
async fn a_reset_fails_what_was_under_way_and_nothing_after() {
    let (server, proxy, store) = through_a_proxy().await;
    proxy.set(Fault::Hold);
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { set(&store, "k", "v").await }
    });
    let sent = proxy.bytes_to_server();
    server.command(["PING"]).await;
    tokio::task::yield_now().await;
    assert_eq!(proxy.bytes_to_server(), sent);
    proxy.reset_connections();
    let error = waiting.await.unwrap().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Connection | ErrorKind::Timeout), "{error:?}");
    assert_eq!(error.effect(), Effect::Unknown);
    proxy.set(Fault::Pass);
    eventually(PATIENCE, async || ping(&store).await.is_ok()).await;
}

#[tokio::test]
async fn a_reply_cut_in_two_is_no_value() {
    let (server, proxy, store) = through_a_proxy().await;
    server.set("k", vec![b'x'; 1000]).await;
    for cut in [1, 4, 6, 500, 1005] {
        eventually(PATIENCE, async || ping(&store).await.is_ok()).await;
        proxy.set(Fault::CutToClient(cut));
        let error = get(&store, "k").await.unwrap_err();
        assert_told(&error, ErrorKind::Connection, Retry::Now, Effect::Unknown);
        proxy.set(Fault::Pass);
    }
    eventually(PATIENCE, async || get(&store, "k").await.is_ok_and(|v| v == Some(vec![b'x'; 1000]))).await;
}

#[tokio::test]
async fn a_reply_in_crumbs_is_a_value() {
    let (server, proxy, store) = through_a_proxy().await;
    server.set("k", "a value").await;
    proxy.set(Fault::Slice(1));
    assert_eq!(get(&store, "k").await.unwrap().as_deref(), Some(b"a value".as_ref()));
}

#[tokio::test]
async fn a_cancelled_caller_leaves_the_connection_in_order() {
    let server = RedisServer::start().await;
    let proxy = FaultProxy::start(server.addr()).await;
    let builder = RedisStore::builder().url(proxy.url()).connections(1).response_timeout(SHORT);
    let store = builder.read_connections(0).build().unwrap();
    ping(&store).await.unwrap();
    assert_eq!(proxy.connections(), 1);
    cancel_callers(&server, &proxy, &store).await;
}

#[tokio::test]
async fn a_cancelled_caller_leaves_the_readers_in_order() {
    let (server, proxy, store) = through_a_proxy().await;
    let mut keys = (0..100).cycle();
    eventually(PATIENCE, async || {
        // Two that meet, for a pipe.
        let [one, other] = [(), ()].map(|()| format!("k{}", keys.next().unwrap()));
        let (one, other) = tokio::join!(get(&store, &one), get(&store, &other));
        assert!(one.is_ok() && other.is_ok());
        proxy.connections() == 6
    })
    .await;
    cancel_callers(&server, &proxy, &store).await;
}

async fn cancel_callers(server: &RedisServer, proxy: &FaultProxy, store: &RedisStore) {
    for n in 0..100 {
        server.set(format!("k{n}"), format!("v{n}")).await;
    }
    let connections = proxy.connections();
    for round in 0..20 {
        proxy.set(Fault::Hold);
        let calls: Vec<_> = (0..100)
            .map(|n| {
                let store = store.clone();
                tokio::spawn(async move { get(&store, &format!("k{n}")).await })
            })
            .collect();
        // Every other one leaves: some before it was sent, some while its answer is on the way.
        for _ in 0..round {
            tokio::task::yield_now().await;
        }
        for call in calls.iter().step_by(2) {
            call.abort();
        }
        proxy.set(Fault::Pass);
        for (n, call) in calls.into_iter().enumerate().skip(1).step_by(2) {
            assert_eq!(
                call.await.unwrap().unwrap(),
                Some(format!("v{n}").into_bytes()),
                "each gets its own answer"
            );
        }
    }
    assert_eq!(proxy.connections(), connections, "those that were there served it all");
}

#[tokio::test]
async fn a_future_polled_once_and_dropped_harms_nobody() {
    let (_server, _proxy, store) = through_a_proxy().await;
    for n in 0..50 {
        let mut future = store.clone().call(CacheRequest::set(key("k"), value(format!("{n}")), None));
        let polled = std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut future).poll(cx))).await;
        assert!(polled.is_pending());
        drop(future);
        ping(&store).await.unwrap();
    }
}

#[tokio::test]
async fn a_demoted_server_is_reported_and_left() {
    let primary = RedisServer::start().await;
    let demoted = RedisServer::start().await;
    let proxy = FaultProxy::start(demoted.addr()).await;
    let store = RedisStore::builder().url(proxy.url()).connections(1).build().unwrap();
    set(&store, "k", "v").await.unwrap();
    demoted.command(["REPLICAOF", "127.0.0.1", &primary.port().to_string()]).await;
    // As a virtual address does after a failover: new connections lead to the new primary.
    proxy.set_upstream(primary.addr());
    let error = set(&store, "k", "w").await.unwrap_err();
    assert_told(&error, ErrorKind::ReadOnly, Retry::Now, Effect::None);
    eventually(PATIENCE, async || set(&store, "k", "w").await.is_ok()).await;
    assert_eq!(primary.get("k").await.as_deref(), Some(b"w".as_ref()));
}

#[tokio::test]
async fn a_read_only_server_is_not_flooded_with_connections() {
    // With each replacement its one reader may come back.
    for (readers, each) in [(0, 1), (1, 2)] {
        read_only(readers, each).await;
    }
}

async fn read_only(readers: usize, each: u64) {
    let primary = RedisServer::start().await;
    let replica = RedisServer::start().await;
    replica.command(["REPLICAOF", "127.0.0.1", &primary.port().to_string()]).await;
    let proxy = FaultProxy::start(replica.addr()).await;
    let builder = RedisStore::builder().url(proxy.url()).connections(1);
    let store = builder.read_connections(readers).build().unwrap();
    let start = Instant::now();
    for _ in 0..500 {
        assert_eq!(set(&store, "k", "v").await.unwrap_err().kind(), ErrorKind::ReadOnly);
        get(&store, "k").await.unwrap();
    }
    let allowed = each * (2 + start.elapsed().as_secs());
    assert!(proxy.connections() <= allowed, "{} connections", proxy.connections());
}

#[tokio::test]
async fn a_busy_server_says_so_to_old_and_new_connections() {
    let server = Arc::new(RedisServer::builder().arg("busy-reply-threshold", "10").start().await);
    let builder = RedisStore::builder().url(server.url()).response_timeout(PATIENCE);
    let (old, new) = (builder.clone().build().unwrap(), builder.build().unwrap());
    ping(&old).await.unwrap();
    let endless = tokio::spawn({
        let server = Arc::clone(&server);
        async move { server.try_command(["EVAL", "while true do end", "0"]).await }
    });
    for store in [&old, &new] {
        eventually(PATIENCE, async || get(store, "k").await.is_err_and(|e| e.kind() == ErrorKind::Busy))
            .await;
        let error = set(store, "k", "v").await.unwrap_err();
        assert_told(&error, ErrorKind::Busy, soon(10), Effect::None);
        assert_eq!(store.state(), ConnectionState::Connected);
    }
    server.command(["SCRIPT", "KILL"]).await;
    endless.await.unwrap().unwrap();
    eventually(PATIENCE, async || get(&new, "k").await.is_ok()).await;
}

#[tokio::test]
async fn a_server_that_lacks_replicas_refuses_writes() {
    let server = RedisServer::builder().arg("min-replicas-to-write", "1").start().await;
    let store = RedisStore::connect(server.url()).unwrap();
    let error = set(&store, "k", "v").await.unwrap_err();
    assert_told(&error, ErrorKind::WriteRefused, Retry::Never, Effect::None);
    let many = CacheRequest::set_many(vec![(key("k"), value("v").into())], PATIENCE);
    assert_eq!(call(&store, many).await.unwrap_err().kind(), ErrorKind::WriteRefused);
    assert_eq!(get(&store, "k").await.unwrap(), None);
    assert_eq!(server.command(["DBSIZE"]).await, Reply::Int(0));
}
