//! A warm read allocates nothing. A binary of its own, since it replaces the global allocator, with a single test and without
//! the test harness, since the allocator counts every thread: the harness waits for a test on another one, and allocates
//! there whenever that one gets to run.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::pin::pin;
use std::sync::{Arc, Barrier};
use std::task::{Context, Waker};
use std::thread;

use cachex::preset::Recommended;
use cachex::store::memory::MemoryStore;
use cachex::{Cache, CacheService, Key, Ttl};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const READS: u64 = 1_000;

fn blocks() -> u64 {
    dhat::HeapStats::get().total_blocks
}

/// How many blocks `READS` warm reads allocate.
async fn warm_reads<S: CacheService<String>>(cache: &Cache<String, S>, key: &Key) -> u64 {
    cache.set(key, "value".to_owned(), Ttl::Never).await.unwrap();
    // Lazily made statics and table slots are paid for once.
    for _ in 0..10 {
        assert!(cache.get(key).await.unwrap().is_some());
    }
    let before = blocks();
    for _ in 0..READS {
        assert!(cache.get(key).await.unwrap().is_some());
    }
    blocks() - before
}

/// How many blocks warm reads allocate on threads that all want the one instance of the stack.
fn warm_reads_at_once<S: CacheService<String>>(cache: &Cache<String, S>, key: &Key) -> u64 {
    const THREADS: usize = 4;
    let read = || pin!(cache.get(key)).poll(&mut Context::from_waker(Waker::noop())).is_ready();
    let meet = Barrier::new(THREADS + 1);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                // What a thread allocates once for itself.
                assert!(read());
                for step in 0..4 {
                    meet.wait();
                    assert!(step != 1 || (0..20 * READS).all(|_| read()));
                }
            });
        }
        meet.wait();
        let before = blocks();
        meet.wait();
        meet.wait();
        let after = blocks();
        meet.wait();
        after - before
    })
}

fn main() {
    a_warm_get_with_a_key_allocates_nothing();
    println!("test a_warm_get_with_a_key_allocates_nothing ... ok");
}

fn a_warm_get_with_a_key_allocates_nothing() {
    let _profiler = dhat::Profiler::builder().testing().build();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let key = Key::new("user:1").unwrap();

        let bare = Cache::new(MemoryStore::new(100));
        assert_eq!(warm_reads(&bare, &key).await, 0, "MemoryStore");

        let seven = Cache::new(Recommended::new().rate_limit(u32::MAX).guard(MemoryStore::new(100)));
        assert_eq!(warm_reads(&seven, &key).await, 0, "seven layers");
        assert_eq!(warm_reads_at_once(&seven, &key), 0, "seven layers, several threads");

        // The erased handle boxes its future, and that is all.
        let preset: Cache<String> = Cache::memory(100);
        assert_eq!(warm_reads(&preset, &key).await, READS, "the memory preset");

        // A key given as text is one block more.
        let before = blocks();
        for _ in 0..READS {
            assert!(bare.get("user:1").await.unwrap().is_some());
        }
        assert_eq!(blocks() - before, READS, "a key from text");

        // So is a warm read-through: it costs no more than its lookup.
        let before = blocks();
        for _ in 0..READS {
            let load = || async { Err::<Arc<String>, _>(std::io::Error::other("not asked for")) };
            assert_eq!(*bare.read_through(&key, Ttl::Never, load).await.unwrap(), "value");
        }
        assert_eq!(blocks() - before, 0, "read_through");
    });
}
