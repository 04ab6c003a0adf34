//! What an open circuit refuses, and for how long.

use super::*;

#[tokio::test(start_paused = true)]
async fn refuses_and_says_for_how_long() {
    let bench = bench(quick());
    bench.fail(2).await;
    tokio::time::advance(Duration::from_millis(400)).await;
    let error = bench.get().await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::CircuitOpen, Retry::Never));
    let told = error.retry_after().unwrap();
    assert!(told >= Duration::from_millis(600) && told < SECOND, "{told:?}");
    let snapshot = bench.reads.snapshot();
    assert_eq!((snapshot.wait, snapshot.refused), (Some(Duration::from_millis(600)), 1));
    assert_eq!(bench.leaf.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn never_polls_the_inner_readiness() {
    let bench = bench(quick());
    bench.fail(2).await;
    let polls = bench.leaf.ready_polls();
    bench.leaf.ready_with(|_| Readiness::never());
    for _ in 0..3 {
        assert_eq!(kind(bench.get().await), Some(ErrorKind::CircuitOpen));
    }
    assert_eq!(bench.leaf.ready_polls(), polls);
}

#[tokio::test(start_paused = true)]
async fn readiness_that_was_not_used_is_kept() {
    let mut bench = bench(quick());
    bench.stack.ready().await.unwrap();
    assert_eq!(bench.leaf.reserved(), 1);
    bench.fail(2).await;
    assert_eq!(kind(bench.stack.call(get()).await), Some(ErrorKind::CircuitOpen));
    assert_eq!(bench.leaf.reserved(), 1);
    tokio::time::advance(SECOND).await;
    let polls = bench.leaf.ready_polls();
    bench.stack.ready().await.unwrap().call(get()).await.unwrap();
    assert_eq!((bench.leaf.ready_polls(), bench.leaf.reserved()), (polls, 0));
}

#[tokio::test(start_paused = true)]
async fn readies_inside_the_call_when_it_closes_after_poll_ready() {
    let mut bench = bench(quick());
    bench.fail(2).await;
    bench.stack.ready().await.unwrap();
    bench.reads.reset();
    let gate = Gate::new();
    bench.leaf.push_readiness(Readiness::now().after_gate(&gate));
    // The leaf panics when it is called without having been readied.
    let call = tokio::spawn(bench.stack.call(get()));
    tokio::task::yield_now().await;
    assert_eq!((gate.waiting(), bench.leaf.calls()), (1, 2));
    gate.open();
    call.await.unwrap().unwrap();
    assert_eq!((bench.leaf.calls(), bench.leaf.violations()), (3, 0));
    assert_eq!(bench.counts(), (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_failed_readiness_inside_the_call_is_its_answer_and_counts() {
    let bench = Bench::half_open_next(quick()).await;
    bench.leaf.push_readiness(Readiness::err(CacheError::new(ErrorKind::Connection, "planted")));
    assert_eq!(kind(bench.get().await), Some(ErrorKind::Connection));
    assert_eq!(bench.reads.state(), CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn results_from_before_it_opened_are_ignored() {
    let bench = bench(quick());
    let (bad, good) = (Gate::new(), Gate::new());
    let mut late = Vec::new();
    for _ in 0..5 {
        bench.leaf.push(lost().after_gate(&bad));
        late.push(spawn(&bench.stack));
    }
    bench.leaf.wait_for_in_flight(5).await;
    bench.leaf.push(Outcome::miss().after_gate(&good));
    let later = spawn(&bench.stack);
    bench.leaf.wait_for_in_flight(6).await;
    bench.fail(2).await;
    tokio::time::advance(SECOND).await;
    // Half-open now, with one probe succeeded of two.
    bench.succeed(1).await;
    bad.open();
    for call in late {
        call.await.unwrap().unwrap_err();
    }
    good.open();
    later.await.unwrap().unwrap();
    assert_eq!(bench.reads.state(), CircuitState::HalfOpen);
    bench.succeed(1).await;
    assert_eq!((bench.reads.state(), bench.counts()), (CircuitState::Closed, (0, 0, 0)));
}

#[tokio::test(start_paused = true)]
async fn waits_longer_each_time_a_probe_fails_and_anew_once_closed() {
    let bench = bench(quick());
    bench.fail(2).await;
    for seconds in [1, 2, 4, 4] {
        assert_eq!(bench.reads.snapshot().wait, Some(seconds * SECOND));
        tokio::time::advance(seconds * SECOND - Duration::from_nanos(1_000_000)).await;
        assert_eq!(kind(bench.get().await), Some(ErrorKind::CircuitOpen));
        tokio::time::advance(Duration::from_nanos(1_000_000)).await;
        bench.fail(1).await;
    }
    tokio::time::advance(4 * SECOND).await;
    bench.succeed(2).await;
    assert_eq!(bench.reads.state(), CircuitState::Closed);
    bench.fail(2).await;
    assert_eq!(bench.reads.snapshot().wait, Some(SECOND));
    assert_eq!(bench.reads.snapshot().opened, 6);
}

#[tokio::test(start_paused = true)]
async fn jitter_only_lengthens_the_wait() {
    let mut waits = Vec::new();
    for _ in 0..50 {
        let bench = bench(quick().open_jitter(0.5));
        bench.fail(2).await;
        waits.push(bench.reads.snapshot().wait.unwrap());
    }
    assert!(waits.iter().all(|wait| (SECOND..=SECOND * 3 / 2).contains(wait)), "{waits:?}");
    assert!(waits.iter().max().unwrap() > waits.iter().min().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_clone_does_not_inherit_readiness() {
    let mut bench = bench(quick());
    bench.stack.ready().await.unwrap();
    let mut clone = bench.stack.clone();
    bench.stack.handle().force_open();
    // Ready without asking, as it is open; so the call has to ask, once it is closed.
    clone.ready().await.unwrap();
    bench.stack.handle().reset();
    clone.call(get()).await.unwrap();
    assert_eq!(bench.leaf.violations(), 0);
}
