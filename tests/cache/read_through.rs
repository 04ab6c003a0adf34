//! One load per key, owned by nobody, never overwriting news.

use std::error::Error as _;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cachex::core::testing::{Gate, Leaf, Outcome};
use cachex::store::memory::MemoryStore;
use cachex::{Cache, CacheError, CacheRequest, ErrorKind, Intent, Key, Ttl};
use tokio::sync::Semaphore;

const MINUTE: Duration = Duration::from_secs(60);

/// A source that answers when it is let.
#[derive(Clone)]
struct Source {
    loads: Arc<AtomicUsize>,
    begun: Arc<Semaphore>,
    gate: Arc<Semaphore>,
}

impl Source {
    fn closed() -> Self {
        Self { loads: Arc::default(), begun: Arc::new(Semaphore::new(0)), gate: Arc::new(Semaphore::new(0)) }
    }

    fn open() -> Self {
        let source = Self::closed();
        source.gate.add_permits(Semaphore::MAX_PERMITS);
        source
    }

    /// Answers with the number of the load, from 1.
    async fn load(self) -> Result<usize, io::Error> {
        let load = self.loads.fetch_add(1, Ordering::SeqCst) + 1;
        self.begun.add_permits(1);
        self.gate.acquire().await.unwrap().forget();
        Ok(load)
    }

    fn loads(&self) -> usize {
        self.loads.load(Ordering::SeqCst)
    }

    /// Waits until one more load has begun.
    async fn begun(&self) {
        self.begun.acquire().await.unwrap().forget();
    }

    fn let_one_through(&self) {
        self.gate.add_permits(1);
    }

    fn loader(
        &self,
    ) -> impl FnOnce() -> std::pin::Pin<Box<dyn Future<Output = Result<usize, io::Error>> + Send>> + use<>
    {
        let source = self.clone();
        move || Box::pin(source.load())
    }
}

fn memory() -> Cache<usize, MemoryStore<usize>> {
    Cache::new(MemoryStore::new(1_000))
}

#[tokio::test]
async fn a_thousand_readers_share_one_load() {
    let (cache, source) = (memory(), Source::closed());
    let readers: Vec<_> = (0..1_000)
        .map(|_| tokio::spawn(cache.read_through("k", MINUTE, source.loader()).into_future()))
        .collect();
    source.begun().await;
    source.let_one_through();
    for reader in readers {
        assert_eq!(*reader.await.unwrap().unwrap(), 1);
    }
    assert_eq!(source.loads(), 1);
    assert_eq!(cache.get("k").await.unwrap().as_deref(), Some(&1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_that_miss_late_find_what_was_stored() {
    // On several threads a reader may miss just before the load lands and ask for a seat just after.
    for round in 0..200 {
        let (cache, source) = (memory(), Source::open());
        let key = Key::new(format!("k{round}")).unwrap();
        let readers: Vec<_> = (0..16)
            .map(|_| tokio::spawn(cache.read_through(&key, MINUTE, source.loader()).into_future()))
            .collect();
        for reader in readers {
            reader.await.unwrap().unwrap();
        }
        assert_eq!(source.loads(), 1, "round {round}");
    }
}

#[tokio::test]
async fn a_load_outlives_all_its_callers() {
    let (cache, source) = (memory(), Source::closed());
    let readers: Vec<_> = (0..10)
        .map(|_| tokio::spawn(cache.read_through("k", MINUTE, source.loader()).into_future()))
        .collect();
    source.begun().await;
    for reader in &readers {
        reader.abort();
    }
    for reader in readers {
        assert!(reader.await.unwrap_err().is_cancelled());
    }
    source.let_one_through();
    // Joins the load under way, or finds what it stored.
    assert_eq!(*cache.read_through("k", MINUTE, source.loader()).await.unwrap(), 1);
    assert_eq!(source.loads(), 1);
}

#[tokio::test]
async fn a_panic_is_an_error_to_everyone_and_the_key_goes_on() {
    let cache = memory();
    let readers: Vec<_> = (0..10)
        .map(|_| {
            let load = || async { if true { panic!("planted") } else { Ok::<usize, io::Error>(0) } };
            tokio::spawn(cache.read_through("k", MINUTE, load).into_future())
        })
        .collect();
    for reader in readers {
        assert_eq!(reader.await.unwrap().unwrap_err().kind(), ErrorKind::LoaderPanicked);
    }
    assert_eq!(*cache.read_through("k", MINUTE, Source::open().loader()).await.unwrap(), 1);
}

#[tokio::test]
async fn a_loaders_error_is_the_source() {
    let cache = memory();
    let error = cache
        .read_through("k", MINUTE, || async { Err::<usize, _>(io::Error::other("the database is gone")) })
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Loader);
    assert_eq!(error.source().unwrap().to_string(), "the database is gone");
    assert_eq!(cache.get("k").await.unwrap(), None);
}

#[tokio::test]
async fn what_is_deleted_during_a_load_stays_deleted() {
    let (cache, source) = (memory(), Source::closed());
    let first = tokio::spawn(cache.read_through("k", MINUTE, source.loader()).into_future());
    source.begun().await;
    cache.del("k").await.unwrap();
    // A reader that comes after the delete must not get what was read before it.
    let second = tokio::spawn(cache.read_through("k", MINUTE, source.loader()).into_future());
    source.begun().await;
    source.let_one_through();
    source.let_one_through();
    assert_eq!(*first.await.unwrap().unwrap(), 1);
    assert_eq!(*second.await.unwrap().unwrap(), 2);
    assert_eq!(cache.get("k").await.unwrap().as_deref(), Some(&2));
}

#[tokio::test]
async fn what_is_written_during_a_load_stays_written() {
    for invalidate in [false, true] {
        let (cache, source) = (memory(), Source::closed());
        let load = tokio::spawn(cache.read_through("k", MINUTE, source.loader()).tags(["t"]).into_future());
        source.begun().await;
        if invalidate {
            cache.invalidate_by_tag(["t"]).await.unwrap();
        } else {
            cache.set("k", 42, MINUTE).await.unwrap();
        }
        source.let_one_through();
        assert_eq!(*load.await.unwrap().unwrap(), 1);
        let expected = if invalidate { None } else { Some(42) };
        assert_eq!(cache.get("k").await.unwrap().as_deref().copied(), expected);
    }
}

#[tokio::test]
async fn over_a_store_without_a_fence_the_handle_keeps_late_results_out() {
    let (leaf, source) = (Leaf::<usize>::new(), Source::closed());
    let cache = Cache::new(leaf.clone());
    let load = tokio::spawn(cache.read_through("k", MINUTE, source.loader()).into_future());
    source.begun().await;
    let delete = cache.del("k");
    delete.await.unwrap();
    source.let_one_through();
    assert_eq!(*load.await.unwrap().unwrap(), 1);
    cache.close().await.unwrap();
    assert!(leaf.requests().iter().all(|request| !matches!(request, CacheRequest::Set(_))));
}

#[tokio::test]
async fn a_fill_that_was_on_its_way_when_the_key_was_deleted_is_taken_back() {
    let (leaf, gate) = (Leaf::<usize>::new(), Gate::new());
    let parked = gate.clone();
    leaf.answer_with(move |request, _| match request {
        CacheRequest::Set(_) => Outcome::default_answer().after_gate(&parked),
        _ => Outcome::default_answer(),
    });
    let cache = Cache::new(leaf.clone());
    let load = tokio::spawn(cache.read_through("k", MINUTE, Source::open().loader()).into_future());
    leaf.wait_for_calls(2).await;
    cache.del("k").await.unwrap();
    gate.open();
    assert_eq!(*load.await.unwrap().unwrap(), 1);
    let deletes = leaf.requests().iter().filter(|request| matches!(request, CacheRequest::Delete(_))).count();
    assert_eq!(deletes, 2);
}

#[tokio::test]
async fn what_can_never_be_stored_is_told() {
    let leaf = Leaf::<usize>::new();
    leaf.answer_with(|request, _| match request {
        CacheRequest::Set(_) => Outcome::err(CacheError::unsupported(request.op(), "a store without tags")),
        _ => Outcome::default_answer(),
    });
    let read = Cache::new(leaf).read_through("k", MINUTE, Source::open().loader()).tags(["t"]);
    assert_eq!(read.await.unwrap_err().kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn a_request_of_ones_own_is_news_too() {
    let (cache, source) = (memory(), Source::closed());
    let first = tokio::spawn(cache.read_through("k", MINUTE, source.loader()).into_future());
    source.begun().await;
    cache.send(CacheRequest::delete(Key::new("k").unwrap())).await.unwrap();
    let second = tokio::spawn(cache.read_through("k", MINUTE, source.loader()).into_future());
    source.begun().await;
    source.let_one_through();
    source.let_one_through();
    assert_eq!((*first.await.unwrap().unwrap(), *second.await.unwrap().unwrap()), (1, 2));
}

#[tokio::test]
async fn a_load_is_a_fill_with_the_token_of_its_miss() {
    let leaf = Leaf::<usize>::new();
    let cache = Cache::new(leaf.clone());
    cache.read_through("k", MINUTE, Source::open().loader()).tags(["t"]).await.unwrap();
    let requests = leaf.requests();
    // The miss was current: the cache was asked once.
    let [CacheRequest::Get(_), CacheRequest::Set(set)] = requests.as_slice() else { panic!("{requests:?}") };
    assert!(matches!(set.intent, Intent::Fill(_)));
    assert_eq!((set.ttl, set.tags.as_slice().len()), (Ttl::After(MINUTE), 1));
}

#[tokio::test]
async fn a_broken_cache_is_not_a_broken_service() {
    let leaf = Leaf::<usize>::new();
    leaf.answer_with(|_, _| Outcome::err(CacheError::new(ErrorKind::Connection, "down")));
    let cache = Cache::new(leaf);
    let source = Source::open();
    assert_eq!(*cache.read_through("k", MINUTE, source.loader()).await.unwrap(), 1);
    let error = cache.read_through("k", MINUTE, source.loader()).require_cache().await.unwrap_err();
    assert_eq!((error.kind(), source.loads()), (ErrorKind::Connection, 1));
}

#[tokio::test]
async fn a_limit_protects_the_source_too() {
    let leaf = Leaf::<usize>::new();
    leaf.answer_with(|_, _| Outcome::err(CacheError::rejection(ErrorKind::RateLimited, None)));
    let (cache, source) = (Cache::new(leaf), Source::open());
    let error = cache.read_through("k", MINUTE, source.loader()).await.unwrap_err();
    assert_eq!((error.kind(), source.loads()), (ErrorKind::RateLimited, 0));
}

#[tokio::test(start_paused = true)]
async fn closing_waits_for_loads_and_no_longer_than_its_deadline() {
    let (cache, source) = (memory(), Source::closed());
    let load = tokio::spawn(cache.read_through("k", MINUTE, source.loader()).into_future());
    source.begun().await;
    let error = cache.close_within(Duration::from_secs(5)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    source.let_one_through();
    assert_eq!(*load.await.unwrap().unwrap(), 1);

    let (cache, source) = (memory(), Source::closed());
    let load = tokio::spawn(cache.read_through("k", MINUTE, source.loader()).into_future());
    source.begun().await;
    let closing = tokio::spawn(async move { cache.close().await });
    source.let_one_through();
    closing.await.unwrap().unwrap();
    assert_eq!(*load.await.unwrap().unwrap(), 1);
}

#[test]
fn outside_a_runtime_a_miss_is_a_typed_error() {
    let cache = memory();
    let mut read = std::pin::pin!(cache.read_through("k", MINUTE, Source::open().loader()).into_future());
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(Err(error)) = read.as_mut().poll(&mut cx) else {
        panic!("it should fail at once")
    };
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}
