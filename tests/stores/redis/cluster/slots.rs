//! Keys that live in different slots, asked for together.

use std::time::Duration;

use cachex::store::redis::{ConnectionState, RedisStore};
use cachex_core::{CacheRequest, ErrorKind, IntoTags, KeyTtl, Op};

use super::{builder, call, count, get, get_many, key, ping, set, set_many, shared};

const HOUR: Duration = Duration::from_secs(3600);

fn entries(prefix: &str, count: usize) -> Vec<(String, String)> {
    (0..count).map(|n| (format!("{prefix}:{n}"), format!("value {n}"))).collect()
}

fn names(entries: &[(String, String)]) -> Vec<String> {
    entries.iter().map(|(name, _)| name.clone()).collect()
}

#[tokio::test]
async fn many_keys_in_many_slots() {
    let store = builder(shared().await).build().unwrap();
    for (prefix, ttl) in [("many", None), ("brief", Some(HOUR))] {
        let entries = entries(prefix, 500);
        set_many(&store, &entries, ttl).await.unwrap();
        // Not in the order they were written in, with a gap and with one twice.
        let mut asked = names(&entries);
        asked.reverse();
        asked.insert(250, format!("{prefix}:missing"));
        asked.push(asked[7].clone());
        let found = get_many(&store, &asked).await.unwrap();
        for (name, found) in asked.iter().zip(&found) {
            let expected = entries.iter().find(|(entry, _)| entry == name).map(|(_, text)| text);
            assert_eq!(found.as_ref(), expected, "{name}");
        }
        let left = call(&store, CacheRequest::ttl(key(&entries[3].0))).await.unwrap().into_ttl().unwrap();
        assert_eq!(matches!(left, KeyTtl::After(_)), ttl.is_some(), "{left:?}");

        let keys: Vec<_> = asked.iter().map(key).collect();
        // One of them twice.
        assert_eq!(count(&store, CacheRequest::exists(keys.clone())).await.unwrap(), 501);
        assert_eq!(count(&store, CacheRequest::delete(keys.clone())).await.unwrap(), 500);
        assert_eq!(count(&store, CacheRequest::exists(keys)).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn keys_of_one_slot_are_written_together() {
    let store = builder(shared().await).build().unwrap();
    let entries = entries("{together}", 20);
    for ttl in [None, Some(HOUR)] {
        set_many(&store, &entries, ttl).await.unwrap();
        let found = get_many(&store, &names(&entries)).await.unwrap();
        assert!(found.iter().zip(&entries).all(|(found, (_, text))| found.as_ref() == Some(text)));
    }
    let twice = [("{together}:0", "old"), ("elsewhere", "x"), ("{together}:0", "new")];
    let twice = twice.map(|(name, text)| (name.to_owned(), text.to_owned()));
    set_many(&store, &twice, Some(HOUR)).await.unwrap();
    assert_eq!(get(&store, "{together}:0").await.unwrap().as_deref(), Some(b"new".as_slice()));
}

#[tokio::test]
async fn what_cannot_be_served_leaves_everything_as_it_was() {
    let store = builder(shared().await).build().unwrap();
    let entries = entries("refused", 50);
    let error = set_many(&store, &entries, Some(Duration::ZERO)).await.unwrap_err();
    assert_eq!((error.kind(), error.op()), (ErrorKind::InvalidTtl, Some(Op::SetMany)));
    let tagged = CacheRequest::add_tags(key("k"), ["t"].into_tags().unwrap());
    assert_eq!(call(&store, tagged).await.unwrap_err().kind(), ErrorKind::Unsupported);
    let keys: Vec<_> = names(&entries).iter().map(key).collect();
    assert_eq!(count(&store, CacheRequest::exists(keys)).await.unwrap(), 0);
}

#[tokio::test]
async fn nodes_are_told_and_closed() {
    let cluster = shared().await;
    let store = builder(cluster).connections(1).pool_size(0).build().unwrap();
    assert_eq!((store.state(), store.nodes().len()), (ConnectionState::Idle, 0));
    ping(&store).await.unwrap();
    assert_eq!(store.state(), ConnectionState::Connected);
    let nodes = store.nodes();
    assert_eq!(nodes.iter().filter_map(|node| node.slots).sum::<usize>(), 16_384);
    let masters = cluster.masters().await;
    for node in nodes.iter().filter(|node| node.slots != Some(0)) {
        assert!(masters.iter().any(|master| master.addr().to_string() == node.address), "{node:?}");
        assert_eq!((node.state, node.pool.size), (ConnectionState::Connected, 1));
    }
    assert_eq!(store.pool_status().size, nodes.len());

    call(&store, CacheRequest::Close).await.unwrap();
    assert_eq!((store.state(), store.pool_status().size), (ConnectionState::Closed, 0));
    for error in [
        get(&store, "k").await.unwrap_err(),
        ping(&store).await.unwrap_err(),
        get_many(&store, &names(&entries("k", 9))).await.unwrap_err(),
        count(&store, CacheRequest::delete(vec![])).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Closed);
    }
}

#[tokio::test]
async fn a_server_that_is_no_cluster_is_told_so() {
    let server = cachex_test_support::RedisServer::start().await;
    let store = RedisStore::builder().cluster([server.url()]).build().unwrap();
    let error = set(&store, "k", "v").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("not part of a cluster"), "{error}");
    assert_eq!(store.state(), ConnectionState::Down);
}
