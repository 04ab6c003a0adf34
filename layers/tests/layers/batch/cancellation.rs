//! Whoever goes away, at whatever point, the others are served.

use cachex_core::testing::{Gate, Outcome};
use cachex_core::{CacheRequest, CacheResponse, Op};
use tower::Service;

use super::{Bench, asked, call, echo, found, key, poll, soon, texts};

#[tokio::test(start_paused = true)]
async fn one_that_passes_alone_is_dropped_under_way() {
    let bench = Bench::new();
    let first = bench.get("first");
    let calls: Vec<_> = ["a", "b", "c"].iter().map(|name| bench.get(name)).collect();
    drop(first);
    for (name, call) in ["a", "b", "c"].iter().zip(calls) {
        assert_eq!(found(call.await).unwrap(), *name);
    }
    assert_eq!(asked(&bench.leaf)[1], (Op::GetMany, texts(["a", "b", "c"])));
    assert_eq!(bench.leaf.cancelled(), 1);
    bench.assert_idle().await;
}

/// Seen to fail, by waiting for itself, when a read that passes alone had its lane until it was polled to its end.
#[tokio::test(start_paused = true)]
async fn one_that_passes_alone_and_is_put_aside_holds_up_nobody() {
    let bench = Bench::new();
    let mut first = bench.get("first");
    bench.gate.open();
    // As in a loop around `select!`: the task does not poll the one while it awaits others.
    for name in ["a", "b", "first"] {
        let answer = call(&bench.stack, CacheRequest::get(key(name))).await;
        assert_eq!(found(answer).unwrap(), name);
    }
    assert_eq!(found(first.as_mut().await).unwrap(), "first");
    bench.assert_idle().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_passes_alone_is_dropped_and_nobody_waits() {
    let bench = Bench::new();
    drop(bench.get("first"));
    bench.assert_idle().await;
    // Nor does one that was never polled take the lane.
    drop(call(&bench.stack, CacheRequest::get(key("a"))));
    bench.assert_idle().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_waits_is_dropped() {
    let bench = Bench::new();
    let first = bench.get("first");
    let [a, b, c] = ["a", "b", "c"].map(|name| bench.get(name));
    drop(b);
    assert_eq!(bench.state().queued, 2);
    bench.gate.open();
    drop(first.await);
    assert_eq!(found(c.await).unwrap(), "c");
    assert_eq!(found(a.await).unwrap(), "a");
    assert_eq!(asked(&bench.leaf)[1], (Op::GetMany, texts(["a", "c"])));
    assert_eq!(bench.state().requests, 4);
    bench.assert_idle().await;
}

#[tokio::test(start_paused = true)]
async fn all_that_wait_are_dropped() {
    let bench = Bench::new();
    let first = bench.get("first");
    drop(["a", "b", "c"].map(|name| bench.get(name)));
    assert_eq!(bench.state().queued, 0);
    bench.gate.open();
    assert_eq!(found(first.await).unwrap(), "first");
    tokio::task::yield_now().await;
    assert_eq!(bench.leaf.calls(), 1, "nothing is sent for nobody");
    bench.assert_idle().await;
}

#[tokio::test(start_paused = true)]
async fn all_that_wait_are_dropped_after_the_lane_was_passed_on() {
    let bench = Bench::new();
    let mut first = bench.get("first");
    let waiting = ["a", "b"].map(|name| bench.get(name));
    bench.gate.open();
    // The sender has the lane and did not run yet.
    assert!(poll(&mut first).is_ready());
    drop(waiting);
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.leaf.calls(), 1);
    bench.assert_idle().await;
}

/// A batch of a and b is under way, and c waits.
async fn under_way() -> (Bench, Gate, [super::Call; 3]) {
    let bench = Bench::new();
    let gate = Gate::new();
    let first = bench.get("first");
    let [a, b] = ["a", "b"].map(|name| bench.get(name));
    let shut = gate.clone();
    bench.leaf.answer_with(move |request, number| {
        let outcome = Outcome::ok(echo(request));
        if number == 1 { outcome.after_gate(&shut) } else { outcome }
    });
    bench.gate.open();
    drop(first.await);
    soon(|| bench.leaf.calls() == 2).await;
    let c = bench.get("c");
    (bench, gate, [a, b, c])
}

#[tokio::test(start_paused = true)]
async fn one_of_a_batch_under_way_is_dropped() {
    let (bench, gate, [a, b, c]) = under_way().await;
    drop(a);
    tokio::task::yield_now().await;
    assert_eq!(bench.leaf.in_flight(), 1, "b still wants it");
    gate.open();
    assert_eq!(found(b.await).unwrap(), "b");
    assert_eq!(found(c.await).unwrap(), "c");
    bench.assert_idle().await;
}

#[tokio::test(start_paused = true)]
async fn all_of_a_batch_under_way_are_dropped() {
    let (bench, _shut, [a, b, c]) = under_way().await;
    drop((a, b));
    // The batch never ends by itself.
    assert_eq!(found(c.await).unwrap(), "c");
    assert_eq!((bench.leaf.cancelled(), bench.leaf.calls()), (1, 3));
    bench.assert_idle().await;
}

#[tokio::test(start_paused = true)]
async fn one_is_dropped_after_it_was_answered() {
    let (bench, gate, [a, b, c]) = under_way().await;
    gate.open();
    soon(|| bench.leaf.calls() == 3).await;
    drop(a);
    assert_eq!(found(b.await).unwrap(), "b");
    drop(c);
    bench.assert_idle().await;
    // Their groups are used again.
    for _ in 0..100 {
        bench.assert_idle().await;
    }
}

/// Callers come and go at random points on many threads; whoever stays is answered with its own value.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn those_who_stay_are_served_while_others_come_and_go() {
    let leaf = cachex_core::testing::Leaf::new();
    leaf.answer_with(|request, number| Outcome::ok(echo(request)).after_yields((number % 4) as u32));
    let layer = cachex_layers::BatchLayer::builder().lanes(2).max_batch(8).build().unwrap();
    let stack = tower::Layer::layer(&layer, leaf.clone());
    let tasks = (0..64_usize).map(|task| {
        let mut stack = stack.clone();
        tokio::spawn(async move {
            for round in 0..200_usize {
                let name = format!("{}:{}", task % 16, round % 5);
                let call = stack.call(CacheRequest::get(key(&name)));
                if (task + round) % 3 == 0 {
                    // Dropped after a few polls.
                    let turns = async {
                        for _ in 0..round % 4 {
                            tokio::task::yield_now().await;
                        }
                    };
                    tokio::select! { biased; answer = call => drop(answer), () = turns => {} }
                } else {
                    let answer = tokio::time::timeout(super::PATIENCE, call).await.expect("no call hangs");
                    assert_eq!(found(answer).unwrap(), name);
                }
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    soon(|| leaf.in_flight() == 0).await;
    assert_eq!((layer.handle().state().queued, leaf.reserved(), leaf.violations()), (0, 0, 0));
    assert!(layer.handle().state().batches > 0);
    assert!(matches!(stack.clone().call(CacheRequest::get(key("a"))).await, Ok(CacheResponse::Hit(_))));
}
