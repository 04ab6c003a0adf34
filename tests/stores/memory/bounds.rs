//! What the store holds at most, and what it tells of itself.

use std::sync::Arc;
use std::time::Duration;

use cachex::store::memory::MemoryStore;
use cachex_core::{CacheRequest, ErrorKind, FillToken, Invalidation, LocalStore, Tags, Ttl};
use cachex_core::{CacheResponse, IntoTags};

use super::{call, key};

#[tokio::test(start_paused = true)]
async fn bounded_by_entries() {
    let store = MemoryStore::new(4096);
    let ttl = Ttl::After(Duration::from_secs(3600));
    let values: Vec<_> = (0..40_960)
        .map(|n| {
            let value = Arc::new(n);
            store.insert(key(format!("k{n}")), Arc::clone(&value), ttl);
            Arc::downgrade(&value)
        })
        .collect();
    let stats = store.stats();
    assert!(stats.entries <= 4096 && stats.entries > 4000, "{stats:?}");
    assert_eq!(stats.weight, stats.entries as u64);
    assert_eq!(stats.evicted, 40_960 - stats.entries as u64);
    let held = values.iter().filter(|value| value.upgrade().is_some()).count();
    assert_eq!(held, stats.entries, "what is evicted is freed");
    // Overwriting evicts nobody.
    let survivors: Vec<_> = (0..40_960).filter(|n| store.get(&key(format!("k{n}"))).is_some()).collect();
    for n in survivors {
        store.insert(key(format!("k{n}")), Arc::new(0), ttl);
    }
    assert_eq!(store.stats(), stats);
}

#[test]
fn bounded_by_weight() {
    let store = MemoryStore::builder()
        .max_entries(1000)
        .max_weight(1 << 20, |_, value: &Vec<u8>| value.len() as u64)
        .build();
    for n in 0..5000_usize {
        store.insert(key(format!("k{n}")), vec![0; 100 + n % 2000].into(), Ttl::Never);
        assert!(store.stats().weight <= 1 << 20);
    }
    assert!(store.stats().weight > 1 << 19, "{:?}", store.stats());
}

#[test]
fn weightless_values_are_bounded_all_the_same() {
    let store = MemoryStore::builder().max_weight(1000, |_, (): &()| 0).build();
    for n in 0..10_000 {
        store.insert(key(format!("k{n}")), Arc::new(()), Ttl::Never);
    }
    assert!(store.len() <= 1000);
}

#[test]
fn too_heavy_a_write_is_an_error_and_leaves_no_old_value() {
    let store = MemoryStore::builder().max_weight(10_000, |_, value: &Vec<u8>| value.len() as u64).build();
    let max = store.max_entry_weight() as usize;
    let (light, heaviest, heavy) = (Arc::new(vec![0; 1]), Arc::new(vec![1; max]), Arc::new(vec![2; max + 1]));
    let set = |value: &Arc<Vec<u8>>| call(&store, CacheRequest::set(key("a"), Arc::clone(value), Ttl::Never));

    set(&heaviest).unwrap();
    assert_eq!(store.get(&key("a")).unwrap().value, heaviest);
    let token = store.begin_fill(&key("a"));
    let error = set(&heavy).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(store.get(&key("a")).is_none(), "the old value is out of date");
    assert!(!store.fill(key("a"), Arc::clone(&light), Ttl::Never, token));

    set(&light).unwrap();
    let token = store.begin_fill(&key("a"));
    assert!(!store.fill(key("a"), Arc::clone(&heavy), Ttl::Never, token));
    assert_eq!(store.get(&key("a")).unwrap().value, light, "a fill that does not fit changes nothing");

    let entries = vec![(key("a"), Arc::clone(&heavy)), (key("b"), light)];
    let error = call(&store, CacheRequest::set_many(entries, Ttl::Never)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(store.get(&key("a")).is_none() && store.get(&key("b")).is_some());
}

#[test]
fn holds_what_it_says_even_when_tiny() {
    for max in [0, 1, 2, 3] {
        let store = MemoryStore::new(max);
        for n in 0..10 {
            store.insert(key(format!("k{n}")), Arc::new(n), Ttl::Never);
            assert!(store.get(&key(format!("k{n}"))).is_some(), "the newest of {max}");
        }
        assert!(store.len() <= max.max(1));
    }
}

#[test]
fn tags_have_a_bound_per_entry() {
    let store = MemoryStore::new(10);
    let tags = |from: usize| (from..from + 100).map(|n| n.to_string()).into_tags().unwrap();
    store.insert(key("a"), Arc::new(1), Ttl::Never);
    let add = |tags: Tags| call(&store, CacheRequest::add_tags(key("a"), tags));
    assert!(matches!(add(tags(0)), Ok(CacheResponse::Applied(true))));
    assert_eq!(add(tags(100)).unwrap_err().kind(), ErrorKind::InvalidTag);
    assert!(matches!(add(tags(20)), Ok(CacheResponse::Applied(true))));
}

#[tokio::test]
async fn a_subscriber_that_lags_is_told_so() {
    let store = MemoryStore::<u32>::new(10);
    let Ok(CacheResponse::Subscribed(mut subscription)) = call(&store, CacheRequest::Subscribe) else {
        panic!("subscribed");
    };
    for n in 0..2000 {
        let answer = call(&store, CacheRequest::publish(key(format!("k{n}")))).unwrap();
        assert!(matches!(answer, CacheResponse::Count(1)));
    }
    assert_eq!(subscription.next().await, Some(Invalidation::Missed));
    // From there on nothing is missing.
    let mut heard = Vec::new();
    while heard.last() != Some(&key("k1999")) {
        match subscription.next().await {
            Some(Invalidation::Keys(keys)) => heard.extend(keys),
            other => panic!("{other:?}"),
        }
    }
    let expected: Vec<_> = (2000 - heard.len()..2000).map(|n| key(format!("k{n}"))).collect();
    assert_eq!(heard, expected);
    drop(subscription);
    assert!(matches!(call(&store, CacheRequest::publish(key("k"))), Ok(CacheResponse::Count(0))));
}

#[tokio::test]
async fn dropping_the_store_ends_its_subscriptions() {
    let store = MemoryStore::<u32>::new(10);
    let Ok(CacheResponse::Subscribed(mut subscription)) = call(&store, CacheRequest::Subscribe) else {
        panic!("subscribed");
    };
    drop(store);
    assert_eq!(subscription.next().await, None);
}

#[test]
fn debug_shows_settings_and_no_entries() {
    let store = MemoryStore::builder().max_entries(77).default_ttl(Duration::from_secs(5)).build();
    store.insert(key("secret-key"), Arc::new("secret-value"), Ttl::Never);
    let shown = format!("{store:?}");
    assert!(shown.contains("77") && shown.contains("5s") && shown.contains("60s"), "{shown}");
    assert!(!shown.contains("secret"), "{shown}");
}

#[test]
fn a_near_cache_never_fails_on_a_lifetime() {
    let store = MemoryStore::new(10);
    for ttl in [Duration::ZERO, Duration::MAX] {
        store.insert(key("a"), Arc::new(1), Ttl::After(ttl));
        assert!(store.fill(key("b"), Arc::new(1), Ttl::After(ttl), store.begin_fill(&key("b"))));
        assert!(!store.fill(key("c"), Arc::new(1), Ttl::After(ttl), FillToken::from_raw(u64::MAX)));
    }
}
