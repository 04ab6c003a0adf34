//! Who is measured, and how.

use std::future::{Ready, ready};
use std::hint::black_box;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use cachex::layers::{
    BulkheadLayer, CircuitBreakerLayer, MetricsLayer, RateLimitLayer, RetryLayer, TimeoutLayer, TraceLayer,
};
use cachex::preset::Recommended;
use cachex::store::memory::MemoryStore;
use cachex::{Cache, CacheError, CacheRequest, CacheResponse, CacheService, Key, KeyHashBuilder, Ttl};
use tokio::runtime::Runtime;
use tower_layer::Layer;
use tower_service::Service;

/// Does so many operations, and tells how long they took.
pub(crate) type Run = Box<dyn Fn(&Runtime, u64) -> Duration>;

/// One way of doing the same work.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) bound: Option<Bound>,
    pub(crate) run: Run,
}

/// What a contender must keep to.
#[derive(Clone, Copy)]
pub(crate) enum Bound {
    /// At most this much of the group's base.
    Ratio(f64),
    /// It adds to the base at most this much of what the other one adds.
    Added(f64, &'static str),
}

/// Contenders that are compared with one of them, the base.
pub(crate) struct Group {
    pub(crate) name: &'static str,
    pub(crate) base: &'static str,
    pub(crate) contenders: Vec<Contender>,
}

/// A value that says where to read next.
#[derive(Debug)]
pub(crate) struct Node {
    next: usize,
}

pub(crate) fn groups(runtime: &Runtime) -> Vec<Group> {
    vec![
        reads(runtime, "hit, 1k hot keys", 1_000, 1.0, 1.25),
        reads(runtime, "hit, 100k random keys", 100_000, 1.0, 0.7),
        leaf(),
        layers_over_memory(runtime),
    ]
}

/// Keys in the order of their numbers, and nodes that lead through all of them in one random circle.
fn circle(count: usize) -> Vec<(Key, Arc<Node>)> {
    let mut order: Vec<usize> = (0..count).collect();
    fastrand::Rng::with_seed(7).shuffle(&mut order);
    let mut next = vec![0; count];
    for (at, &from) in order.iter().enumerate() {
        next[from] = order[(at + 1) % count];
    }
    let key = |n: usize| Key::new(format!("user:{n:08}")).expect("a valid key");
    next.into_iter().enumerate().map(|(n, next)| (key(n), Arc::new(Node { next }))).collect()
}

/// Reads `count` times, each key derived from the value just read.
macro_rules! chase {
    ($keys:expr, |$key:ident| $read:expr) => {{
        let keys: Vec<Key> = $keys.iter().map(|(key, _)| key.clone()).collect();
        Box::new(move |runtime: &Runtime, count: u64| {
            runtime.block_on(async {
                let (mut at, start) = (0, Instant::now());
                for _ in 0..count {
                    let $key = &keys[at];
                    at = $read.next;
                }
                black_box(at);
                start.elapsed()
            })
        }) as Run
    }};
}

fn reads(runtime: &Runtime, name: &'static str, count: usize, preset_bound: f64, stack_bound: f64) -> Group {
    let nodes = circle(count);
    let capacity = count * 2;
    let moka = moka::future::Cache::<Key, Arc<Node>>::new(capacity as u64);
    let bare = Arc::new(quick_cache::sync::Cache::<Key, Arc<Node>, _, KeyHashBuilder>::with(
        capacity,
        capacity as u64,
        quick_cache::UnitWeighter,
        KeyHashBuilder,
        quick_cache::sync::DefaultLifecycle::default(),
    ));
    for (key, node) in &nodes {
        runtime.block_on(moka.insert(key.clone(), Arc::clone(node)));
        bare.insert(key.clone(), Arc::clone(node));
    }
    runtime.block_on(moka.run_pending_tasks());

    let filled = |store: MemoryStore<Node>| {
        let cache = Cache::new(store.clone());
        for (key, node) in &nodes {
            runtime.block_on(async { cache.set(key, Arc::clone(node), Ttl::Never).await.expect("stored") });
        }
        store
    };
    let store = Cache::new(filled(MemoryStore::new(capacity)));
    let preset: Cache<Node> = Cache::memory(capacity);
    for (key, node) in &nodes {
        runtime.block_on(async { preset.set(key, Arc::clone(node), Ttl::Never).await.expect("stored") });
    }
    let guarded = settings().guard(filled(MemoryStore::new(capacity)));
    let erased = Cache::new(guarded.clone()).boxed();
    let stack = Cache::new(guarded);

    let contender = |name, bound, run| Contender { name, bound, run };
    let hit = "every key was stored";
    Group {
        name,
        base: "moka::future",
        contenders: vec![
            contender("moka::future", None, chase!(nodes, |key| moka.get(key).await.expect(hit))),
            contender("quick_cache", None, chase!(nodes, |key| bare.get(key).expect(hit))),
            contender(
                "Cache over MemoryStore",
                None,
                chase!(nodes, |key| store.get(key).await.expect(hit).expect(hit)),
            ),
            contender(
                "memory preset (erased)",
                Some(Bound::Ratio(preset_bound)),
                chase!(nodes, |key| preset.get(key).await.expect(hit).expect(hit)),
            ),
            contender(
                "seven layers",
                Some(Bound::Ratio(stack_bound)),
                chase!(nodes, |key| stack.get(key).await.expect(hit).expect(hit)),
            ),
            contender(
                "seven layers (erased)",
                None,
                chase!(nodes, |key| erased.get(key).await.expect(hit).expect(hit)),
            ),
        ],
    }
}

/// Limits that admit everything the bench sends.
fn settings() -> Recommended {
    Recommended::new().rate_limit(u32::MAX)
}

/// A store that answers at once: what is left is the layer.
#[derive(Clone)]
struct ReadyLeaf;

impl Service<CacheRequest<Node>> for ReadyLeaf {
    type Response = CacheResponse<Node>;
    type Error = CacheError;
    type Future = Ready<Result<CacheResponse<Node>, CacheError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), CacheError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: CacheRequest<Node>) -> Self::Future {
        black_box(request);
        ready(Ok(CacheResponse::Done))
    }
}

/// Readies and calls one instance again and again.
fn drive<S>(service: S) -> Run
where
    S: Service<CacheRequest<Node>, Response = CacheResponse<Node>> + Clone + 'static,
    S::Error: std::fmt::Debug,
{
    let key = Key::new("user:1").expect("a valid key");
    Box::new(move |runtime, count| {
        let mut service = service.clone();
        runtime.block_on(async {
            let start = Instant::now();
            for _ in 0..count {
                std::future::poll_fn(|cx| service.poll_ready(cx)).await.expect("ready");
                black_box(service.call(CacheRequest::get(key.clone())).await.expect("answered"));
            }
            start.elapsed()
        })
    })
}

fn leaf() -> Group {
    fn over<L>(layer: L) -> Run
    where
        L: Layer<ReadyLeaf>,
        L::Service: Service<CacheRequest<Node>, Response = CacheResponse<Node>> + Clone + 'static,
        <L::Service as Service<CacheRequest<Node>>>::Error: std::fmt::Debug,
    {
        drive(layer.layer(ReadyLeaf))
    }
    let peer_breaker =
        tower_resilience_circuitbreaker::CircuitBreakerLayer::builder().build().expect("defaults");
    let peer_bulkhead = tower_resilience_bulkhead::BulkheadLayer::builder()
        .max_concurrent_calls(1_024)
        .build()
        .expect("valid");
    let contender = |name, bound, run| Contender { name, bound, run };
    Group {
        name: "one layer over a ready leaf",
        base: "ready leaf",
        contenders: vec![
            contender("ready leaf", None, drive(ReadyLeaf)),
            contender("trace (no subscriber)", None, over(TraceLayer::new())),
            contender("metrics", None, over(MetricsLayer::new())),
            contender("rate limit", None, over(RateLimitLayer::per_second(u32::MAX))),
            contender(
                "bulkhead",
                Some(Bound::Added(0.1, "tower-resilience bulkhead")),
                over(BulkheadLayer::new(1_024)),
            ),
            contender("retry", None, over(RetryLayer::default())),
            contender(
                "circuit breaker",
                Some(Bound::Added(0.1, "tower-resilience breaker")),
                over(CircuitBreakerLayer::default()),
            ),
            contender("timeout", None, over(TimeoutLayer::new(Duration::from_secs(1)))),
            contender("seven layers", None, drive(settings().guard(ReadyLeaf))),
            contender("tower-resilience breaker", None, over(peer_breaker)),
            contender("tower-resilience bulkhead", None, over(peer_bulkhead)),
        ],
    }
}

fn layers_over_memory(runtime: &Runtime) -> Group {
    let nodes = circle(1_000);
    let store = MemoryStore::new(2_000);
    let filler = Cache::new(store.clone());
    for (key, node) in &nodes {
        runtime.block_on(async { filler.set(key, Arc::clone(node), Ttl::Never).await.expect("stored") });
    }
    fn over<S: CacheService<Node>>(nodes: &[(Key, Arc<Node>)], stack: S) -> Run {
        let cache = Cache::new(stack);
        chase!(nodes, |key| cache.get(key).await.expect("answered").expect("a hit"))
    }
    let contender = |name, run| Contender { name, bound: None, run };
    let store = || store.clone();
    Group {
        name: "one layer over MemoryStore, 1k keys",
        base: "MemoryStore",
        contenders: vec![
            contender("MemoryStore", over(&nodes, store())),
            contender("trace (no subscriber)", over(&nodes, TraceLayer::new().layer(store()))),
            contender("metrics", over(&nodes, MetricsLayer::new().layer(store()))),
            contender("rate limit", over(&nodes, RateLimitLayer::per_second(u32::MAX).layer(store()))),
            contender("bulkhead", over(&nodes, BulkheadLayer::new(1_024).layer(store()))),
            contender("retry", over(&nodes, RetryLayer::default().layer(store()))),
            contender("circuit breaker", over(&nodes, CircuitBreakerLayer::default().layer(store()))),
            contender("timeout", over(&nodes, TimeoutLayer::new(Duration::from_secs(1)).layer(store()))),
            contender("seven layers", over(&nodes, settings().guard(store()))),
        ],
    }
}
