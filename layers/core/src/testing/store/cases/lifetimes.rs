//! Times to live.

use std::time::Duration;

use super::super::StoreHarness;
use super::super::probe::{HOUR, Probe};
use crate::error::ErrorKind;
use crate::request::{CacheRequest, Condition};
use crate::response::KeyTtl;
use crate::ttl::Ttl;

/// `ttl` tells a missing key from one that never expires from one that does.
pub async fn ttl_tells_missing_never_and_after<H: StoreHarness>(harness: &H) {
    let store = Probe::open(harness).await;
    assert_eq!(store.ttl("ttl-none").await, KeyTtl::Missing);
    store.set("ttl-never", 1, Ttl::Never).await;
    assert_eq!(store.ttl("ttl-never").await, KeyTtl::Never);
    store.set("ttl-hour", 1, HOUR).await;
    store.expect_an_hour("ttl-hour").await;
}

/// [`Ttl::Default`] is the store's own setting, which is to keep entries for ever when there is none.
pub async fn the_default_ttl_applies_where_none_is_given<H: StoreHarness>(harness: &H) {
    let store = Probe::open_with(harness, Some(HOUR)).await;
    store.set("default-ttl", 1, Ttl::Default).await;
    store.expect_an_hour("default-ttl").await;
    store.set_many(&[("default-ttl-many", 1)], Ttl::Default).await;
    store.expect_an_hour("default-ttl-many").await;
    store.set("default-ttl-never", 1, Ttl::Never).await;
    assert_eq!(store.ttl("default-ttl-never").await, KeyTtl::Never);
    store.set("default-ttl-own", 1, HOUR * 24).await;
    assert!(matches!(store.ttl("default-ttl-own").await, KeyTtl::After(left) if left > HOUR));

    let store = Probe::open(harness).await;
    store.set("no-default-ttl", 1, Ttl::Default).await;
    assert_eq!(store.ttl("no-default-ttl").await, KeyTtl::Never);
}

/// Zero and more than [`Ttl::MAX`] are typed errors, and nothing is stored.
pub async fn an_impossible_ttl_is_refused<H: StoreHarness>(harness: &H) {
    let store = Probe::open(harness).await;
    store.set("bad-ttl-kept", 1, HOUR).await;
    for ttl in [Duration::ZERO, Duration::MAX] {
        let key = || store.key("bad-ttl");
        let refused = [
            CacheRequest::set(key(), store.value(1), ttl),
            CacheRequest::set_many(vec![(key(), store.value(1))], ttl),
            CacheRequest::increment(key(), 1, ttl),
            CacheRequest::expire(store.key("bad-ttl-kept"), ttl),
        ];
        for request in refused {
            let op = request.op();
            let error = store.try_call(request).await.expect_err("an impossible ttl is refused");
            assert_eq!(error.kind(), ErrorKind::InvalidTtl, "{op} with {ttl:?}");
        }
    }
    store.expect("bad-ttl", None).await;
    store.expect_an_hour("bad-ttl-kept").await;
    store.set("longest-ttl", 1, Ttl::MAX).await;
    store.expect("longest-ttl", 1).await;
}

/// Past its lifetime an entry is gone for every operation.
pub async fn an_entry_expires<H: StoreHarness>(harness: &H) {
    let store = Probe::open(harness).await;
    store.set("expires", 1, harness.short_ttl()).await;
    store.set("expires-not", 2, HOUR * 24).await;
    store.until_gone("expires").await;
    store.expect("expires", None).await;
    assert_eq!(store.get_many(&["expires", "expires-not"]).await, [None, Some(store.value(2))]);
    assert_eq!(store.ttl("expires").await, KeyTtl::Missing);
    assert!(!store.expire("expires", HOUR).await);
    assert_eq!(store.delete(&["expires"]).await, 0);
}

/// A write takes its own lifetime, not the one its predecessor had left.
pub async fn a_new_write_takes_a_new_lifetime<H: StoreHarness>(harness: &H) {
    let store = Probe::open(harness).await;
    let short = harness.short_ttl();
    store.set("renewed", 1, short).await;
    store.set("renewed", 2, Ttl::Never).await;
    store.set("shortened", 1, HOUR * 24).await;
    store.set("shortened", 2, short).await;
    store.until_gone("shortened").await;
    harness.pass(short).await;
    store.expect("renewed", 2).await;
    assert_eq!(store.ttl("renewed").await, KeyTtl::Never);
}

/// `expire` gives a lifetime, changes it, takes it away, and leaves the value alone.
pub async fn expire_sets_and_removes_a_lifetime<H: StoreHarness>(harness: &H) {
    let store = Probe::open(harness).await;
    store.set("expire", 1, Ttl::Never).await;
    assert!(store.expire("expire", HOUR).await);
    store.expect_an_hour("expire").await;
    assert!(store.expire("expire", Ttl::Never).await);
    assert_eq!(store.ttl("expire").await, KeyTtl::Never);
    assert!(store.expire("expire", Ttl::Never).await, "a key that never expires is still there");
    store.expect("expire", 1).await;
    assert!(store.expire("expire", harness.short_ttl()).await);
    store.until_gone("expire").await;
}

/// `expire` of a key that is not there does not apply.
pub async fn expire_of_a_missing_key_does_not_apply<H: StoreHarness>(harness: &H) {
    let store = Probe::open(harness).await;
    assert!(!store.expire("expire-none", HOUR).await);
    assert!(!store.expire("expire-none", Ttl::Never).await);
    assert_eq!(store.exists(&["expire-none"]).await, 0);
}

/// Conditions take an expired entry for absent.
pub async fn conditions_see_expiry<H: StoreHarness>(harness: &H) {
    let store = Probe::open(harness).await;
    store.set("cond-expiry", 1, harness.short_ttl()).await;
    store.until_gone("cond-expiry").await;
    assert!(!store.set_if(Condition::IfPresent, "cond-expiry", 2, HOUR).await);
    assert!(store.set_if(Condition::IfAbsent, "cond-expiry", 3, HOUR).await);
    store.expect("cond-expiry", 3).await;
    store.expect_an_hour("cond-expiry").await;
}
