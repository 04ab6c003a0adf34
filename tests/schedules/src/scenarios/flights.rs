//! `src/patterns/flights.rs` and `src/patterns/read_through.rs`, over a real memory store: one load per key and process,
//! which belongs to no caller and never overwrites news.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use cachex_core::{CacheError, CacheRequest, CacheResponse, ErrorKind, FillToken, Key, Ttl};
use shuttle::future::block_on;
use shuttle::thread::{self, JoinHandle};
use tokio::task::yield_now;
use tower_service::Service;

use crate::cache::Cache;
use crate::store::memory::MemoryStore;
use crate::tools::{Crowd, MayBeGivenUp, chance, join, key};

type Numbers = Cache<u32, MemoryStore<u32>>;

/// What the cache stands before: a number that changes, and who reads it.
#[derive(Debug, Default)]
struct Source {
    number: AtomicU32,
    loads: AtomicUsize,
    loading: Crowd,
}

/// How many loads of a key may run at once: one of those that may be stored, and one that each write has superseded.
#[derive(Clone, Copy)]
struct AtOnce(usize);

impl Source {
    async fn load(self: Arc<Self>, most: AtOnce) -> Result<u32, std::io::Error> {
        let _loading = self.loading.enter(most.0);
        self.loads.fetch_add(1, Ordering::SeqCst);
        if chance() {
            yield_now().await;
        }
        let number = self.number.load(Ordering::SeqCst);
        if chance() {
            yield_now().await;
        }
        Ok(number)
    }
}

/// The cache and what stands behind it. A clone is the same one.
#[derive(Clone)]
struct Fixture {
    cache: Numbers,
    source: Arc<Source>,
    key: Key,
}

impl Fixture {
    fn new() -> Self {
        Self { cache: Cache::new(MemoryStore::new(8)), source: Arc::default(), key: key("k") }
    }

    fn read(&self, most: AtOnce) -> impl Future<Output = Result<Arc<u32>, CacheError>> + 'static {
        let source = Arc::clone(&self.source);
        self.cache.read_through(self.key.clone(), Ttl::Never, move || source.load(most)).into_future()
    }

    fn cached(&self) -> Option<u32> {
        block_on(self.cache.get(self.key.clone())).expect("the store answers").as_deref().copied()
    }

    /// A thread that does this, beside others.
    fn spawn(&self, what: impl FnOnce(Self) + Send + 'static) -> JoinHandle<()> {
        let this = self.clone();
        thread::spawn(move || what(this))
    }

    /// Threads that do this at once.
    fn spawn_many(&self, threads: usize, what: fn(Self)) -> Vec<JoinHandle<()>> {
        (0..threads).map(|_| self.spawn(what)).collect()
    }
}

/// However many ask, one load answers all of them: also those who missed before it landed and came aboard after.
///
/// Seen to fail with the miss taken for current whatever landed meanwhile.
pub fn one_load_answers_all() {
    let fixture = Fixture::new();
    join(fixture.spawn_many(2, |f| {
        assert_eq!(*block_on(f.read(AtOnce(1))).expect("it is loaded"), 0);
    }));
    assert_eq!(fixture.source.loads.load(Ordering::SeqCst), 1);
    assert_eq!(fixture.cached(), Some(0));
}

/// Callers may go whenever they like: the load goes on for those who stay, and for those who come.
///
/// Seen to fail without `notify_waiters`.
pub fn a_load_belongs_to_no_caller() {
    let fixture = Fixture::new();
    let fickle = fixture.spawn_many(2, |f| {
        block_on(MayBeGivenUp::new(f.read(AtOnce(1))));
    });
    let steady = fixture.spawn_many(1, |f| {
        block_on(f.read(AtOnce(1))).expect("it is loaded");
    });
    join(fickle.into_iter().chain(steady));
    block_on(fixture.cache.flights.drained());
    assert!(fixture.cache.flights.is_idle(), "a load is still under way");
}

/// A load that ends without a result, as by a panic, is an error to those who wait and to nobody else.
///
/// Seen to fail with an abandoned flight left in the map, and with the landing told before the outcome is set.
pub fn an_abandoned_load_wedges_nothing() {
    let fixture = Fixture::new();
    join(fixture.spawn_many(3, |f| {
        let source = Arc::clone(&f.source);
        let loader = move || async move {
            if source.loads.fetch_add(1, Ordering::SeqCst) == 0 {
                tokio::task::abandon().await;
            }
            Ok::<_, std::io::Error>(7)
        };
        match block_on(f.cache.read_through(f.key.clone(), Ttl::Never, loader).into_future()) {
            Ok(number) => assert_eq!(*number, 7),
            Err(error) => assert_eq!(error.kind(), ErrorKind::LoaderPanicked),
        }
    }));
    let loaded = block_on(fixture.read(AtOnce(1))).expect("the next load succeeds");
    assert!([0, 7].contains(&*loaded));
}

/// The source changes and the key is deleted while loads run. What was loaded before is never seen again: not by a reader
/// that starts after the delete, nor in the cache.
///
/// Seen to fail with the superseded flight left in the map, where later readers found it.
pub fn a_delete_overtakes_a_load() {
    overtaken(|f| {
        block_on(f.cache.del(f.key.clone())).expect("the store answers");
    });
}

/// As by a delete, so by a write.
pub fn a_write_overtakes_a_load() {
    overtaken(|f| {
        block_on(f.cache.set(f.key.clone(), 1, Ttl::Never).into_future()).expect("the store answers");
    });
}

/// As by a delete, so by the end of a tag.
pub fn an_invalidation_by_tag_overtakes_a_load() {
    overtaken(|f| {
        block_on(f.cache.invalidate_by_tag(["t"])).expect("the store answers");
    });
}

fn overtaken(write: fn(&Fixture)) {
    // A load that has been superseded may still be running when the next one starts.
    const MOST: AtOnce = AtOnce(2);
    let fixture = Fixture::new();
    let reader = |f: Fixture| {
        let source = Arc::clone(&f.source);
        let loader = move || source.load(MOST);
        let read = f.cache.read_through(f.key.clone(), Ttl::Never, loader).tags(["t"]);
        let number = *block_on(read.into_future()).expect("it is loaded");
        assert!(number <= 1);
    };
    let reader = fixture.spawn(reader);
    let writer = fixture.spawn(move |f| {
        f.source.number.store(1, Ordering::SeqCst);
        write(&f);
        assert_ne!(f.cached(), Some(0), "an old result is stored after the write");
        assert_eq!(
            *block_on(f.read(MOST)).expect("it is loaded"),
            1,
            "an old result is told after the write"
        );
    });
    join([reader, writer]);
    block_on(fixture.cache.flights.drained());
    assert_ne!(fixture.cached(), Some(0), "an old result was stored");
}

/// Over a store without fences there is an instant in which an old result may be seen; it does not stay.
///
/// Seen to fail with flights that are not marked as superseded, and without the delete after a fill that came too late.
pub fn without_a_fence_nothing_old_stays() {
    let cache = Cache::new(Unfenced(MemoryStore::new(8)));
    let number = Arc::new(AtomicU32::new(0));
    let reader = {
        let (cache, number) = (cache.clone(), Arc::clone(&number));
        thread::spawn(move || {
            let loader = move || async move { Ok::<_, std::io::Error>(number.load(Ordering::SeqCst)) };
            block_on(cache.read_through(key("k"), Ttl::Never, loader).into_future()).expect("it is loaded");
        })
    };
    let writer = {
        let cache = cache.clone();
        thread::spawn(move || {
            number.store(1, Ordering::SeqCst);
            block_on(cache.del(key("k"))).expect("the store answers");
        })
    };
    join([reader, writer]);
    block_on(cache.flights.drained());
    let stored = block_on(cache.get(key("k"))).expect("the store answers");
    assert_ne!(stored.as_deref(), Some(&0), "an old result stays");
}

/// A memory store whose misses tell no token, as a remote store's.
#[derive(Clone)]
struct Unfenced(MemoryStore<u32>);

impl Service<CacheRequest<u32>> for Unfenced {
    type Response = CacheResponse<u32>;
    type Error = CacheError;
    type Future = std::future::Ready<Result<CacheResponse<u32>, CacheError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CacheError>> {
        Service::<CacheRequest<u32>>::poll_ready(&mut self.0, cx)
    }

    fn call(&mut self, request: CacheRequest<u32>) -> Self::Future {
        std::future::ready(block_on(self.0.call(request)).map(|answer| match answer {
            CacheResponse::Miss(_) => CacheResponse::Miss(FillToken::UNFENCED),
            answer => answer,
        }))
    }
}
