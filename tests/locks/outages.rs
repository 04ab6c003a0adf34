//! A real server that dies, forgets, or cannot be reached while a lock is held.

use std::time::Duration;

use cachex::core::Encoded;
use cachex::store::redis::RedisStore;
use cachex::{Cache, ErrorKind};
use cachex_test_support::{Fault, FaultProxy, RedisServer, eventually};

use super::PATIENCE;

const TTL: Duration = Duration::from_secs(3);

fn cache(url: impl Into<String>) -> Cache<Encoded, RedisStore> {
    Cache::new(RedisStore::connect(url).unwrap())
}

#[tokio::test]
async fn a_server_that_forgot_the_lock_says_so_and_its_next_token_is_larger() {
    let server = RedisServer::start().await;
    let cache = cache(server.url());
    let guard = cache.lock("l", TTL, PATIENCE).await.unwrap();
    let first = guard.fencing_token();
    server.kill().await;
    server.restart().await;
    let second = cache.lock("l", TTL, PATIENCE).await.unwrap();
    assert!(second.fencing_token() > first);
    let why = tokio::time::timeout(PATIENCE, guard.lost()).await.unwrap();
    assert_eq!(why.kind(), ErrorKind::LockLost);
    // Its goodbye does the new holder no harm.
    assert!(!guard.release().await.unwrap());
    assert!(cache.try_lock("l", TTL).await.unwrap().is_none());
    assert!(second.release().await.unwrap());
}

#[tokio::test]
async fn a_short_outage_is_survived_and_a_long_one_told() {
    let server = RedisServer::start().await;
    let proxy = FaultProxy::start(server.addr()).await;
    let held = cache(proxy.url());
    let guard = held.lock("l", TTL, PATIENCE).await.unwrap();
    for fault in [Fault::Refuse, Fault::Blackhole] {
        proxy.set(fault);
        proxy.reset_connections();
        tokio::time::sleep(TTL / 4).await;
        proxy.set(Fault::Pass);
        proxy.reset_connections();
        // Held for longer than at any time during the outage: it has been extended since.
        eventually(PATIENCE, async || guard.is_lost() || guard.valid_for() > TTL * 9 / 10).await;
        assert!(!guard.is_lost());
    }
    proxy.set(Fault::Refuse);
    proxy.reset_connections();
    let why = tokio::time::timeout(PATIENCE, guard.lost()).await.unwrap();
    assert_eq!(why.kind(), ErrorKind::LockLost);
    assert!(std::error::Error::source(&why).is_some(), "with why it was not extended");
    assert!(cache(server.url()).lock("l", TTL, PATIENCE).await.is_ok());
}

#[tokio::test]
async fn waiting_for_a_lock_waits_out_a_restart() {
    let server = RedisServer::start().await;
    let cache = cache(server.url());
    cache.ping().await.unwrap();
    server.kill().await;
    let waiting =
        tokio::spawn(async move { cache.lock("l", TTL, PATIENCE).await.map(|guard| guard.is_lost()) });
    server.restart().await;
    assert!(!waiting.await.unwrap().unwrap());
}
