//! Locks on a real server, beyond what every store does.

use std::time::Duration;

use cachex::store::redis::RedisStore;
use cachex_core::{CacheRequest, CacheResponse, Effect, ErrorKind, FencingToken, LockOwner, Op};
use cachex_test_support::{Fault, FaultProxy, RedisServer, Reply, eventually};

use super::{PATIENCE, call, get, key, set};

const HOUR: Duration = Duration::from_secs(3600);
const DAY_MS: i64 = 24 * 3600 * 1000;

/// The name of the hash on the server.
const HASH: &str = "l\u{1f}lock";

async fn lock(store: &RedisStore, owner: u128, ttl: Duration) -> Option<FencingToken> {
    match call(store, CacheRequest::lock(key("l"), LockOwner(owner), ttl)).await.unwrap() {
        CacheResponse::Locked(token) => token,
        other => panic!("{other:?}"),
    }
}

async fn extend(store: &RedisStore, owner: u128, ttl: Duration) -> bool {
    let answer = call(store, CacheRequest::extend_lock(key("l"), LockOwner(owner), ttl)).await.unwrap();
    answer.into_applied(Op::ExtendLock).unwrap()
}

async fn unlock(store: &RedisStore, owner: u128) -> bool {
    call(store, CacheRequest::unlock(key("l"), LockOwner(owner)))
        .await
        .unwrap()
        .into_applied(Op::Unlock)
        .unwrap()
}

#[tokio::test]
async fn the_fence_grows_whatever_becomes_of_the_hash() {
    let server = RedisServer::start().await;
    let store = RedisStore::connect(server.url()).unwrap();
    let mut last = None;
    for n in 0..50 {
        let token = lock(&store, n, HOUR).await;
        assert!(token.is_some() && token > last, "{token:?} after {last:?}");
        last = token;
        match n % 5 {
            0 => drop(server.command(["FLUSHALL"]).await),
            1 => drop(server.command(["DEL", HASH]).await),
            _ => assert!(unlock(&store, n).await),
        }
    }
    // A clock that went back, as the hash sees it.
    server.command(["HSET", HASH, "fence", "9000000000000000"]).await;
    assert_eq!(lock(&store, 1, HOUR).await.unwrap().0.get(), 9_000_000_000_000_001);
    assert!(unlock(&store, 1).await);
    assert_eq!(lock(&store, 2, HOUR).await.unwrap().0.get(), 9_000_000_000_000_002);
}

#[tokio::test]
async fn a_server_that_forgot_the_scripts_is_told_them_again() {
    let server = RedisServer::start().await;
    let store = RedisStore::connect(server.url()).unwrap();
    let flush = async || drop(server.command(["SCRIPT", "FLUSH"]).await);
    flush().await;
    let token = lock(&store, 1, HOUR).await;
    assert!(token.is_some());
    flush().await;
    assert_eq!(lock(&store, 1, HOUR).await, token);
    flush().await;
    assert!(extend(&store, 1, HOUR).await);
    flush().await;
    assert!(unlock(&store, 1).await);
    flush().await;
    assert!(!unlock(&store, 1).await);
    let stats = server.command(["INFO", "commandstats"]).await;
    let evals =
        stats.as_str().unwrap().lines().find(|line| line.starts_with("cmdstat_eval:")).unwrap().to_owned();
    assert!(evals.contains("calls=5,"), "{evals}");
}

#[tokio::test]
async fn a_lock_and_an_entry_of_one_name_do_not_touch() {
    let server = RedisServer::start().await;
    let store = RedisStore::connect(server.url()).unwrap();
    assert!(set(&store, "l", "v").await.unwrap());
    assert!(lock(&store, 1, HOUR).await.is_some());
    assert_eq!(get(&store, "l").await.unwrap().as_deref(), Some(b"v".as_ref()));
    call(&store, CacheRequest::delete(key("l"))).await.unwrap();
    assert!(lock(&store, 2, HOUR).await.is_none());
    assert!(cachex_core::Key::new(HASH).is_err(), "no entry can have the name of a lock's hash");
}

#[tokio::test]
async fn what_is_left_of_a_lock_expires() {
    let server = RedisServer::start().await;
    let store = RedisStore::connect(server.url()).unwrap();
    let left = async || server.command(["PTTL", HASH]).await.as_int().unwrap();
    let about = |left: i64, expected: i64| left <= expected && left > expected - 60_000;
    assert!(lock(&store, 1, HOUR).await.is_some());
    assert!(about(left().await, DAY_MS));
    assert!(extend(&store, 1, HOUR * 48).await);
    assert!(about(left().await, 2 * DAY_MS));
    assert!(unlock(&store, 1).await);
    assert!(about(left().await, DAY_MS));
    assert_eq!(server.command(["HKEYS", HASH]).await, Reply::Array(vec![Reply::Bulk(b"fence".to_vec())]));
}

#[tokio::test]
async fn a_full_server_keeps_its_locks() {
    let server = RedisServer::builder().arg("maxmemory-policy", "noeviction").start().await;
    let store = RedisStore::connect(server.url()).unwrap();
    assert!(lock(&store, 1, HOUR).await.is_some());
    server.command(["CONFIG", "SET", "maxmemory", "1"]).await;
    assert!(extend(&store, 1, HOUR).await);
    assert!(unlock(&store, 1).await);
    let error = call(&store, CacheRequest::lock(key("l"), LockOwner(2), HOUR)).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::OutOfMemory, Effect::None));
}

#[tokio::test]
async fn an_answer_that_was_lost_can_be_asked_for_again() {
    let server = RedisServer::start().await;
    let proxy = FaultProxy::start(server.addr()).await;
    let limit = Duration::from_millis(200);
    let store =
        RedisStore::builder().url(proxy.url()).connections(1).response_timeout(limit).build().unwrap();
    // The server knows the script from now on: else the answer that is lost is that it does not.
    assert!(lock(&store, 2, HOUR).await.is_some() && unlock(&store, 2).await);
    let holder = async || server.command(["HGET", HASH, "owner"]).await;
    proxy.set(Fault::DropReplies);
    let error = call(&store, CacheRequest::lock(key("l"), LockOwner(1), HOUR)).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Timeout, Effect::Unknown));
    eventually(PATIENCE, async || holder().await != Reply::Nil).await;
    proxy.set(Fault::Pass);
    let request = CacheRequest::lock(key("l"), LockOwner(1), HOUR);
    let taken = async || matches!(call(&store, request.clone()).await, Ok(CacheResponse::Locked(Some(_))));
    eventually(PATIENCE, taken).await;
}

#[tokio::test]
async fn a_user_confined_to_its_keys_may_lock_them() {
    let acl = "~app:* +evalsha +eval +time +hmget +hset +hdel +pexpire +client";
    let server = RedisServer::builder().user("app", "pass", acl).start().await;
    let store = RedisStore::connect(server.url_as("app")).unwrap();
    let lock = |name| CacheRequest::lock(key(name), LockOwner(1), HOUR);
    assert!(matches!(call(&store, lock("app:job")).await, Ok(CacheResponse::Locked(Some(_)))));
    let error = call(&store, lock("other:job")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
}
