//! Over a store whose misses hand out fences.

use cachex_core::testing::{Leaf, Outcome};
use cachex_core::{CacheResponse, FillToken, Op};

use super::{Bench, asked, echo, soon};

const FENCE: FillToken = FillToken::from_raw(7);

/// Misses of single reads carry a fence from here on.
fn fenced(leaf: &Leaf<String>) {
    leaf.answer_with(|request, _| {
        Outcome::ok(match echo(request) {
            CacheResponse::Miss(_) => CacheResponse::Miss(FENCE),
            answer => answer,
        })
    });
}

fn token(answer: super::Answer) -> FillToken {
    answer.unwrap().into_get().unwrap().unwrap_err()
}

#[tokio::test(start_paused = true)]
async fn a_miss_keeps_its_fence() {
    let bench = Bench::new();
    let first = bench.get("first");
    let calls = ["none:a", "none:b", "c"].map(|name| bench.get(name));
    fenced(&bench.leaf);
    bench.gate.open();
    drop(first.await);
    // They missed together, and each took a fence of its own before it could load.
    let [a, b, c] = calls;
    assert_eq!((token(a.await), token(b.await)), (FENCE, FENCE));
    assert!(c.await.is_ok());
    let ops: Vec<_> = asked(&bench.leaf).into_iter().map(|(op, _)| op).collect();
    assert_eq!(ops, [Op::Get, Op::GetMany, Op::Get, Op::Get]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_merged_once_a_fence_was_seen() {
    let bench = Bench::new();
    fenced(&bench.leaf);
    assert_eq!(token(super::ask_soon(&bench, "none").await), FENCE);
    bench.leaf.answer_with(|_, _| Outcome::never());
    let _calls: Vec<_> = (0..5).map(|number| bench.get(number.to_string())).collect();
    soon(|| bench.leaf.in_flight() == 5).await;
    assert_eq!(bench.state().batches, 0);
}

#[tokio::test(start_paused = true)]
async fn without_fences_misses_are_answered_together() {
    let bench = Bench::new();
    let first = bench.get("none:first");
    let calls = ["none:a", "none:b"].map(|name| bench.get(name));
    bench.gate.open();
    assert_eq!(token(first.await), FillToken::UNFENCED);
    for call in calls {
        assert_eq!(token(call.await), FillToken::UNFENCED);
    }
    assert_eq!(bench.leaf.calls(), 2);
}
