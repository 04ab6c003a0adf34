//! What a server answers because of the state it is in.

use cachex::store::redis::{ConnectionState, RedisStore};
use cachex_core::{CacheRequest, Effect, ErrorKind, Op, Retry};
use cachex_test_support::{RedisServer, Reply, eventually};

use crate::redis::{PATIENCE, assert_told, call, get, key, nowhere, set, soon, value};

#[tokio::test]
async fn oom() {
    let server = RedisServer::builder().arg("maxmemory-policy", "noeviction").start().await;
    let store = RedisStore::connect(server.url()).unwrap();
    set(&store, "k", "v").await.unwrap();
    server.command(["CONFIG", "SET", "maxmemory", "1"]).await;
    let error = set(&store, "k", "w").await.unwrap_err();
    assert_told(&error, ErrorKind::OutOfMemory, Retry::Never, Effect::None);
    let many =
        CacheRequest::set_many(vec![(key("k"), value("w").into()), (key("l"), value("w").into())], PATIENCE);
    let error = call(&store, many).await.unwrap_err();
    assert_told(&error, ErrorKind::OutOfMemory, Retry::Never, Effect::None);
    // What is there can still be read, and deleted.
    assert_eq!(get(&store, "k").await.unwrap().as_deref(), Some(b"v".as_ref()));
    assert_eq!(
        call(&store, CacheRequest::delete(key("k"))).await.unwrap().into_count(Op::Delete).unwrap(),
        1
    );
    server.command(["CONFIG", "SET", "maxmemory", "0"]).await;
    assert!(set(&store, "k", "w").await.unwrap());
}

#[tokio::test]
async fn masterdown() {
    let replica = RedisServer::builder().arg("replica-serve-stale-data", "no").start().await;
    let store = RedisStore::connect(replica.url()).unwrap();
    set(&store, "k", "v").await.unwrap();
    replica.command(["REPLICAOF", "127.0.0.1", &nowhere().port().to_string()]).await;
    for error in [get(&store, "k").await.unwrap_err(), set(&store, "k", "w").await.unwrap_err()] {
        // A write hears of the other trouble of a replica if that is looked at first.
        if error.kind() != ErrorKind::ReadOnly {
            assert_told(&error, ErrorKind::MasterDown, soon(100), Effect::None);
        }
    }
    // It is connected all the same, and so is whoever comes now.
    assert_eq!(store.state(), ConnectionState::Connected);
    let late = RedisStore::connect(replica.url()).unwrap();
    let error = get(&late, "k").await.unwrap_err();
    assert_told(&error, ErrorKind::MasterDown, soon(100), Effect::None);
    replica.command(["REPLICAOF", "NO", "ONE"]).await;
    eventually(PATIENCE, async || set(&late, "k", "v").await.is_ok()).await;
}

#[tokio::test]
async fn misconf() {
    let server = RedisServer::builder().arg("save", "3600 1000000").start().await;
    let store = RedisStore::connect(server.url()).unwrap();
    set(&store, "k", "v").await.unwrap();
    // A folder in the way: the server cannot put its file there.
    std::fs::create_dir_all(server.dir().join("dump.rdb/full")).unwrap();
    server.command(["BGSAVE"]).await;
    eventually(PATIENCE, async || {
        let info = server.command(["INFO", "persistence"]).await;
        info.as_str().is_some_and(|text| text.contains("rdb_last_bgsave_status:err"))
    })
    .await;
    let error = set(&store, "k", "w").await.unwrap_err();
    assert_told(&error, ErrorKind::WriteRefused, Retry::Never, Effect::None);
    assert_eq!(get(&store, "k").await.unwrap().as_deref(), Some(b"v".as_ref()));
    assert_eq!(server.command(["GET", "k"]).await, Reply::Bulk(b"v".to_vec()));
}
