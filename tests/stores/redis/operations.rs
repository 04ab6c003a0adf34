//! What the operations are on a real server, beyond what every store does.

use std::time::Duration;

use cachex::store::redis::RedisStore;
use cachex_core::{CacheRequest, CacheResponse, Effect, EntryMeta, ErrorKind, KeyTtl, Op, Origin, Ttl};
use cachex_test_support::{RedisServer, Reply};

use super::{call, get, key, set, value};

const HOUR: Duration = Duration::from_secs(3600);

async fn pttl(server: &RedisServer, name: &str) -> i64 {
    server.command(["PTTL", name]).await.as_int().unwrap()
}

fn within_an_hour(millis: i64) -> bool {
    (3_540_000..=3_600_000).contains(&millis)
}

#[tokio::test]
async fn lifetimes_reach_the_server_to_the_millisecond() {
    let server = RedisServer::start().await;
    let store = RedisStore::builder().url(server.url()).default_ttl(HOUR).build().unwrap();
    for (name, ttl) in [("default", Ttl::Default), ("after", Ttl::After(HOUR))] {
        call(&store, CacheRequest::set(key(name), value("v"), ttl)).await.unwrap();
        let left = pttl(&server, name).await;
        assert!(within_an_hour(left), "{name}: {left}");
        match call(&store, CacheRequest::ttl(key(name))).await.unwrap().into_ttl().unwrap() {
            KeyTtl::After(told) => assert!(told <= Duration::from_millis(left.try_into().unwrap())),
            other => panic!("{other:?}"),
        }
    }
    call(&store, CacheRequest::set(key("never"), value("v"), Ttl::Never)).await.unwrap();
    assert_eq!(pttl(&server, "never").await, -1);
    call(&store, CacheRequest::set(key("longest"), value("v"), Ttl::MAX)).await.unwrap();
    assert!(pttl(&server, "longest").await > 0);
    // Absolute times show what is exact: PEXPIRETIME before and after a write that keeps the lifetime.
    let request = CacheRequest::increment(key("n"), 5, HOUR);
    call(&store, request).await.unwrap();
    let expires = server.command(["PEXPIRETIME", "n"]).await;
    call(&store, CacheRequest::increment(key("n"), 1, Duration::from_secs(1))).await.unwrap();
    assert_eq!(server.command(["PEXPIRETIME", "n"]).await, expires, "an existing counter keeps its lifetime");
    assert_eq!(server.get("n").await.as_deref(), Some(b"6".as_ref()));
}

#[tokio::test]
async fn expire_of_what_never_expires_applies() {
    let server = RedisServer::start().await;
    let store = RedisStore::connect(server.url()).unwrap();
    server.set("k", "v").await;
    for (name, ttl, applied) in
        [("k", None, true), ("k", Some(HOUR), true), ("k", None, true), ("no", None, false)]
    {
        let answer = call(&store, CacheRequest::expire(key(name), ttl)).await.unwrap();
        assert_eq!(answer.into_applied(Op::Expire).unwrap(), applied, "{name} {ttl:?}");
    }
    assert_eq!(pttl(&server, "k").await, -1);
}

#[tokio::test]
async fn a_hit_says_where_it_came_from() {
    let server = RedisServer::start().await;
    let store = RedisStore::connect(server.url()).unwrap();
    set(&store, "k", [0, 255, 10, 13]).await.unwrap();
    let entry = call(&store, CacheRequest::get(key("k"))).await.unwrap().into_get().unwrap().unwrap();
    assert_eq!(entry.value, value([0, 255, 10, 13]).into());
    assert_eq!(entry.meta, EntryMeta::from_origin(Origin::Remote));
}

#[tokio::test]
async fn many_large_values_in_one_step() {
    let server = RedisServer::start().await;
    let store = RedisStore::builder().url(server.url()).response_timeout(super::PATIENCE).build().unwrap();
    let entries: Vec<_> =
        (0..2000).map(|n| (key(format!("k{n}")), value(vec![n as u8; 4096]).into())).collect();
    for ttl in [Ttl::Never, Ttl::After(HOUR)] {
        let answer = call(&store, CacheRequest::set_many(entries.clone(), ttl)).await.unwrap();
        assert!(matches!(answer, CacheResponse::Done));
        assert_eq!(server.command(["DBSIZE"]).await, Reply::Int(2000));
        let names: Vec<_> = entries.iter().map(|(key, _)| key.clone()).collect();
        let found = call(&store, CacheRequest::get_many(names)).await.unwrap().into_many(2000).unwrap();
        assert!(
            found.iter().zip(&entries).all(|(found, (_, value))| found.as_ref().unwrap().value == *value)
        );
    }
    assert!(within_an_hour(pttl(&server, "k1999").await));
}

#[tokio::test]
async fn another_type_of_value_is_an_error() {
    let server = RedisServer::start().await;
    let store = RedisStore::connect(server.url()).unwrap();
    server.command(["RPUSH", "list", "v"]).await;
    server.set("text", "v").await;
    for request in [
        CacheRequest::get(key("list")),
        CacheRequest::increment(key("list"), 1, None),
        CacheRequest::increment(key("list"), 1, HOUR),
        CacheRequest::increment(key("text"), 1, None),
        CacheRequest::increment(key("text"), 1, HOUR),
    ] {
        let error = call(&store, request).await.unwrap_err();
        assert_eq!((error.kind(), error.effect()), (ErrorKind::WrongType, Effect::None));
        assert!(error.op().is_some());
    }
    let missing = call(&store, CacheRequest::get_many(vec![key("list")])).await.unwrap();
    assert!(missing.into_many(1).unwrap()[0].is_none());
}

#[tokio::test]
async fn an_overflow_changes_nothing() {
    let server = RedisServer::start().await;
    let store = RedisStore::connect(server.url()).unwrap();
    server.set("n", i64::MAX.to_string()).await;
    for ttl in [Ttl::Never, Ttl::After(HOUR)] {
        let error = call(&store, CacheRequest::increment(key("n"), 1, ttl)).await.unwrap_err();
        assert_eq!((error.kind(), error.effect()), (ErrorKind::Overflow, Effect::None));
    }
    assert_eq!(server.get("n").await, Some(i64::MAX.to_string().into_bytes()));
    for delta in [i64::MIN, i64::MAX] {
        let name = format!("edge{delta}");
        let answer = call(&store, CacheRequest::increment(key(name), delta, HOUR)).await.unwrap();
        assert_eq!(answer.into_integer().unwrap(), delta);
    }
}

#[tokio::test]
async fn a_full_server_refuses_writes_and_serves_reads() {
    let server = RedisServer::builder().arg("maxmemory-policy", "noeviction").start().await;
    let store = RedisStore::connect(server.url()).unwrap();
    set(&store, "k", "v").await.unwrap();
    server.command(["CONFIG", "SET", "maxmemory", "1"]).await;
    for request in [
        CacheRequest::set(key("a"), value("v"), None),
        CacheRequest::set_many(vec![(key("b"), value("v").into())], None),
        CacheRequest::set_many(vec![(key("c"), value("v").into()), (key("d"), value("v").into())], HOUR),
        CacheRequest::increment(key("e"), 1, HOUR),
    ] {
        let error = call(&store, request).await.unwrap_err();
        assert_eq!((error.kind(), error.effect()), (ErrorKind::OutOfMemory, Effect::None));
    }
    assert_eq!(get(&store, "k").await.unwrap().as_deref(), Some(b"v".as_ref()));
    assert_eq!(server.command(["DBSIZE"]).await, Reply::Int(1), "all or nothing");
}

#[tokio::test]
async fn close_ends_all_clones_and_lets_go_of_the_connections() {
    let server = RedisServer::start().await;
    let store = RedisStore::builder().url(server.url()).client_name("leaving").build().unwrap();
    let clone = store.clone();
    set(&store, "k", "v").await.unwrap();
    call(&store, CacheRequest::Close).await.unwrap().into_done(Op::Close).unwrap();
    for store in [&store, &clone] {
        assert_eq!(get(store, "k").await.unwrap_err().kind(), ErrorKind::Closed);
        let nothing = call(store, CacheRequest::delete(vec![])).await.unwrap_err();
        assert_eq!(nothing.kind(), ErrorKind::Closed, "even what needs no server");
    }
    cachex_test_support::eventually(super::PATIENCE, async || {
        !server.command(["CLIENT", "LIST"]).await.as_str().unwrap().contains("leaving")
    })
    .await;
}
