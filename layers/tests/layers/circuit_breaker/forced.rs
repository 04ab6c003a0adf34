//! Circuits that someone overrules.

use super::*;

#[tokio::test(start_paused = true)]
async fn open_refuses_until_told_otherwise() {
    let bench = bench(quick());
    bench.stack.handle().force_open();
    tokio::time::advance(1000 * SECOND).await;
    let error = bench.get().await.unwrap_err();
    assert_eq!((error.kind(), error.retry_after()), (ErrorKind::CircuitOpen, None));
    assert_eq!((bench.leaf.calls(), bench.reads.state()), (0, CircuitState::ForcedOpen));
    bench.stack.handle().reset();
    bench.succeed(1).await;
    assert_eq!(bench.reads.state(), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn closed_passes_all_and_counts_nothing() {
    let bench = bench(quick());
    bench.stack.handle().force_close();
    bench.fail(50).await;
    assert_eq!((bench.reads.state(), bench.counts()), (CircuitState::ForcedClosed, (0, 0, 0)));
    bench.stack.handle().reset();
    bench.fail(2).await;
    assert_eq!(bench.reads.state(), CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn ends_a_probe_round() {
    let bench = Bench::half_open_next(quick()).await;
    let gate = Gate::new();
    bench.leaf.push(lost().after_gate(&gate));
    let probe = spawn(&bench.stack);
    bench.leaf.wait_for_in_flight(1).await;
    bench.reads.force_close();
    gate.open();
    probe.await.unwrap().unwrap_err();
    assert_eq!(bench.reads.state(), CircuitState::ForcedClosed);
    bench.reads.force_open();
    assert_eq!(kind(bench.get().await), Some(ErrorKind::CircuitOpen));
    assert_eq!(bench.stack.handle().circuit(OpClass::Write).state(), CircuitState::Closed);
}
