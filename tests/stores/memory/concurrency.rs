//! Fences and atomicity, in chosen orders and under stress.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use cachex::store::memory::MemoryStore;
use cachex_core::{
    CacheRequest, CacheResponse, Condition, Intent, IntoTags, LocalStore, LockOwner, Set, Tags, Ttl,
};

use super::{call, key};

fn tags(name: &str) -> Tags {
    [name].into_tags().unwrap()
}

/// What can happen between the beginning and the end of a load, and whether the load's result may be stored after it.
/// The key `a` is absent, `v` holds a value.
#[test]
fn what_refuses_a_load_and_what_does_not() {
    type Step = fn(&MemoryStore<u32>);
    let steps: [(&str, &str, Step, bool); 17] = [
        ("nothing", "a", |_| {}, true),
        ("a read", "a", |store| assert!(store.get(&key("a")).is_none()), true),
        ("an insert", "a", |store| store.insert(key("a"), Arc::new(2), Ttl::Never), false),
        ("an insert over a value", "v", |store| store.insert(key("v"), Arc::new(2), Ttl::Never), false),
        ("a removal of nothing", "a", |store| assert!(!store.remove(&key("a"))), false),
        ("a removal", "v", |store| assert!(store.remove(&key("v"))), false),
        ("clearing", "a", LocalStore::clear, false),
        ("closing", "a", |store| ask(store, CacheRequest::Close), false),
        ("an invalidation", "a", |store| ask(store, CacheRequest::invalidate_tags(tags("t"))), false),
        ("an increment", "a", |store| ask(store, CacheRequest::increment(key("a"), 1, Ttl::Never)), false),
        (
            "a refused increment",
            "v",
            |store| ask(store, CacheRequest::increment(key("v"), 1, Ttl::Never)),
            true,
        ),
        ("a lifetime", "v", |store| ask(store, CacheRequest::expire(key("v"), Ttl::Never)), false),
        ("a lifetime of nothing", "a", |store| ask(store, CacheRequest::expire(key("a"), Ttl::Never)), true),
        ("a tag", "v", |store| ask(store, CacheRequest::add_tags(key("v"), tags("t"))), false),
        ("a tag of nothing", "a", |store| ask(store, CacheRequest::add_tags(key("a"), tags("t"))), true),
        ("a publication", "a", |store| ask(store, CacheRequest::publish(key("a"))), true),
        (
            "another load",
            "a",
            |store| assert!(store.fill(key("a"), Arc::new(3), Ttl::Never, store.begin_fill(&key("a")))),
            true,
        ),
    ];
    for (what, name, step, admitted) in steps {
        let store = MemoryStore::new(100);
        store.insert(key("v"), Arc::new(1), Ttl::Never);
        let token = store.begin_fill(&key(name));
        step(&store);
        assert_eq!(store.fill(key(name), Arc::new(9), Ttl::Never, token), admitted, "{what}");
    }
}

/// Answers, or refuses to: the step alone matters.
fn ask(store: &MemoryStore<u32>, request: CacheRequest<u32>) {
    let _ = call(store, request);
}

#[test]
fn a_write_refuses_few_loads_of_other_keys() {
    let store = MemoryStore::new(10_000);
    let tokens: Vec<_> =
        (0..1000).map(|n| key(format!("k{n}"))).map(|key| (store.begin_fill(&key), key)).collect();
    store.insert(key("a"), Arc::new(1), Ttl::Never);
    let refused =
        tokens.into_iter().filter(|(token, key)| !store.fill(key.clone(), Arc::new(2), Ttl::Never, *token));
    assert!(refused.count() < 20, "one in 1024 is expected");
}

/// A value as old as an acknowledged deletion is never seen after it, however many loads are under way.
///
/// The "database" only counts up. Deleters count up and then remove; loaders take a token, read the database and fill.
/// Whatever a reader finds must then be no older than the last count-up whose removal was over before the read.
fn nothing_older_than(
    remove: impl Fn(&MemoryStore<u64>) + Sync,
    fill: impl Fn(&MemoryStore<u64>, u64, cachex_core::FillToken) + Sync,
) {
    let store = MemoryStore::new(100);
    let database = AtomicU64::new(0);
    let acknowledged = AtomicU64::new(0);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let token = store.begin_fill(&key("a"));
                    let value = database.load(Ordering::SeqCst);
                    thread::yield_now();
                    fill(&store, value, token);
                }
            });
        }
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let oldest = acknowledged.load(Ordering::SeqCst);
                if let Some(entry) = store.get(&key("a")) {
                    assert!(*entry.value >= oldest, "{} was deleted before {oldest}", entry.value);
                }
            }
        });
        for _ in 0..30_000 {
            let version = database.fetch_add(1, Ordering::SeqCst) + 1;
            remove(&store);
            acknowledged.store(version, Ordering::SeqCst);
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_load_never_revives_what_was_removed() {
    nothing_older_than(
        |store| {
            store.remove(&key("a"));
        },
        |store, value, token| {
            store.fill(key("a"), Arc::new(value), Ttl::Never, token);
        },
    );
}

#[test]
fn a_load_never_revives_what_was_cleared() {
    nothing_older_than(LocalStore::clear, |store, value, token| {
        store.fill(key("a"), Arc::new(value), Ttl::Never, token);
    });
}

#[test]
fn a_load_never_revives_what_was_invalidated() {
    nothing_older_than(
        |store| drop(call(store, CacheRequest::invalidate_tags(tags("t")))),
        |store, value, token| {
            let set = Set::new(key("a"), value, Ttl::Never).tags(tags("t")).intent(Intent::Fill(token));
            call(store, set).unwrap();
        },
    );
}

/// Runs `work` on eight threads that start together.
fn together<R: Send>(work: impl Fn(u64) -> R + Sync) -> Vec<R> {
    let start = Barrier::new(8);
    thread::scope(|scope| {
        let run = |n| {
            let (start, work) = (&start, &work);
            scope.spawn(move || {
                start.wait();
                work(n)
            })
        };
        let threads: Vec<_> = (0..8).map(run).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn no_increment_is_lost() {
    let store = MemoryStore::<u32>::new(100);
    together(|n| {
        for _ in 0..10_000 {
            call(&store, CacheRequest::increment(key("shared"), 1, Ttl::Never)).unwrap();
            call(&store, CacheRequest::increment(key(format!("own {n}")), 1, Ttl::Never)).unwrap();
        }
    });
    let read = |name: String| {
        call(&store, CacheRequest::increment(key(name), 0, Ttl::Never)).unwrap().into_integer()
    };
    assert_eq!(read("shared".into()).unwrap(), 80_000);
    for n in 0..8 {
        assert_eq!(read(format!("own {n}")).unwrap(), 10_000);
    }
}

#[test]
fn one_of_many_conditional_writes_wins() {
    let store = MemoryStore::<u64>::new(10_000);
    for round in 0..500 {
        let won = together(|n| {
            let set = Set::new(key(format!("{round}")), n, Ttl::Never).condition(Condition::IfAbsent);
            matches!(call(&store, set), Ok(CacheResponse::Applied(true)))
        });
        assert_eq!(won.iter().filter(|won| **won).count(), 1);
    }
}

#[test]
fn a_lock_excludes() {
    let store = MemoryStore::<u32>::new(10);
    let holders = AtomicU64::new(0);
    let taken = AtomicU64::new(0);
    let tokens = together(|n| {
        let mut tokens = Vec::new();
        for _ in 0..2_000 {
            let owner = LockOwner(n.into());
            let lock = CacheRequest::lock(key("l"), owner, Duration::from_secs(3600));
            if let Ok(CacheResponse::Locked(Some(token))) = call(&store, lock) {
                assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0, "one holder at a time");
                tokens.push((taken.fetch_add(1, Ordering::SeqCst), token));
                holders.fetch_sub(1, Ordering::SeqCst);
                call(&store, CacheRequest::unlock(key("l"), owner)).unwrap();
            }
        }
        tokens
    });
    let mut tokens: Vec<_> = tokens.into_iter().flatten().collect();
    tokens.sort();
    assert!(tokens.is_sorted_by(|a, b| a.1 < b.1), "tokens grow in the order of acquisition");
}

/// A value that uses its own store as it is dropped, as a value that owns cached children might.
struct Reentrant(Option<MemoryStore<Reentrant>>);

impl Drop for Reentrant {
    fn drop(&mut self) {
        if let Some(store) = self.0.take() {
            for n in 0..4 {
                let name = key(format!("k{n}"));
                store.get(&name);
                store.insert(name.clone(), Arc::new(Self(None)), Ttl::After(Duration::from_secs(60)));
                store.remove(&name);
            }
        }
    }
}

#[test]
fn no_lock_is_held_while_a_value_is_dropped() {
    let store = MemoryStore::new(2);
    let put = |n: u32| {
        let value = Arc::new(Reentrant(Some(store.clone())));
        store.insert(key(format!("k{n}")), value, Ttl::After(Duration::from_secs(60)));
    };
    for round in 0..100 {
        put(round % 4); // replaces and evicts
        store.remove(&key(format!("k{}", (round + 1) % 4)));
        if round % 10 == 0 {
            put(1);
            store.clear();
        }
    }
    put(0);
    call(&store, CacheRequest::Close).unwrap();
}

/// Writes with lifetimes, deletions, evictions and clean-ups at once leave no note without an entry for long, and no
/// entry without a note: once everything has expired, everything is free.
#[tokio::test(start_paused = true)]
async fn everything_expires_in_the_end() {
    let store =
        MemoryStore::<u64>::builder().max_entries(256).cleanup_interval(Duration::from_millis(10)).build();
    together(|n| {
        let mut random = fastrand::Rng::with_seed(n);
        for _ in 0..20_000 {
            let name = key(format!("k{}", random.u32(..1000)));
            let ttl = Duration::from_millis(random.u64(1..50));
            match random.u32(..10) {
                0 => {
                    store.remove(&name);
                }
                1 => drop(call(&store, CacheRequest::expire(name, ttl))),
                2 => drop(call(&store, CacheRequest::increment(name, 1, ttl))),
                3 => drop(store.get(&name)),
                _ => store.insert(name, Arc::new(n), ttl.into()),
            }
        }
    });
    // Starts the task, which the threads could not.
    store.insert(key("last"), Arc::new(0), Duration::from_millis(1).into());
    for _ in 0..2000 {
        if store.len() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:?} left for ever", store.stats());
}
