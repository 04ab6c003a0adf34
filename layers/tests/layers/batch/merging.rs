//! Which reads meet, and what each is answered.

use std::future::poll_fn;
use std::mem;
use std::task::Poll;

use cachex_core::testing::{Gate, Leaf, Outcome};
use cachex_core::{CacheRequest, CacheResponse, Entry, Op};
use cachex_layers::BatchLayer;
use tower::{Layer, Service};

use super::{Bench, asked, call, echo, echoing, found, get, key, poll, soon, texts};

#[tokio::test(start_paused = true)]
async fn a_lone_read_passes_as_it_is() {
    let leaf = Leaf::new();
    echoing(&leaf);
    let mut stack = BatchLayer::new().layer(leaf.clone());
    for name in ["a", "none", "b"] {
        let answer = stack.call(CacheRequest::get(key(name))).await;
        assert_eq!(found(answer), (name != "none").then(|| name.to_owned()));
    }
    let gets = ["a", "none", "b"].map(|name| (Op::Get, texts([name])));
    assert_eq!(asked(&leaf), gets);
    let state = stack.handle().state();
    assert_eq!((state.requests, state.batches, state.batched_keys, state.largest_batch), (3, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn those_that_come_meanwhile_go_together() {
    let bench = Bench::new();
    let first = bench.get("first");
    let names = ["c", "a", "none", "b", "d"];
    let calls: Vec<_> = names.iter().map(|name| bench.get(name)).collect();
    assert_eq!((bench.leaf.calls(), bench.state().queued), (1, 5));
    bench.gate.open();
    assert_eq!(found(first.await).unwrap(), "first");
    // Each its own, whatever the order in which they ask.
    for (name, call) in names.iter().zip(calls).rev() {
        let expected = (*name != "none").then(|| (*name).to_owned());
        assert_eq!(found(call.await), expected);
    }
    // The first miss of a batch is asked for again, alone: nobody had told whether misses carry fences.
    let expected = [(Op::Get, texts(["first"])), (Op::GetMany, texts(names)), (Op::Get, texts(["none"]))];
    assert_eq!(asked(&bench.leaf), expected);
    let state = bench.state();
    assert_eq!((state.requests, state.batches, state.batched_keys, state.largest_batch), (6, 1, 5, 5));
    bench.assert_idle().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_waited_alone_goes_alone() {
    let bench = Bench::new();
    let first = bench.get("first");
    let second = bench.get("second");
    bench.gate.open();
    assert_eq!(found(first.await).unwrap(), "first");
    assert_eq!(found(second.await).unwrap(), "second");
    assert_eq!(asked(&bench.leaf), [(Op::Get, texts(["first"])), (Op::Get, texts(["second"]))]);
    assert_eq!(bench.state().batches, 0);
}

#[tokio::test(start_paused = true)]
async fn a_key_is_sent_once_for_all_who_ask() {
    let bench = Bench::new();
    let first = bench.get("first");
    let calls: Vec<_> = ["a", "b", "a", "a", "b"].iter().map(|name| bench.get(name)).collect();
    bench.gate.open();
    drop(first.await);
    let mut values = Vec::new();
    for call in calls {
        values.push(call.await.unwrap().into_get().unwrap().unwrap().value);
    }
    assert_eq!(values.iter().map(|value| value.as_str()).collect::<Vec<_>>(), ["a", "b", "a", "a", "b"]);
    assert!(std::sync::Arc::ptr_eq(&values[0], &values[3]));
    assert_eq!(asked(&bench.leaf)[1], (Op::GetMany, texts(["a", "b"])));
    let state = bench.state();
    assert_eq!((state.batched_keys, state.largest_batch), (5, 2));

    // All want the same.
    let bench = Bench::new();
    let first = bench.get("first");
    let calls: Vec<_> = (0..3).map(|_| bench.get("a")).collect();
    bench.gate.open();
    drop(first.await);
    for call in calls {
        assert_eq!(found(call.await).unwrap(), "a");
    }
    assert_eq!(asked(&bench.leaf)[1..], [(Op::Get, texts(["a"]))]);
}

#[tokio::test(start_paused = true)]
async fn nobody_joins_a_batch_that_is_under_way() {
    let bench = Bench::new();
    let first = bench.get("first");
    let early = [bench.get("a"), bench.get("b")];
    bench.leaf.push(Outcome::never());
    let gate = cachex_core::testing::Gate::new();
    bench.leaf.reset();
    let shut = gate.clone();
    // The batch has been answered within the store, and its answer is on the way.
    bench.leaf.answer_with(move |request, number| {
        let outcome = Outcome::ok(if number == 1 { old(request) } else { echo(request) });
        if number == 1 { outcome.after_gate(&shut) } else { outcome }
    });
    bench.gate.open();
    drop(first.await);
    soon(|| bench.leaf.calls() == 2).await;
    // A write of the same key is over, and a read that begins now must see it.
    let write = call(&bench.stack, CacheRequest::set(key("a"), "new".to_owned(), None)).await;
    assert!(write.is_ok());
    let mut late = bench.get("a");
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert!(poll(&mut late).is_pending());
    gate.open();
    for call in early {
        assert_eq!(found(call.await).unwrap(), "old");
    }
    assert_eq!(found(late.await).unwrap(), "a");
    let expected = [
        (Op::Get, texts(["first"])),
        (Op::GetMany, texts(["a", "b"])),
        (Op::Set, texts(["a"])),
        (Op::Get, texts(["a"])),
    ];
    assert_eq!(asked(&bench.leaf), expected);
}

/// How many calls the leaf had seen when the two callers of a batch woke, so many others waiting behind it.
async fn calls_seen_by_the_answered(behind: usize) -> Vec<u64> {
    let bench = Bench::new();
    let gate = Gate::new();
    let (first_gate, second_gate) = (bench.gate.clone(), gate.clone());
    bench.leaf.reset();
    bench.leaf.answer_with(move |request, number| match number {
        0 => Outcome::ok(echo(request)).after_gate(&first_gate),
        1 => Outcome::ok(echo(request)).after_gate(&second_gate),
        _ => Outcome::never(),
    });
    let first = bench.get("first");
    let batch = ["a", "b"].map(|name| bench.get(name));
    bench.gate.open();
    drop(first.await);
    soon(|| bench.leaf.calls() == 2).await;
    let _behind: Vec<_> = (0..behind).map(|number| bench.get(format!("behind:{number}"))).collect();
    let tasks = batch.map(|call| {
        let leaf = bench.leaf.clone();
        tokio::spawn(async move {
            assert!(found(call.await).is_some());
            leaf.calls()
        })
    });
    // They leave their own wakers.
    tokio::task::yield_now().await;
    gate.open();
    let mut seen = Vec::new();
    for task in tasks {
        seen.push(task.await.unwrap());
    }
    seen
}

#[tokio::test(start_paused = true)]
async fn with_many_waiting_the_next_batch_goes_before_the_answered_wake() {
    assert_eq!(calls_seen_by_the_answered(16).await, [3, 3]);
    // A few wait for those who come back, and go with them.
    assert_eq!(calls_seen_by_the_answered(15).await, [2, 2]);
}

/// How many batches went between two turns of another task, at most, while forty waited.
async fn batches_in_a_turn(yields: u32) -> u64 {
    let bench = Bench::with(|builder| builder.max_batch(16));
    let first = bench.get("first");
    let _calls: Vec<_> = (0..40 * 16).map(|number| bench.get(number.to_string())).collect();
    bench.leaf.answer_with(move |request, _| Outcome::ok(echo(request)).after_yields(yields));
    bench.gate.open();
    drop(first.await);
    let (mut most, mut before) = (0, bench.leaf.calls());
    while before < 41 {
        // Not tokio's `yield_now`, which waits until nobody else is ready.
        let mut went = false;
        poll_fn(|cx| {
            cx.waker().wake_by_ref();
            if mem::replace(&mut went, true) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        let now = bench.leaf.calls();
        most = most.max(now - before);
        before = now;
    }
    most
}

#[tokio::test(start_paused = true)]
async fn batches_that_are_answered_soon_leave_other_tasks_their_turn() {
    for yields in 0..3 {
        let batches = tokio::spawn(batches_in_a_turn(yields)).await.unwrap();
        assert_eq!(batches, 1, "{yields}");
    }
}

fn old(request: &super::Request) -> CacheResponse<String> {
    CacheResponse::Many(request.keys().map(|_| Some(Entry::new("old".to_owned()))).collect())
}

#[tokio::test(start_paused = true)]
async fn everything_else_passes_beside_the_lanes() {
    let bench = Bench::new();
    let first = bench.get("first");
    let mut stack = bench.stack.clone();
    let requests = [
        CacheRequest::get_many(vec![key("a"), key("b")]),
        CacheRequest::set(key("a"), "v".to_owned(), None),
        CacheRequest::set(key("b"), "v".to_owned(), None),
        CacheRequest::delete(key("a")),
        CacheRequest::exists(key("a")),
        CacheRequest::ttl(key("a")),
        CacheRequest::Ping,
    ];
    for request in requests {
        assert!(stack.call(request).await.is_ok());
    }
    let ops: Vec<_> = asked(&bench.leaf).into_iter().map(|(op, _)| op).collect();
    let expected = [Op::Get, Op::GetMany, Op::Set, Op::Set, Op::Delete, Op::Exists, Op::Ttl, Op::Ping];
    assert_eq!(ops, expected);
    assert_eq!(bench.state().requests, 1);
    bench.gate.open();
    drop(first.await);
}

#[tokio::test(start_paused = true)]
async fn services_of_one_layer_have_lanes_of_their_own() {
    let layer = BatchLayer::builder().lanes(1).build().unwrap();
    let (one, two) = (Leaf::new(), Leaf::new());
    one.push(Outcome::never());
    echoing(&two);
    let (first, second) = (layer.layer(one.clone()), layer.layer(two.clone()));
    let _never = get(&first, "a");
    let _waits = get(&first, "b");
    assert_eq!(found(second.clone().call(CacheRequest::get(key("b"))).await).unwrap(), "b");
    let state = layer.handle().state();
    assert_eq!((state.requests, state.queued), (3, 1));
    assert_eq!((one.calls(), two.calls()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn keys_of_different_lanes_do_not_wait_for_each_other() {
    let leaf = Leaf::new();
    leaf.answer_with(|_, _| Outcome::never());
    let stack = BatchLayer::builder().lanes(4).build().unwrap().layer(leaf.clone());
    let _calls: Vec<_> = (0..64).map(|number| get(&stack, format!("key:{number}"))).collect();
    assert_eq!(leaf.in_flight(), 4);
}

/// Without a runtime there is nobody to send a batch; each read passes alone.
#[test]
fn outside_of_a_runtime_nothing_is_merged() {
    let bench = Bench::new();
    let mut first = bench.get("first");
    let mut second = call(&bench.stack, CacheRequest::get(key("second")));
    let Poll::Ready(answer) = poll(&mut second) else { panic!("it waits") };
    assert_eq!(found(answer).unwrap(), "second");
    bench.gate.open();
    let Poll::Ready(answer) = poll(&mut first) else { panic!("it waits") };
    assert_eq!(found(answer).unwrap(), "first");
}
