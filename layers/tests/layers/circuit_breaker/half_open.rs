//! Probes.

use super::*;

#[tokio::test(start_paused = true)]
async fn closes_when_all_probes_succeeded() {
    let bench = Bench::half_open_next(quick()).await;
    bench.succeed(1).await;
    assert_eq!(bench.reads.state(), CircuitState::HalfOpen);
    bench.succeed(1).await;
    assert_eq!((bench.reads.state(), bench.counts()), (CircuitState::Closed, (0, 0, 0)));
}

#[tokio::test(start_paused = true)]
async fn opens_at_the_first_probe_that_fails() {
    let bench = Bench::half_open_next(quick()).await;
    bench.succeed(1).await;
    bench.fail(1).await;
    assert_eq!(bench.reads.state(), CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_callers_are_no_more_than_the_probes() {
    for limit in [1, 3] {
        let bench = Bench::half_open_next(quick().half_open_probes(limit)).await;
        let gate = Gate::new();
        let shut = gate.clone();
        bench.leaf.answer_with(move |_, _| Outcome::miss().after_gate(&shut));
        let calls: Vec<_> = (0..100).map(|_| spawn(&bench.stack)).collect();
        bench.leaf.wait_for_in_flight(limit as usize).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!((bench.leaf.in_flight(), bench.reads.snapshot().probes), (limit as usize, limit as usize));
        gate.open();
        let mut passed = 0;
        for call in calls {
            match call.await.unwrap() {
                Ok(_) => passed += 1,
                Err(error) => assert_eq!(error.kind(), ErrorKind::CircuitOpen),
            }
        }
        assert_eq!((passed, bench.leaf.peak_in_flight()), (limit, limit as usize));
        assert_eq!(bench.reads.state(), CircuitState::Closed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn probes_stay_limited_on_many_threads() {
    let bench = bench(
        quick()
            .consecutive_failures(1)
            .open_duration(Duration::ZERO)
            .max_open_duration(Duration::ZERO)
            .half_open_probes(1),
    );
    bench.fail(1).await;
    // From here on every call is a probe, and every probe fails.
    let (watch, before) = (bench.leaf.clone(), bench.leaf.calls());
    bench.leaf.answer_with(|_, _| lost().after_yields(3));
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let stack = bench.stack.clone();
            tokio::spawn(async move {
                for _ in 0..500 {
                    ask(&stack, get()).await.unwrap_err();
                }
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(watch.peak_in_flight(), 1);
    assert!(watch.calls() > before);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_probe_gives_its_place_back() {
    let bench = Bench::half_open_next(quick().half_open_probes(1)).await;
    bench.leaf.push(Outcome::never());
    let probe = spawn(&bench.stack);
    bench.leaf.wait_for_in_flight(1).await;
    assert_eq!(kind(bench.get().await), Some(ErrorKind::CircuitOpen));
    probe.abort();
    assert!(probe.await.unwrap_err().is_cancelled());
    bench.succeed(1).await;
    assert_eq!(bench.reads.state(), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_probe_cancelled_before_its_first_poll_or_while_readying_gives_its_place_back() {
    let mut bench = Bench::half_open_next(quick().half_open_probes(1)).await;
    drop(bench.stack.ready().await.unwrap().call(get()));
    assert_eq!((bench.reads.state(), bench.reads.snapshot().probes), (CircuitState::HalfOpen, 0));
    bench.leaf.push_readiness(Readiness::never());
    let probe = spawn(&bench.stack);
    tokio::task::yield_now().await;
    assert_eq!(bench.reads.snapshot().probes, 1);
    probe.abort();
    assert!(probe.await.unwrap_err().is_cancelled());
    bench.succeed(1).await;
    assert_eq!(bench.reads.state(), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_stalled_probe_loses_its_place_and_its_say() {
    let bench = Bench::half_open_next(quick().half_open_probes(1)).await;
    let gate = Gate::new();
    bench.leaf.push(lost().after_gate(&gate));
    let stalled = spawn(&bench.stack);
    bench.leaf.wait_for_in_flight(1).await;
    tokio::time::advance(10 * SECOND - Duration::from_millis(1)).await;
    assert_eq!(kind(bench.get().await), Some(ErrorKind::CircuitOpen));
    tokio::time::advance(Duration::from_millis(1)).await;
    bench.leaf.push(Outcome::never());
    let second = spawn(&bench.stack);
    let probing = tokio::time::timeout(SECOND, bench.leaf.wait_for_in_flight(2)).await;
    probing.expect("the place was not given to another");
    assert_eq!(bench.reads.snapshot().probes, 1);
    gate.open();
    stalled.await.unwrap().unwrap_err();
    assert_eq!(bench.reads.state(), CircuitState::HalfOpen, "too late to count");
    second.abort();
    assert!(second.await.unwrap_err().is_cancelled());
    bench.succeed(1).await;
    assert_eq!(bench.reads.state(), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_panicking_probe_fails_and_a_refused_one_says_nothing() {
    let bench = Bench::half_open_next(quick().half_open_probes(1)).await;
    bench.leaf.push(failure(ErrorKind::BulkheadFull));
    assert_eq!(kind(bench.get().await), Some(ErrorKind::BulkheadFull));
    assert_eq!((bench.reads.state(), bench.reads.snapshot().probes), (CircuitState::HalfOpen, 0));
    bench.leaf.push(Outcome::panic("planted"));
    assert!(spawn(&bench.stack).await.unwrap_err().is_panic());
    assert_eq!(bench.reads.state(), CircuitState::Open);
}
