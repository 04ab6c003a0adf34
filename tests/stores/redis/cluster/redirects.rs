//! Slots that move: what was asked of the wrong node arrives all the same, once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use cachex_core::{CacheRequest, KeyTtl, Op};
use cachex_test_support::{Cluster, RedisServer, eventually};

use super::{PATIENCE, builder, call, count, get, get_many, increment, key, set, set_many, shared};

const HOUR: Duration = Duration::from_secs(3600);

/// The owner of a slot, and another master.
async fn two(cluster: &Cluster, slot: u16) -> (&RedisServer, &RedisServer) {
    let from = cluster.master_for_slot(slot).await;
    let masters = cluster.masters().await;
    (from, masters.into_iter().find(|master| master.addr() != from.addr()).unwrap())
}

fn names(tag: &str, words: &[&str]) -> Vec<String> {
    words.iter().map(|word| format!("{{{tag}}}{word}")).collect()
}

#[tokio::test]
async fn a_slot_that_moved_is_followed() {
    let cluster = shared().await;
    let name = (0..).map(|n| format!("moved:{n}")).find(|name| Cluster::slot(name) > 16_000).unwrap();
    let slot = Cluster::slot(&name);
    let (from, to) = two(cluster, slot).await;
    let store = builder(cluster).build().unwrap();
    // Each on a store of its own: the map of each is old once.
    let stores = [(); 3].map(|()| builder(cluster).build().unwrap());
    for store in stores.iter().chain([&store]) {
        assert!(increment(store, &name, None).await.unwrap() > 0);
    }
    cluster.set_slot_migrating(slot, from, to).await;
    cluster.finish_migration(slot, from, to).await;

    assert_eq!(increment(&stores[0], &name, None).await.unwrap(), 5);
    assert_eq!(increment(&stores[1], &name, Some(HOUR)).await.unwrap(), 6);
    let found = get_many(&stores[2], &["elsewhere".to_owned(), name.clone()]).await.unwrap();
    assert_eq!(found, [None, Some("6".to_owned())]);
    assert!(
        call(&store, CacheRequest::expire(key(&name), None)).await.unwrap().into_applied(Op::Expire).unwrap()
    );
    // And the whole map is read again, by a node that says what all of them say.
    eventually(PATIENCE, async || {
        let told = to.command(["CLUSTER", "NODES"]).await;
        let told = told.as_str().unwrap().lines().find(|line| line.contains("myself")).unwrap().to_owned();
        let ranges = told.split(' ').skip(8).filter(|range| !range.starts_with('['));
        let slots: usize = ranges
            .map(|range| {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                last.parse::<usize>().unwrap() - first.parse::<usize>().unwrap() + 1
            })
            .sum();
        store.nodes().iter().any(|node| node.address == to.addr().to_string() && node.slots == Some(slots))
    })
    .await;
}

#[tokio::test]
async fn a_slot_on_its_way_is_asked_for_at_both_ends() {
    let cluster = shared().await;
    let slot = Cluster::slot("{asked}");
    let (from, to) = two(cluster, slot).await;
    let store = builder(cluster).build().unwrap();
    set(&store, "{asked}here", "here").await.unwrap();
    cluster.set_slot_migrating(slot, from, to).await;

    assert_eq!(get(&store, "{asked}here").await.unwrap().as_deref(), Some(b"here".as_slice()));
    assert_eq!(get(&store, "{asked}gone").await.unwrap(), None);
    assert!(set(&store, "{asked}there", "there").await.unwrap());
    assert!(from.try_command(["GET", "{asked}there"]).await.unwrap().as_str().unwrap().starts_with("ASK"));
    // Transactions of several commands, on keys that are there or nowhere.
    for expected in 1..=3 {
        assert_eq!(increment(&store, "{asked}counter", Some(HOUR)).await.unwrap(), expected);
    }
    let ttl = async |name| call(&store, CacheRequest::ttl(key(name))).await.unwrap().into_ttl().unwrap();
    assert!(matches!(ttl("{asked}counter").await, KeyTtl::After(_)));
    let expire = async |name| {
        let answer = call(&store, CacheRequest::expire(key(name), None)).await.unwrap();
        answer.into_applied(Op::Expire).unwrap()
    };
    assert!(expire("{asked}counter").await);
    assert!(!expire("{asked}gone").await);
    assert_eq!(ttl("{asked}counter").await, KeyTtl::Never);

    // Several keys of which some are here, some there: TRYAGAIN.
    let all = names("asked", &["here", "gone", "there", "counter", "here"]);
    let text = |text: &str| Some(text.to_owned());
    let found = get_many(&store, &all).await.unwrap();
    assert_eq!(found, [text("here"), None, text("there"), text("3"), text("here")]);
    let keys: Vec<_> = all.iter().map(key).collect();
    assert_eq!(count(&store, CacheRequest::exists(keys.clone())).await.unwrap(), 4);
    for ttl in [None, Some(HOUR)] {
        let entries = ["here", "new", "there", "new"]
            .map(|word| (format!("{{asked}}{word}"), format!("{word} {ttl:?}")));
        set_many(&store, &entries, ttl).await.unwrap();
        let expected: Vec<_> = entries.iter().map(|(_, text)| Some(text.clone())).collect();
        assert_eq!(
            get_many(&store, &names("asked", &["here", "new", "there", "new"])).await.unwrap(),
            expected
        );
    }
    assert_eq!(count(&store, CacheRequest::delete(keys)).await.unwrap(), 3);

    cluster.finish_migration(slot, from, to).await;
    assert_eq!(get_many(&store, &all).await.unwrap(), vec![None; 5]);
    assert!(get(&store, "{asked}new").await.unwrap().is_some());
}

#[tokio::test]
async fn a_write_of_new_keys_to_a_slot_on_its_way() {
    let cluster = shared().await;
    let slot = Cluster::slot("{fresh}");
    let (from, to) = two(cluster, slot).await;
    let store = builder(cluster).build().unwrap();
    cluster.set_slot_migrating(slot, from, to).await;
    for ttl in [None, Some(HOUR)] {
        let entries: Vec<_> = (0..5).map(|n| (format!("{{fresh}}{ttl:?}{n}"), n.to_string())).collect();
        set_many(&store, &entries, ttl).await.unwrap();
        let names: Vec<_> = entries.iter().map(|(name, _)| name.clone()).collect();
        let found = get_many(&store, &names).await.unwrap();
        assert!(
            found.iter().zip(&entries).all(|(found, (_, text))| found.as_ref() == Some(text)),
            "{found:?}"
        );
    }
    cluster.finish_migration(slot, from, to).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resharding_under_load_costs_no_error_and_counts_once() {
    let cluster = shared().await;
    let (from, to) = two(cluster, 0).await;
    let store = builder(cluster).response_timeout(PATIENCE).build().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicU64::new(0));
    let names: Vec<_> =
        (0..).map(|n| format!("reshard:{n}")).filter(|name| Cluster::slot(name) < 150).take(32).collect();
    let tasks: Vec<_> = names
        .iter()
        .map(|name| {
            let (name, store) = (name.clone(), store.clone());
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            tokio::spawn(async move {
                let mut counted = 0;
                while !stop.load(Ordering::Relaxed) {
                    // By turns a command and a transaction.
                    let ttl = (counted % 2 == 0).then_some(HOUR);
                    counted += 1;
                    assert_eq!(increment(&store, &name, ttl).await.unwrap(), counted);
                    let pair = get_many(&store, &[format!("{name}:none"), name.clone()]).await.unwrap();
                    assert_eq!(pair, [None, Some(counted.to_string())]);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let progress = async || {
        let before = done.load(Ordering::Relaxed);
        eventually(PATIENCE, async || done.load(Ordering::Relaxed) > before + 500).await;
    };
    progress().await;
    cluster.move_slots(from, to, 150).await;
    progress().await;
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.expect("no increment fails or counts twice");
    }
}
