//! How long reads wait for those before them, and who does.

use std::time::Duration;

use cachex_core::testing::{Gate, Leaf, Outcome};
use cachex_core::{CacheRequest, Op};
use cachex_layers::BatchLayer;
use tokio::time::Instant;
use tower::{Layer, Service};

use super::{Bench, Call, PATIENCE, asked, call, echo, echoing, found, key, soon, texts};

const LIMIT: Duration = Duration::from_millis(50);

/// A bench whose first read is answered, whose first batch, of `a` and `b`, is under way until the gate is opened, and
/// which answers everything else at once.
async fn with_a_batch_under_way(limit: Option<Duration>) -> (Bench, Gate, [Call; 2]) {
    let bench =
        Bench::with(|builder| limit.into_iter().fold(builder, |builder, limit| builder.max_wait(limit)));
    let first = bench.get("first");
    let gate = Gate::new();
    let (shut, first_gate) = (gate.clone(), bench.gate.clone());
    bench.leaf.answer_with(move |request, number| match number {
        0 => Outcome::ok(echo(request)).after_gate(&first_gate),
        1 => Outcome::ok(echo(request)).after_gate(&shut),
        _ => Outcome::ok(echo(request)),
    });
    let calls = ["a", "b"].map(|name| bench.get(name));
    bench.gate.open();
    assert_eq!(found(first.await).unwrap(), "first");
    soon(|| bench.leaf.calls() == 2).await;
    assert_eq!(asked(&bench.leaf)[1], (Op::GetMany, texts(["a", "b"])));
    (bench, gate, calls)
}

#[tokio::test(start_paused = true)]
async fn who_waits_too_long_is_let_go() {
    let (bench, gate, calls) = with_a_batch_under_way(Some(LIMIT)).await;
    let sent = Instant::now();
    let waiting = ["c", "none", "e"].map(|name| bench.get(name));
    assert_eq!(bench.state().queued, 3);
    for (call, expected) in waiting.into_iter().zip([Some("c"), None, Some("e")]) {
        assert_eq!(found(call.await).as_deref(), expected);
    }
    assert_eq!(sent.elapsed().as_millis(), LIMIT.as_millis());
    let ones = ["c", "none", "e"].map(|name| (Op::Get, texts([name])));
    assert_eq!(asked(&bench.leaf)[2..], ones);
    let state = bench.state();
    assert_eq!((state.requests, state.batches, state.batched_keys, state.queued), (6, 1, 2, 0));

    // So is whoever comes while it goes on, and nobody waits for the limit again.
    for name in ["f", "g"] {
        assert_eq!(found(call(&bench.stack, CacheRequest::get(key(name))).await).unwrap(), name);
    }
    assert_eq!(sent.elapsed().as_millis(), LIMIT.as_millis());

    // Those in the batch wait for it.
    gate.open();
    for (call, name) in calls.into_iter().zip(["a", "b"]) {
        assert_eq!(found(call.await).unwrap(), name);
    }
    bench.assert_idle().await;
}

#[tokio::test(start_paused = true)]
async fn once_the_late_batch_is_over_reads_meet_again() {
    let (bench, gate, calls) = with_a_batch_under_way(Some(LIMIT)).await;
    drop(found(bench.get("c").await));
    gate.open();
    for call in calls {
        drop(found(call.await));
    }
    bench.assert_idle().await;
    let before = bench.leaf.calls();
    let shut = Gate::new();
    let closed = shut.clone();
    bench.leaf.answer_with(move |request, number| {
        let outcome = Outcome::ok(echo(request));
        if number == before { outcome.after_gate(&closed) } else { outcome }
    });
    let calls = ["d", "e", "f"].map(|name| bench.get(name));
    shut.open();
    for (call, name) in calls.into_iter().zip(["d", "e", "f"]) {
        assert_eq!(found(call.await).unwrap(), name);
    }
    let expected = [(Op::Get, texts(["d"])), (Op::GetMany, texts(["e", "f"]))];
    assert_eq!(asked(&bench.leaf)[before as usize..], expected);
}

/// The limit is each batch's own, counted from when it is sent.
#[tokio::test(start_paused = true)]
async fn batches_in_time_are_waited_for() {
    let bench = Bench::with(|builder| builder.max_wait(LIMIT).max_batch(2));
    let first = bench.get("first");
    let (open, almost) = (bench.gate.clone(), LIMIT - Duration::from_millis(1));
    bench.leaf.answer_with(move |request, number| {
        let outcome = Outcome::ok(echo(request));
        if number == 0 { outcome.after_gate(&open) } else { outcome.after(almost) }
    });
    let start = Instant::now();
    let calls: Vec<_> = (0..8).map(|number| (number, bench.get(number.to_string()))).collect();
    bench.gate.open();
    drop(first.await);
    for (number, call) in calls {
        assert_eq!(found(call.await).unwrap(), number.to_string());
    }
    assert!(start.elapsed() >= 4 * almost);
    let pairs = (0..4).map(|pair| (Op::GetMany, vec![(2 * pair).to_string(), (2 * pair + 1).to_string()]));
    assert_eq!(asked(&bench.leaf)[1..], pairs.collect::<Vec<_>>());
    bench.assert_idle().await;
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_they_wait_as_long_as_it_takes() {
    let (bench, gate, calls) = with_a_batch_under_way(None).await;
    // Without the bound that the others have on a call.
    let mut waiting = Box::pin(bench.stack.clone().call(CacheRequest::get(key("c"))));
    let waited = tokio::time::timeout(100 * PATIENCE, &mut waiting).await;
    assert!(waited.is_err() && bench.state().queued == 1 && bench.leaf.calls() == 2);
    gate.open();
    assert_eq!(found(waiting.await).unwrap(), "c");
    drop(calls);
}

/// How many calls eight reads are that are under way at one time.
fn calls_for_eight(runtime: &tokio::runtime::Runtime, only: bool) -> u64 {
    let (leaf, gate) = (Leaf::<String>::new(), Gate::new());
    let shut = gate.clone();
    leaf.answer_with(move |request, _| Outcome::ok(echo(request)).after_gate(&shut));
    let stack = BatchLayer::builder().lanes(1).multi_thread_only(only).build().unwrap().layer(leaf.clone());
    runtime.block_on(async {
        let ask = |name: usize| {
            let read = stack.clone().call(CacheRequest::get(key(name.to_string())));
            tokio::spawn(async move { assert_eq!(found(read.await).unwrap(), name.to_string()) })
        };
        let calls: Vec<_> = (0..8).map(ask).collect();
        while stack.handle().state().requests < 8 {
            tokio::task::yield_now().await;
        }
        gate.open();
        for call in calls {
            call.await.unwrap();
        }
    });
    leaf.calls()
}

#[test]
fn reads_of_a_current_thread_runtime_meet_unless_that_is_turned_off() {
    let current = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    assert_eq!(calls_for_eight(&current, true), 8);
    assert!(calls_for_eight(&current, false) <= 3);
    let many = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    assert!(calls_for_eight(&many, true) < 8);
}

/// Nobody drives the runtime of whoever came first: no one else waits for it.
#[test]
fn a_runtime_that_stands_still_holds_up_nobody() {
    let build = || tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (still, driven) = (build(), build());
    let bench = Bench::with(|builder| builder.multi_thread_only(true));
    bench.leaf.answer_with(|_, _| Outcome::never());
    let reads = {
        let _entered = still.enter();
        [bench.get("first"), bench.get("second")]
    };
    echoing(&bench.leaf);
    driven.block_on(async {
        for name in ["c", "d"] {
            assert_eq!(found(call(&bench.stack, CacheRequest::get(key(name))).await).unwrap(), name);
        }
    });
    drop(reads);
}
