//! Slow calls.

use super::*;

fn sluggish() -> CircuitBreakerLayer {
    quick().slow_calls(Duration::from_millis(100), 0.5).minimum_calls(4)
}

#[tokio::test(start_paused = true)]
async fn too_many_slow_calls_open_it() {
    let bench = bench(sluggish());
    bench.succeed(2).await;
    for millis in [99, 100] {
        bench.leaf.push(Outcome::miss().after(Duration::from_millis(millis)));
        bench.get().await.unwrap();
    }
    assert_eq!(bench.counts(), (4, 0, 1));
    assert_eq!(bench.reads.state(), CircuitState::Closed);
    for _ in 0..2 {
        bench.leaf.push(Outcome::miss().after(SECOND));
        bench.get().await.unwrap();
    }
    assert_eq!((bench.counts(), bench.reads.state()), ((6, 0, 3), CircuitState::Open));
    assert!((bench.reads.snapshot().slow_call_rate() - 0.5).abs() < 1e-9);
}

#[tokio::test(start_paused = true)]
async fn a_slow_failure_is_both() {
    let bench = bench(sluggish());
    bench.leaf.push(lost().after(SECOND));
    bench.get().await.unwrap_err();
    assert_eq!(bench.counts(), (1, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_slow_probe_is_a_failed_one() {
    let bench = Bench::half_open_next(sluggish()).await;
    bench.leaf.push(Outcome::miss().after(SECOND));
    bench.get().await.unwrap();
    assert_eq!(bench.reads.state(), CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_never_suspends_is_not_slow() {
    let bench = bench(quick().slow_calls(Duration::ZERO, 0.01).minimum_calls(1));
    bench.succeed(5).await;
    assert_eq!((bench.counts(), bench.reads.state()), ((5, 0, 0), CircuitState::Closed));
    bench.leaf.push(Outcome::miss().after_yields(1));
    bench.get().await.unwrap();
    assert_eq!(bench.reads.state(), CircuitState::Open);
}
