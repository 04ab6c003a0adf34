//! `src/store/memory`: the fence, and what else is promised to be atomic. quick_cache beneath is explored as well.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use cachex_core::{
    CacheRequest, CacheResponse, Condition, FencingToken, Intent, IntoTags, LocalStore, LockOwner, Set, Ttl,
};
use shuttle::future::block_on;
use shuttle::rand::Rng;
use shuttle::thread;
use tower_service::Service;

use crate::store::memory::MemoryStore;
use crate::tools::{join, key};

type Numbers = MemoryStore<u32>;

fn send(store: &Numbers, request: CacheRequest<u32>) -> CacheResponse<u32> {
    block_on(store.clone().call(request)).expect("the store answers")
}

fn spawn<R: Send + 'static>(
    store: &Numbers,
    what: impl FnOnce(Numbers) -> R + Send + 'static,
) -> thread::JoinHandle<R> {
    let store = store.clone();
    thread::spawn(move || what(store))
}

/// The source changes from 0 to 1 and the key is written, deleted or invalidated in one of the ways there are, while two
/// loads run. A fill of a 0 is never seen after that.
///
/// Seen to fail without `end_generation`, with it after the stripe is free, with `end_epoch` beside the gate, and with
/// writers that do not exclude each other.
pub fn a_fill_shows_nothing_old() {
    let store = Numbers::new(8);
    let source = Arc::new(AtomicU32::new(0));
    let loads: Vec<_> = (0..2)
        .map(|_| {
            let source = Arc::clone(&source);
            spawn(&store, move |store| {
                let token = store.begin_fill(&key("k"));
                let loaded = source.load(Ordering::SeqCst);
                let tags = ["t"].into_tags().expect("a valid tag");
                let set =
                    Set::new(key("k"), Arc::new(loaded), Ttl::Never).intent(Intent::Fill(token)).tags(tags);
                send(&store, set.into());
            })
        })
        .collect();
    let way = shuttle::rand::thread_rng().gen_range(0..5);
    let writer = spawn(&store, move |store| {
        source.store(1, Ordering::SeqCst);
        match way {
            0 => drop(store.remove(&key("k"))),
            1 => LocalStore::clear(&store),
            2 => store.insert(key("k"), Arc::new(1), Ttl::Never),
            3 => drop(send(&store, CacheRequest::invalidate_tags(["t"].into_tags().expect("a valid tag")))),
            _ => drop(send(&store, CacheRequest::set(key("k"), Arc::new(1), Ttl::Never))),
        }
        for _ in 0..2 {
            let seen = LocalStore::get(&store, &key("k"));
            assert!(seen.is_none_or(|entry| *entry.value == 1), "an old value is served");
        }
    });
    join(loads);
    join([writer]);
    let seen = LocalStore::get(&store, &key("k"));
    assert!(seen.is_none_or(|entry| *entry.value == 1), "an old value was stored");
}

/// Seen to fail with writers that do not exclude each other.
pub fn an_increment_is_never_lost() {
    let store = Numbers::new(8);
    join((0..3).map(|_| {
        spawn(&store, |store| {
            for _ in 0..2 {
                send(&store, CacheRequest::increment(key("k"), 1, Ttl::Never));
            }
        })
    }));
    assert!(matches!(
        send(&store, CacheRequest::increment(key("k"), 0, Ttl::Never)),
        CacheResponse::Integer(6)
    ));
}

/// Of writes on the condition that there is nothing, one applies.
///
/// Seen to fail with writers that do not exclude each other.
pub fn one_of_many_is_first() {
    let store = Numbers::new(8);
    let applied = Arc::new(AtomicUsize::new(0));
    join((0..3).map(|n| {
        let applied = Arc::clone(&applied);
        spawn(&store, move |store| {
            let set = Set::new(key("k"), Arc::new(n), Ttl::Never).condition(Condition::IfAbsent);
            if matches!(send(&store, set.into()), CacheResponse::Applied(true)) {
                applied.fetch_add(1, Ordering::SeqCst);
            }
        })
    }));
    assert_eq!(applied.load(Ordering::SeqCst), 1);
}

/// Two are never in possession, and the tokens of those that follow each other grow.
///
/// Seen to fail with the table unlocked between the count and the entry.
pub fn a_lock_has_one_holder() {
    let store = Numbers::new(8);
    let (held, last) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    join((1..=3).map(|owner| {
        let (held, last) = (Arc::clone(&held), Arc::clone(&last));
        spawn(&store, move |store| {
            let owner = LockOwner(owner);
            let hour = Duration::from_secs(3600);
            let CacheResponse::Locked(Some(FencingToken(token))) =
                send(&store, CacheRequest::lock(key("l"), owner, hour))
            else {
                return;
            };
            assert_eq!(held.fetch_add(1, Ordering::SeqCst), 0, "two hold the lock");
            let before = last.swap(NonZeroU64::get(token) as usize, Ordering::SeqCst);
            assert!(before < NonZeroU64::get(token) as usize, "a token did not grow");
            held.fetch_sub(1, Ordering::SeqCst);
            send(&store, CacheRequest::unlock(key("l"), owner));
        })
    }));
}
