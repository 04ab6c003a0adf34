//! Results of loads against writes and deletions.

use super::super::probe::{HOUR, Probe};
use super::super::{Fence, StoreHarness};
use crate::local::FillToken;
use crate::request::{Condition, Intent, Set};
use crate::ttl::Ttl;

/// The plain way: a miss, a load, a fill.
pub async fn a_fill_after_a_miss_is_stored<H: StoreHarness>(harness: &H) {
    let store = Probe::open(harness).await;
    let token = store.miss("fill").await;
    assert!(store.fill("fill", 1, HOUR, token).await);
    store.expect("fill", 1).await;
    store.expect_an_hour("fill").await;

    assert!(store.fill("fill-unfenced", 1, HOUR, FillToken::UNFENCED).await);
    assert!(
        !store.fill("fill-unfenced", 2, HOUR, FillToken::UNFENCED).await,
        "without a token, only if absent"
    );
    store.expect("fill-unfenced", 1).await;

    let token = store.miss("fill-xx").await;
    let fill = Set::new(store.key("fill-xx"), store.value(1), HOUR).intent(Intent::Fill(token));
    assert!(!store.set_with(fill.condition(Condition::IfPresent)).await, "a fill keeps to its condition");
    store.expect("fill-xx", None).await;
}

/// What was written after the load began stays, however it was written.
pub async fn a_fill_never_replaces_a_write<H: StoreHarness>(harness: &H) {
    let store = Probe::open(harness).await;
    let token = store.miss("fill-set").await;
    store.set("fill-set", 2, Ttl::Never).await;
    assert!(!store.fill("fill-set", 1, HOUR, token).await);
    store.expect("fill-set", 2).await;

    let token = store.miss("fill-mset").await;
    store.set_many(&[("fill-mset", 2)], Ttl::Never).await;
    assert!(!store.fill("fill-mset", 1, HOUR, token).await);
    store.expect("fill-mset", 2).await;

    let token = store.miss("fill-incr").await;
    store.increment("fill-incr", 2).await;
    assert!(!store.fill("fill-incr", 1, HOUR, token).await);
    assert_eq!(store.increment("fill-incr", 1).await, 3);
}

/// What was deleted after the load began stays deleted, where the store hands out tokens; a new load gets through.
pub async fn a_fill_never_revives_what_was_deleted<H: StoreHarness>(harness: &H) {
    let store = Probe::open(harness).await;
    let token = store.miss("fill-del").await;
    store.set("fill-del", 2, HOUR).await;
    store.delete(&["fill-del"]).await;
    let revived = store.fill("fill-del", 1, HOUR, token).await;
    match store.fence() {
        Fence::IfAbsent => assert!(revived, "such a store cannot know"),
        Fence::Token => {
            assert!(!revived);
            store.expect("fill-del", None).await;
            let token = store.miss("fill-del").await;
            assert_eq!(store.delete(&["fill-del"]).await, 0);
            assert!(!store.fill("fill-del", 1, HOUR, token).await, "even a deletion of nothing is news");
        }
    }
    store.delete(&["fill-del"]).await;
    let token = store.miss("fill-del").await;
    assert!(store.fill("fill-del", 3, HOUR, token).await);
    store.expect("fill-del", 3).await;
}

/// A refused condition writes nothing and refuses no load; expiry is no write either.
pub async fn a_fence_is_per_load<H: StoreHarness>(harness: &H) {
    let store = Probe::open(harness).await;
    let token = store.miss("fence").await;
    assert!(!store.set_if(Condition::IfPresent, "fence", 2, HOUR).await);
    assert!(!store.expire("fence", HOUR).await);
    assert!(store.fill("fence", 1, HOUR, token).await);

    store.set("fence-expiry", 1, harness.short_ttl()).await;
    store.until_gone("fence-expiry").await;
    let token = store.miss("fence-expiry").await;
    assert!(store.fill("fence-expiry", 2, HOUR, token).await);
    store.expect("fence-expiry", 2).await;
}
