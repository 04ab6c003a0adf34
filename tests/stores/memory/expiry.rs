//! What has expired is freed, whoever asks for it or not.

use std::sync::{Arc, Weak};
use std::time::Duration;

use cachex::store::memory::MemoryStore;
use cachex_core::{CacheRequest, LocalStore, Ttl};
use tokio::runtime::Handle;

use super::{call, key};

const MINUTE: Duration = Duration::from_secs(60);

fn put(store: &MemoryStore<String>, name: &str, ttl: impl Into<Ttl>) -> Weak<String> {
    let value = Arc::new(name.to_owned());
    let weak = Arc::downgrade(&value);
    store.insert(key(name), value, ttl.into());
    weak
}

fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

/// Lets the clean-up task run at its time: it sleeps until then, and yields between chunks.
async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn memory_is_freed_without_a_read() {
    let store = MemoryStore::new(10_000);
    let soon: Vec<_> = (0..1000).map(|n| put(&store, &format!("soon {n}"), MINUTE / 2)).collect();
    let later = put(&store, "later", MINUTE * 10);
    let never = put(&store, "never", Ttl::Never);
    assert!(soon.iter().all(|value| value.upgrade().is_some()));
    // Half a minute of lifetime, and one interval of a minute.
    pass(MINUTE + MINUTE / 2).await;
    assert!(soon.iter().all(|value| value.upgrade().is_none()));
    assert_eq!((store.len(), store.stats().expired), (2, 1000));
    assert!(later.upgrade().is_some());
    pass(MINUTE * 11).await;
    assert!(later.upgrade().is_none());
    assert!(never.upgrade().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_changed_lifetime_is_the_one_that_counts() {
    let store = MemoryStore::new(100);
    let extended = put(&store, "extended", MINUTE);
    let persisted = put(&store, "persisted", MINUTE);
    let shortened = put(&store, "shortened", MINUTE * 100);
    let overwritten = put(&store, "overwritten", MINUTE);
    let successor = put(&store, "overwritten", MINUTE * 100);
    assert!(overwritten.upgrade().is_none(), "freed as soon as it is replaced");
    for (name, ttl) in
        [("extended", Ttl::After(MINUTE * 100)), ("persisted", Ttl::Never), ("shortened", Ttl::After(MINUTE))]
    {
        call(&store, CacheRequest::expire(key(name), ttl)).unwrap();
    }
    pass(MINUTE * 3).await;
    assert!(shortened.upgrade().is_none());
    assert!(extended.upgrade().is_some() && persisted.upgrade().is_some() && successor.upgrade().is_some());
    pass(MINUTE * 100).await;
    assert!(extended.upgrade().is_none() && successor.upgrade().is_none());
    assert!(persisted.upgrade().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_read_of_an_expired_entry_frees_it() {
    let store = MemoryStore::builder().cleanup_interval(MINUTE * 1000).build();
    let value = put(&store, "a", MINUTE);
    tokio::time::advance(MINUTE - Duration::from_millis(1)).await;
    assert!(store.get(&key("a")).is_some());
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(value.upgrade().is_some());
    assert!(store.get(&key("a")).is_none());
    assert!(value.upgrade().is_none());
    assert_eq!((store.len(), store.stats().expired), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn the_task_lives_while_something_can_expire() {
    let store = MemoryStore::new(100);
    put(&store, "never", Ttl::Never);
    assert_eq!(tasks(), 0, "nothing can expire");
    for round in 1..=3 {
        put(&store, "a", MINUTE);
        put(&store, "b", MINUTE);
        assert_eq!(tasks(), 1, "one task, however many entries");
        pass(MINUTE * 3).await;
        assert_eq!((tasks(), store.stats().expired), (0, 2 * round), "nothing is left that can expire");
    }
    put(&store, "deleted", MINUTE);
    store.remove(&key("deleted"));
    pass(MINUTE * 2).await;
    assert_eq!(tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_with_the_store() {
    let store = MemoryStore::new(100);
    let value = put(&store, "a", MINUTE * 1000);
    let clone = store.clone();
    drop(store);
    tokio::task::yield_now().await;
    assert_eq!(tasks(), 1);
    drop(clone);
    assert!(value.upgrade().is_none(), "the task does not keep the entries");
    tokio::task::yield_now().await;
    assert_eq!(tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn closing_frees_everything() {
    let store = MemoryStore::new(100);
    let values = [put(&store, "a", MINUTE), put(&store, "b", Ttl::Never)];
    call(&store, CacheRequest::Close).unwrap();
    assert!(values.iter().all(|value| value.upgrade().is_none()));
    tokio::task::yield_now().await;
    assert_eq!((tasks(), store.len()), (0, 0));
    put(&store, "late", Ttl::Never);
    assert_eq!(store.len(), 0);
}

#[test]
fn works_without_a_runtime() {
    let store = MemoryStore::builder().cleanup_interval(Duration::from_millis(1)).build();
    let ttl = Duration::from_millis(1);
    let values: Vec<_> = (0..1000).map(|n| put(&store, &format!("{n}"), ttl)).collect();
    // Real time, since nobody can pause it here: it passes while writes, of any kind, clean up in passing.
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while values.iter().any(|value| value.upgrade().is_some()) {
        assert!(std::time::Instant::now() < deadline, "{:?}", store.stats());
        put(&store, "other", Ttl::Never);
    }
    assert_eq!(store.len(), 1);
}

#[test]
fn outlives_the_runtime_that_cleaned_up() {
    let store = MemoryStore::new(100);
    for round in 1..=2 {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let value = runtime.block_on(async {
            let value = put(&store, "a", MINUTE);
            assert_eq!(tasks(), 1, "round {round}");
            value
        });
        drop(runtime);
        assert!(value.upgrade().is_some(), "still there when its task is not");
    }
}

#[test]
fn a_runtime_without_timers_will_do() {
    let store = MemoryStore::builder().cleanup_interval(Duration::from_millis(1)).build();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let value = put(&store, "a", Duration::from_millis(1));
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        while value.upgrade().is_some() {
            assert!(std::time::Instant::now() < deadline, "{:?}", store.stats());
            put(&store, "other", Ttl::Never);
            tokio::task::yield_now().await;
        }
    });
}
