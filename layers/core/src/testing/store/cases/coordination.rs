//! Tags, locks, messages, health, closing.

use super::super::StoreHarness;
use super::super::probe::{HOUR, PATIENCE, Probe, tags};
use crate::error::ErrorKind;
use crate::request::{CacheRequest, Op};
use crate::response::CacheResponse;
use crate::subscription::Invalidation;

async fn has_tags<H: StoreHarness>(store: &Probe<'_, H>) -> bool {
    // Both are asked, so that a store that lacks both is seen to refuse both.
    let (add, invalidate) = (store.has(Op::AddTags).await, store.has(Op::InvalidateTags).await);
    add && invalidate
}

async fn has_locks<H: StoreHarness>(store: &Probe<'_, H>) -> bool {
    let (lock, extend, unlock) =
        (store.has(Op::Lock).await, store.has(Op::ExtendLock).await, store.has(Op::Unlock).await);
    lock && extend && unlock
}

async fn add_tags<H: StoreHarness>(store: &Probe<'_, H>, name: &str, names: &[&str]) -> bool {
    let answer = store.call(CacheRequest::add_tags(store.key(name), tags(names))).await;
    answer.into_applied(Op::AddTags).expect("add_tags is answered by Applied")
}

async fn invalidate<H: StoreHarness>(store: &Probe<'_, H>, names: &[&str]) {
    let answer = store.call(CacheRequest::invalidate_tags(tags(names))).await;
    answer.into_done(Op::InvalidateTags).expect("invalidate_tags is answered by Done");
}

/// Every entry that carries a tag goes with it, and no other.
pub async fn tags_invalidate_together<H: StoreHarness>(harness: &H) {
    let store = Probe::open(harness).await;
    if !has_tags(&store).await {
        return;
    }
    store.set_tagged("tag-1", 1, &["team:1", "all"]).await;
    store.set_tagged("tag-2", 2, &["team:2", "all"]).await;
    store.set("tag-none", 3, HOUR).await;
    invalidate(&store, &["team:1", "team:unknown"]).await;
    store.expect("tag-1", None).await;
    assert_eq!(store.exists(&["tag-1", "tag-2"]).await, 1);
    assert_eq!(store.delete(&["tag-1"]).await, 0);
    store.expect("tag-2", 2).await;
    store.set_tagged("tag-1", 4, &["team:1"]).await;
    store.expect("tag-1", 4).await;
    invalidate(&store, &["all"]).await;
    store.expect("tag-2", None).await;
    store.expect("tag-1", 4).await;
    store.expect("tag-none", 3).await;
}

/// Tags are added to those an entry has; a missing key takes none.
pub async fn tags_can_be_added_later<H: StoreHarness>(harness: &H) {
    let store = Probe::open(harness).await;
    if !has_tags(&store).await {
        return;
    }
    assert!(!add_tags(&store, "tag-later", &["later"]).await);
    for (n, doomed) in [(1, "first"), (2, "later")] {
        store.set_tagged("tag-later", n, &["first"]).await;
        assert!(add_tags(&store, "tag-later", &["later", "first"]).await);
        store.expect("tag-later", n).await;
        store.expect_an_hour("tag-later").await;
        invalidate(&store, &[doomed]).await;
        store.expect("tag-later", None).await;
    }
}

/// A write replaces the tags together with the value.
pub async fn a_rewrite_sheds_its_old_tags<H: StoreHarness>(harness: &H) {
    let store = Probe::open(harness).await;
    if !has_tags(&store).await {
        return;
    }
    store.set_tagged("tag-shed", 1, &["old"]).await;
    store.set_tagged("tag-shed", 2, &["new"]).await;
    invalidate(&store, &["old"]).await;
    store.expect("tag-shed", 2).await;
    invalidate(&store, &["new"]).await;
    store.expect("tag-shed", None).await;
}

/// One owner holds a lock, everyone else is told so, until it is given up.
pub async fn a_lock_has_one_holder<H: StoreHarness>(harness: &H) {
    let store = Probe::open(harness).await;
    if !has_locks(&store).await {
        return;
    }
    assert!(store.lock("lock", 1, HOUR).await.is_some());
    assert!(store.lock("lock", 2, HOUR).await.is_none());
    assert!(store.lock("lock-other", 2, HOUR).await.is_some());
    assert!(store.unlock("lock", 1).await);
    assert!(store.lock("lock", 2, HOUR).await.is_some());
}

/// Nobody but its owner extends or releases a lock, nor does the owner once it has released it.
pub async fn only_the_owner_extends_and_releases<H: StoreHarness>(harness: &H) {
    let store = Probe::open(harness).await;
    if !has_locks(&store).await {
        return;
    }
    assert!(!store.extend("lock-own", 1, HOUR).await);
    assert!(!store.unlock("lock-own", 1).await);
    assert!(store.lock("lock-own", 1, HOUR).await.is_some());
    assert!(!store.extend("lock-own", 2, HOUR).await);
    assert!(!store.unlock("lock-own", 2).await);
    assert!(store.extend("lock-own", 1, HOUR).await);
    assert!(store.unlock("lock-own", 1).await);
    assert!(!store.extend("lock-own", 1, HOUR).await);
    assert!(!store.unlock("lock-own", 1).await);
}

/// A lock is free once its time is over, unless it was extended; its late owner has no say any more.
pub async fn a_lock_expires_and_can_be_extended<H: StoreHarness>(harness: &H) {
    let store = Probe::open(harness).await;
    if !has_locks(&store).await {
        return;
    }
    let short = harness.short_ttl();
    assert!(store.lock("lock-extended", 1, short).await.is_some());
    // A real store may be so slow that the lock is over before it is extended: then take it again, for long.
    if !store.extend("lock-extended", 1, HOUR).await {
        assert!(store.lock("lock-extended", 1, HOUR).await.is_some());
    }
    assert!(store.lock("lock-short", 1, short).await.is_some());
    let mut taken = None;
    for _ in 0..PATIENCE {
        taken = store.lock("lock-short", 2, HOUR).await;
        if taken.is_some() {
            break;
        }
        harness.pass(short / 4).await;
    }
    assert!(taken.is_some(), "the lock has outlived its time");
    assert!(!store.extend("lock-short", 1, HOUR).await);
    assert!(!store.unlock("lock-short", 1).await);
    assert!(store.lock("lock-short", 3, HOUR).await.is_none(), "the new owner still holds it");
    assert!(store.lock("lock-extended", 2, HOUR).await.is_none());
}

/// An owner that takes its lock again, as a retry does whose first answer was lost, is told the same token; the lock is
/// then held for no shorter than it was.
pub async fn taking_a_lock_again_changes_nothing<H: StoreHarness>(harness: &H) {
    let store = Probe::open(harness).await;
    if !has_locks(&store).await {
        return;
    }
    let token = store.lock("lock-again", 1, HOUR).await;
    assert!(token.is_some());
    assert_eq!(store.lock("lock-again", 1, harness.short_ttl()).await, token);
    harness.pass(harness.short_ttl() * 2).await;
    assert!(store.lock("lock-again", 2, HOUR).await.is_none(), "taking it again has not shortened it");
    assert!(store.unlock("lock-again", 1).await);
    assert!(!store.unlock("lock-again", 1).await, "it was taken once");
    assert!(store.lock("lock-again", 2, HOUR).await > token);
}

/// Once its time is over the owner of a lock can neither extend nor release it, even if nobody else has taken it; taken
/// again, by whomever, its token grows.
pub async fn a_late_owner_has_no_say<H: StoreHarness>(harness: &H) {
    let store = Probe::open(harness).await;
    if !has_locks(&store).await {
        return;
    }
    let first = store.lock("lock-late", 1, harness.short_ttl()).await;
    harness.pass(harness.short_ttl() * 2).await;
    assert!(!store.extend("lock-late", 1, HOUR).await);
    assert!(!store.unlock("lock-late", 1).await);
    let second = store.lock("lock-late", 1, harness.short_ttl()).await;
    assert!(second > first, "{second:?} after {first:?}");
    harness.pass(harness.short_ttl() * 2).await;
    let third = store.lock("lock-late", 2, HOUR).await;
    assert!(third > second, "{third:?} after {second:?}");
}

/// Each acquisition of a lock is told a larger number than the one before, whatever ended that one.
pub async fn fencing_tokens_grow<H: StoreHarness>(harness: &H) {
    let store = Probe::open(harness).await;
    if !has_locks(&store).await {
        return;
    }
    let mut last = None;
    for owner in 1..=5 {
        let token = store.lock("lock-fence", owner, HOUR).await;
        assert!(token.is_some() && token > last, "{token:?} after {last:?}");
        last = token;
        assert!(store.unlock("lock-fence", owner).await);
    }
}

/// Whoever subscribed hears the keys that are published from then on.
pub async fn a_subscriber_hears_what_is_published<H: StoreHarness>(harness: &H) {
    let store = Probe::open(harness).await;
    let (publish, subscribe) = (store.has(Op::Publish).await, store.has(Op::Subscribe).await);
    if !(publish && subscribe) {
        return;
    }
    let CacheResponse::Subscribed(mut first) = store.call(CacheRequest::Subscribe).await else {
        panic!("subscribe is answered by Subscribed");
    };
    let keys = vec![store.key("published-1"), store.key("published-2")];
    store.call(CacheRequest::publish(keys.clone())).await.into_count(Op::Publish).expect("a count");
    assert_eq!(first.next().await, Some(Invalidation::Keys(keys)));
    let CacheResponse::Subscribed(mut second) = store.call(CacheRequest::Subscribe).await else {
        panic!("subscribe is answered by Subscribed");
    };
    store.call(CacheRequest::publish(store.key("published-3"))).await;
    for subscription in [&mut first, &mut second] {
        assert_eq!(subscription.next().await, Some(Invalidation::Keys(vec![store.key("published-3")])));
    }
}

/// `ping` is answered.
pub async fn ping_answers<H: StoreHarness>(harness: &H) {
    let store = Probe::open(harness).await;
    store.call(CacheRequest::Ping).await.into_done(Op::Ping).expect("ping is answered by Done");
}

/// After `close` every supported operation but `close` itself fails with `Closed`, through every clone of the handle;
/// subscriptions end.
pub async fn a_closed_store_says_so<H: StoreHarness>(harness: &H) {
    let store = Probe::open(harness).await;
    let clone = Probe { harness, store: store.store.clone() };
    let unsupported = &harness.capabilities().unsupported;
    let subscription = match unsupported.contains(&Op::Subscribe) {
        true => None,
        false => Some(store.call(CacheRequest::Subscribe).await),
    };
    store.call(CacheRequest::Close).await.into_done(Op::Close).expect("close is answered by Done");
    for op in Op::ALL.into_iter().filter(|op| *op != Op::Close && !unsupported.contains(op)) {
        for store in [&store, &clone] {
            let error = store.try_call(store.sample(op)).await.expect_err("a closed store serves nothing");
            assert_eq!(error.kind(), ErrorKind::Closed, "{op}");
        }
    }
    clone.call(CacheRequest::Close).await.into_done(Op::Close).expect("closing twice is closing once");
    if let Some(CacheResponse::Subscribed(mut subscription)) = subscription {
        assert_eq!(subscription.next().await, None, "a subscription ends with the store");
    }
}

/// What the store does not support, it refuses with an error that names the operation and the store.
pub async fn unsupported_operations_are_typed_errors<H: StoreHarness>(harness: &H) {
    let store = Probe::open(harness).await;
    for &op in &harness.capabilities().unsupported {
        assert!(!store.has(op).await);
    }
}
