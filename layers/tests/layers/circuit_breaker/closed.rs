//! What a closed circuit counts, and when it opens.

use super::*;

#[tokio::test(start_paused = true)]
async fn opens_when_enough_of_enough_calls_failed() {
    let bench = bench(CircuitBreakerLayer::default().minimum_calls(10).failure_rate(0.3));
    bench.fail(2).await;
    bench.succeed(7).await;
    assert_eq!(bench.reads.state(), CircuitState::Closed, "too few calls");
    bench.fail(1).await;
    assert_eq!(bench.reads.state(), CircuitState::Open);
    let snapshot = bench.reads.snapshot();
    assert_eq!((snapshot.calls, snapshot.failures, snapshot.opened), (10, 3, 1));
    assert!((snapshot.failure_rate() - 0.3).abs() < 1e-9);
}

#[tokio::test(start_paused = true)]
async fn a_lower_rate_leaves_it_closed() {
    let bench = bench(CircuitBreakerLayer::default().count_window(10).minimum_calls(10).failure_rate(0.3));
    for _ in 0..20 {
        bench.fail(2).await;
        bench.succeed(8).await;
    }
    assert_eq!(bench.reads.state(), CircuitState::Closed);
    assert_eq!(bench.counts(), (10, 2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_small_window_lowers_the_minimum() {
    let bench = bench(CircuitBreakerLayer::default().count_window(4));
    bench.fail(4).await;
    assert_eq!(bench.reads.state(), CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn a_success_ends_a_run_of_failures() {
    let bench = bench(quick().consecutive_failures(3));
    bench.fail(2).await;
    bench.succeed(1).await;
    bench.fail(2).await;
    assert_eq!((bench.reads.state(), bench.reads.snapshot().consecutive_failures), (CircuitState::Closed, 2));
    bench.fail(1).await;
    assert_eq!(bench.reads.state(), CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn only_failures_of_the_store_count_as_such() {
    let bench = bench(counting());
    for kind in
        [ErrorKind::RateLimited, ErrorKind::BulkheadFull, ErrorKind::CircuitOpen, ErrorKind::InvalidKey]
    {
        bench.leaf.push(failure(kind));
        bench.get().await.unwrap_err();
    }
    assert_eq!(bench.counts(), (0, 0, 0), "the store was not asked");
    for kind in [ErrorKind::WrongType, ErrorKind::NoScript, ErrorKind::PermissionDenied] {
        bench.leaf.push(failure(kind));
        bench.get().await.unwrap_err();
    }
    assert_eq!(bench.counts(), (3, 0, 0), "the store answered");
    for kind in [ErrorKind::Timeout, ErrorKind::Loading, ErrorKind::OutOfMemory] {
        bench.leaf.push(failure(kind));
        bench.get().await.unwrap_err();
    }
    assert_eq!(bench.counts(), (6, 3, 0));
}

#[tokio::test(start_paused = true)]
async fn another_predicate_decides() {
    let bench = bench(counting().failure_when(|error| error.kind() == ErrorKind::WrongType));
    bench.leaf.push(failure(ErrorKind::WrongType));
    bench.leaf.push(lost());
    bench.get().await.unwrap_err();
    bench.get().await.unwrap_err();
    assert_eq!(bench.counts(), (2, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_call_counts_neither_way_and_a_panic_is_a_failure() {
    let bench = bench(counting());
    bench.leaf.push(Outcome::never());
    let call = spawn(&bench.stack);
    bench.leaf.wait_for_in_flight(1).await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    drop(bench.stack.clone().oneshot(get()));
    assert_eq!(bench.counts(), (0, 0, 0));
    for outcome in [Outcome::panic("planted"), Outcome::panic_in_call("planted")] {
        bench.leaf.push(outcome);
        assert!(spawn(&bench.stack).await.unwrap_err().is_panic());
    }
    assert_eq!(bench.counts(), (2, 2, 0));
}

#[tokio::test(start_paused = true)]
async fn clones_share_the_circuit_and_other_layers_do_not() {
    let layer = quick();
    let (one, two) = (bench(layer.clone()), bench(layer.clone()));
    one.fail(1).await;
    two.fail(1).await;
    assert_eq!(layer.handle().state(), CircuitState::Open);
    let apart = bench(layer.consecutive_failures(2));
    assert_eq!(apart.reads.state(), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn forwards_readiness_and_its_errors() {
    let mut bench = bench(quick());
    bench.leaf.push_readiness(Readiness::now().after(SECOND));
    bench.leaf.push_readiness(Readiness::err(CacheError::new(ErrorKind::Closed, "closed")));
    let start = clock::fresh();
    bench.stack.ready().await.unwrap();
    assert_eq!(clock::fresh() - start, SECOND);
    bench.stack.call(get()).await.unwrap();
    assert_eq!(bench.stack.ready().await.unwrap_err().kind(), ErrorKind::Closed);
}
