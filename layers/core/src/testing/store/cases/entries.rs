//! Reading, writing, deleting.

use super::super::StoreHarness;
use super::super::probe::{HOUR, Probe};
use crate::request::Condition;
use crate::ttl::Ttl;

/// A miss before, the value after, a miss after deletion.
pub async fn a_value_is_read_back<H: StoreHarness>(harness: &H) {
    let store = Probe::open(harness).await;
    store.expect("read-back", None).await;
    store.set("read-back", 1, HOUR).await;
    store.expect("read-back", 1).await;
    store.expect("read-back", 1).await;
    assert_eq!(store.delete(&["read-back"]).await, 1);
    store.expect("read-back", None).await;
}

/// The last write counts.
pub async fn a_write_replaces_what_was_there<H: StoreHarness>(harness: &H) {
    let store = Probe::open(harness).await;
    for n in [1, 2, 1] {
        store.set("replace", n, Ttl::Never).await;
        store.expect("replace", n).await;
    }
}

/// `get_many` answers in the order of the keys, each as often as it was asked for.
pub async fn get_many_keeps_order_and_duplicates<H: StoreHarness>(harness: &H) {
    let store = Probe::open(harness).await;
    store.set("many-a", 1, HOUR).await;
    store.set("many-b", 2, HOUR).await;
    let found = store.get_many(&["many-b", "many-none", "many-a", "many-b"]).await;
    let [a, b] = [1, 2].map(|n| Some(store.value(n)));
    assert_eq!(found, [b.clone(), None, a, b]);
}

/// Operations on no keys at all succeed and do nothing.
pub async fn get_many_of_nothing_is_nothing<H: StoreHarness>(harness: &H) {
    let store = Probe::open(harness).await;
    assert!(store.get_many(&[]).await.is_empty());
    assert_eq!(store.delete(&[]).await, 0);
    assert_eq!(store.exists(&[]).await, 0);
    store.set_many(&[], HOUR).await;
}

/// `set_many` stores every entry, and every entry takes the lifetime.
pub async fn set_many_stores_all_under_one_lifetime<H: StoreHarness>(harness: &H) {
    let store = Probe::open(harness).await;
    store.set("mset-b", 9, Ttl::Never).await;
    store.set_many(&[("mset-a", 1), ("mset-b", 2), ("mset-c", 3)], HOUR).await;
    for (name, n) in [("mset-a", 1), ("mset-b", 2), ("mset-c", 3)] {
        store.expect(name, n).await;
        store.expect_an_hour(name).await;
    }
}

/// Of several values for one key in a `set_many`, the last is kept.
pub async fn the_last_duplicate_of_set_many_wins<H: StoreHarness>(harness: &H) {
    let store = Probe::open(harness).await;
    store.set_many(&[("mset-dup", 1), ("mset-other", 2), ("mset-dup", 3)], HOUR).await;
    store.expect("mset-dup", 3).await;
    store.expect("mset-other", 2).await;
    store.expect_an_hour("mset-dup").await;
}

/// `delete` counts keys that were there, once each.
pub async fn delete_counts_what_was_there<H: StoreHarness>(harness: &H) {
    let store = Probe::open(harness).await;
    store.set_many(&[("del-a", 1), ("del-b", 2), ("del-c", 3)], HOUR).await;
    assert_eq!(store.delete(&["del-a", "del-none", "del-b", "del-a"]).await, 2);
    assert_eq!(store.delete(&["del-a"]).await, 0);
    store.expect("del-c", 3).await;
}

/// `exists` counts a key as often as it is named.
pub async fn exists_counts_duplicates<H: StoreHarness>(harness: &H) {
    let store = Probe::open(harness).await;
    store.set("exists-a", 1, HOUR).await;
    assert_eq!(store.exists(&["exists-a", "exists-none", "exists-a"]).await, 2);
    assert_eq!(store.exists(&["exists-none"]).await, 0);
}

/// `IfAbsent` stores the first value and refuses the second.
pub async fn if_absent_stores_once<H: StoreHarness>(harness: &H) {
    let store = Probe::open(harness).await;
    assert!(store.set_if(Condition::IfAbsent, "nx", 1, HOUR).await);
    assert!(!store.set_if(Condition::IfAbsent, "nx", 2, Ttl::Never).await);
    store.expect("nx", 1).await;
    store.expect_an_hour("nx").await;
    store.delete(&["nx"]).await;
    assert!(store.set_if(Condition::IfAbsent, "nx", 3, HOUR).await);
    store.expect("nx", 3).await;
}

/// `IfPresent` replaces and never creates.
pub async fn if_present_stores_only_over_something<H: StoreHarness>(harness: &H) {
    let store = Probe::open(harness).await;
    assert!(!store.set_if(Condition::IfPresent, "xx", 1, HOUR).await);
    store.expect("xx", None).await;
    store.set("xx", 2, HOUR).await;
    assert!(store.set_if(Condition::IfPresent, "xx", 3, HOUR).await);
    store.expect("xx", 3).await;
}
