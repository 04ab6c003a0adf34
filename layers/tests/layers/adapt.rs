use std::error::Error;
use std::fmt;
use std::time::Duration;

use cachex_core::testing::{Contract, Leaf, Outcome, Readiness};
use cachex_core::{CacheError, CacheRequest, CacheResponse, CacheService, Effect, ErrorKind, Key, Op, Retry};
use cachex_layers::AdaptLayer;
use cachex_layers::adapt::Adapt;
use tower::buffer::BufferLayer;
use tower::limit::{ConcurrencyLimitLayer, RateLimitLayer};
use tower::load_shed::LoadShedLayer;
use tower::timeout::TimeoutLayer;
use tower::{Layer, ServiceBuilder, ServiceExt};

fn get() -> CacheRequest<u32> {
    CacheRequest::get(Key::new("user:42").unwrap())
}

async fn call<S: CacheService<u32>>(stack: &S) -> Result<CacheResponse<u32>, CacheError> {
    let mut stack = stack.clone();
    stack.ready().await?.call(get()).await
}

/// Two references to one error.
fn same(a: &CacheError, b: &CacheError) -> bool {
    let source = |error: &CacheError| error.source().map(|source| std::ptr::from_ref(source).cast::<()>());
    source(a).is_some() && source(a) == source(b)
}

fn planted() -> CacheError {
    CacheError::with_source(ErrorKind::Loading, "loading", std::io::Error::other("LOADING")).with_op(Op::Get)
}

#[tokio::test(start_paused = true)]
async fn answers_come_through() {
    let leaf = Leaf::new();
    leaf.push(Outcome::hit(7_u32).after(Duration::from_millis(99)));
    let stack = AdaptLayer::new(TimeoutLayer::new(Duration::from_millis(100))).layer(leaf);
    assert_eq!(call(&stack).await.unwrap().is_hit(), Some(true));
}

#[tokio::test(start_paused = true)]
async fn an_error_from_beneath_comes_out_as_itself() {
    let leaf = Leaf::<u32>::new();
    let error = planted();
    // Boxed by the timeout; passed on as it is by the limit.
    let boxed = AdaptLayer::new(TimeoutLayer::new(Duration::from_secs(1))).layer(leaf.clone());
    leaf.push(Outcome::err(error.clone()));
    assert!(same(&call(&boxed).await.unwrap_err(), &error));
    let passed_on = AdaptLayer::new(ConcurrencyLimitLayer::new(1)).layer(leaf.clone());
    leaf.push(Outcome::err(error.clone()));
    assert!(same(&call(&passed_on).await.unwrap_err(), &error));
    // And so do errors of readiness.
    leaf.push_readiness(Readiness::err(error.clone()));
    assert!(same(&call(&boxed).await.unwrap_err(), &error));
    assert_eq!(leaf.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn tower_s_timeout_is_a_timeout() {
    let leaf = Leaf::new();
    leaf.push(Outcome::never());
    let stack = AdaptLayer::new(TimeoutLayer::new(Duration::from_millis(100))).layer(leaf.clone());
    let error = call(&stack).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Timeout, Effect::Unknown));
    assert_eq!(leaf.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn shed_load_is_a_rejection() {
    let leaf = Leaf::new();
    leaf.push_readiness(Readiness::never());
    let stack = AdaptLayer::new(LoadShedLayer::new()).layer(leaf.clone());
    let error = call(&stack).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::BulkheadFull, Effect::None));
    assert!(error.kind().is_rejection());
    assert_eq!(leaf.calls(), 0);
}

#[derive(Debug)]
struct Foreign;

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not of this house")
    }
}

impl Error for Foreign {}

#[tokio::test]
async fn anything_else_is_foreign_and_kept() {
    let stack =
        Adapt::new(tower::service_fn(async |_: CacheRequest<u32>| Err::<CacheResponse<u32>, _>(Foreign)));
    let error = stack.oneshot(get()).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Foreign, Effect::Unknown));
    assert_eq!(error.retry(), Retry::Never);
    assert!(error.source().unwrap().is::<Foreign>());
}

#[tokio::test]
async fn what_an_error_of_ours_caused_keeps_its_kind() {
    let leaf = Leaf::<u32>::new();
    leaf.push_readiness(Readiness::err(planted()));
    // A buffer whose service has failed says so, with the service's error as its source, in call or poll_ready.
    let stack = AdaptLayer::new(BufferLayer::new(8)).layer(leaf);
    for _ in 0..2 {
        let error = call(&stack).await.unwrap_err();
        assert_eq!((error.kind(), error.op()), (ErrorKind::Loading, Some(Op::Get)));
        assert_eq!((error.retry(), error.effect()), (planted().retry(), planted().effect()));
        assert!(error.source().unwrap().is::<tower::buffer::error::ServiceError>());
        assert_eq!(error.to_string(), planted().to_string());
    }
}

#[tokio::test(start_paused = true)]
async fn stock_layers_stack_and_mix() {
    fn erased(stack: impl CacheService<u32>) -> cachex_core::BoxCacheService<u32> {
        cachex_core::BoxCacheService::new(stack)
    }
    let leaf = Leaf::new();
    leaf.answer_with(|_, n| if n == 0 { Outcome::hit(1_u32) } else { Outcome::never() });
    // Two behind one adapter, and one that is not Clone made so by a buffer.
    let two = ServiceBuilder::new()
        .layer(BufferLayer::<CacheRequest<u32>>::new(8))
        .layer(RateLimitLayer::new(100, Duration::from_secs(1)))
        .into_inner();
    let stack = erased(
        ServiceBuilder::new()
            .layer(AdaptLayer::new(ConcurrencyLimitLayer::new(4)))
            .layer(AdaptLayer::new(two))
            .layer(AdaptLayer::new(TimeoutLayer::new(Duration::from_millis(100))))
            .service(leaf.clone()),
    );
    assert!(call(&stack).await.is_ok());
    assert_eq!(call(&stack).await.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!((leaf.calls(), leaf.violations()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn dropping_the_call_drops_what_is_beneath() {
    let leaf = Leaf::new();
    leaf.push(Outcome::never());
    let stack = AdaptLayer::new(ConcurrencyLimitLayer::new(1)).layer(leaf.clone());
    assert!(tokio::time::timeout(Duration::from_millis(5), call(&stack)).await.is_err());
    assert_eq!((leaf.cancelled(), leaf.in_flight()), (1, 0));
    assert!(call(&stack).await.is_ok(), "the permit is back");
}

#[test]
fn keeps_the_layer_contract() {
    Contract::new(|| AdaptLayer::new(TimeoutLayer::new(Duration::from_secs(5)))).check_all();
}

#[test]
fn shows_what_it_wraps() {
    let shown = format!("{:?}", AdaptLayer::new(TimeoutLayer::new(Duration::from_millis(250))));
    assert!(shown.contains("250ms"), "{shown}");
}
