//! Counters.

use tower_service::Service;

use super::super::StoreHarness;
use super::super::probe::{HOUR, Probe};
use crate::error::ErrorKind;
use crate::request::CacheRequest;
use crate::response::KeyTtl;
use crate::ttl::Ttl;

/// An absent counter is zero; deltas may be negative, or nothing.
pub async fn increment_starts_at_zero<H: StoreHarness>(harness: &H) {
    let store = Probe::open(harness).await;
    assert_eq!(store.increment("count", 5).await, 5);
    assert_eq!(store.increment("count", -7).await, -2);
    assert_eq!(store.increment("count", 0).await, -2);
    assert_eq!(store.increment("count-min", i64::MIN).await, i64::MIN);
    assert_eq!(store.increment("count-max", i64::MAX).await, i64::MAX);
}

/// Leaving the range of `i64` is a typed error, and the counter keeps its value.
pub async fn increment_overflow_changes_nothing<H: StoreHarness>(harness: &H) {
    let store = Probe::open(harness).await;
    for (name, edge, step) in [("overflow-max", i64::MAX, 1), ("overflow-min", i64::MIN, -1)] {
        assert_eq!(store.increment(name, edge).await, edge);
        let error = store.try_increment(name, step, Ttl::Never).await.expect_err("overflow is refused");
        assert_eq!(error.kind(), ErrorKind::Overflow, "{error}");
        assert_eq!(store.increment(name, 0).await, edge);
    }
}

/// A lifetime is for the counter that is created with it; an existing one keeps its own.
pub async fn increment_sets_a_lifetime_only_when_it_creates<H: StoreHarness>(harness: &H) {
    let store = Probe::open(harness).await;
    store.try_increment("count-ttl", 1, HOUR).await.expect("creates");
    store.expect_an_hour("count-ttl").await;
    store.try_increment("count-ttl", 1, HOUR * 24).await.expect("adds");
    store.expect_an_hour("count-ttl").await;
    store.increment("count-never", 1).await;
    store.try_increment("count-never", 1, HOUR).await.expect("adds");
    assert_eq!(store.ttl("count-never").await, KeyTtl::Never);

    store.try_increment("count-short", 41, harness.short_ttl()).await.expect("creates");
    store.until_gone("count-short").await;
    assert_eq!(store.try_increment("count-short", 1, HOUR).await.expect("creates again"), 1);
    store.expect_an_hour("count-short").await;
}

/// Increments made at the same time are all counted, and each is told another sum.
pub async fn concurrent_increments_all_count<H: StoreHarness>(harness: &H) {
    const CALLS: i64 = 100;
    let store = Probe::open(harness).await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..CALLS {
        let mut service = store.store.clone();
        let request = CacheRequest::increment(store.key("count-together"), 1, Ttl::Never);
        calls.spawn(async move {
            std::future::poll_fn(|cx| service.poll_ready(cx)).await?;
            service.call(request).await?.into_integer()
        });
    }
    let mut sums = Vec::new();
    while let Some(sum) = calls.join_next().await {
        sums.push(sum.expect("no panic").expect("the increment succeeds"));
    }
    sums.sort_unstable();
    assert_eq!(sums, (1..=CALLS).collect::<Vec<_>>());
}

/// Adding to a value is a typed error, and the value stays.
pub async fn a_value_is_no_counter<H: StoreHarness>(harness: &H) {
    let store = Probe::open(harness).await;
    store.set("no-counter", 1, HOUR).await;
    let error = store.try_increment("no-counter", 1, Ttl::Never).await.expect_err("a value is no counter");
    assert_eq!(error.kind(), ErrorKind::WrongType, "{error}");
    store.expect("no-counter", 1).await;
    store.expect_an_hour("no-counter").await;
}

/// Reading a counter as a value is a typed error, where the store can tell; writing a value over it replaces it.
pub async fn a_counter_is_no_value<H: StoreHarness>(harness: &H) {
    let store = Probe::open(harness).await;
    store.increment("no-value", 1).await;
    if store.typed_counters() {
        for request in [
            CacheRequest::get(store.key("no-value")),
            CacheRequest::get_many(vec![store.key("other"), store.key("no-value")]),
        ] {
            let error = store.try_call(request).await.expect_err("a counter is no value");
            assert_eq!(error.kind(), ErrorKind::WrongType, "{error}");
        }
    }
    assert_eq!(store.increment("no-value", 1).await, 2);
    store.set("no-value", 3, HOUR).await;
    store.expect("no-value", 3).await;
}

/// Counters exist, expire and are deleted like values.
pub async fn a_counter_is_a_key_like_any_other<H: StoreHarness>(harness: &H) {
    let store = Probe::open(harness).await;
    store.increment("count-key", 7).await;
    assert_eq!(store.exists(&["count-key"]).await, 1);
    assert!(store.expire("count-key", HOUR).await);
    store.expect_an_hour("count-key").await;
    assert_eq!(store.increment("count-key", 1).await, 8);
    store.expect_an_hour("count-key").await;
    assert_eq!(store.delete(&["count-key"]).await, 1);
    assert_eq!(store.increment("count-key", 1).await, 1);
}
