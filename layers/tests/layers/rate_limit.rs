//! How many requests pass, when, and what happens to the others.

use std::time::Duration;

use cachex_core::testing::Leaf;
use cachex_core::{CacheError, CacheRequest, CacheResponse, ErrorKind, Key, LockOwner, OpClass, Retry, Ttl};
use cachex_layers::{RateLimitLayer, rate_limit::RateLimit};
use proptest::prelude::*;
use tokio::time::{Instant, advance};
use tower::{Layer, ServiceExt};

type Stack = RateLimit<Leaf<u64>>;

const MS: Duration = Duration::from_millis(1);

async fn read(stack: &Stack) -> Result<CacheResponse<u64>, CacheError> {
    stack.clone().oneshot(CacheRequest::get(Key::new("k").unwrap())).await
}

async fn write(stack: &Stack) -> Result<CacheResponse<u64>, CacheError> {
    stack.clone().oneshot(CacheRequest::set(Key::new("k").unwrap(), 1u64, Ttl::Never)).await
}

/// How many of `count` reads pass at once.
async fn passing(stack: &Stack, count: usize) -> usize {
    let mut passed = 0;
    for _ in 0..count {
        passed += usize::from(read(stack).await.is_ok());
    }
    passed
}

#[tokio::test(start_paused = true)]
async fn a_burst_passes_and_then_tokens_come_evenly() {
    let leaf = Leaf::new();
    let layer = RateLimitLayer::per_second(100).burst(5);
    let stack = layer.layer(leaf.clone());
    assert_eq!(passing(&stack, 20).await, 5);
    assert_eq!((leaf.calls(), layer.handle().rejected()), (5, 15));
    advance(10 * MS).await;
    assert_eq!(passing(&stack, 5).await, 1);
    advance(35 * MS).await;
    assert_eq!(passing(&stack, 5).await, 3);
    advance(Duration::from_secs(3600)).await;
    assert_eq!(passing(&stack, 20).await, 5);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_tells_when_to_come_back() {
    let stack = RateLimitLayer::per_second(10).burst(1).layer(Leaf::new());
    read(&stack).await.unwrap();
    advance(40 * MS).await;
    let error = read(&stack).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RateLimited);
    let after = error.retry_after().unwrap();
    assert!(after >= 60 * MS && after <= 90 * MS, "{after:?}");
    assert_eq!(error.retry(), Retry::After(after));
    advance(after).await;
    read(&stack).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn clones_and_services_of_one_layer_share_the_tokens() {
    let layer = RateLimitLayer::per_second(4);
    let (one, other) = (layer.layer(Leaf::new()), layer.clone().layer(Leaf::new()));
    assert_eq!(passing(&one, 3).await + passing(&other, 3).await, 4);
    // A changed layer has tokens of its own.
    assert_eq!(passing(&layer.burst(2).layer(Leaf::new()), 3).await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_class_can_have_a_limit_of_its_own() {
    let stack = RateLimitLayer::per_second(100).class(OpClass::Write, 2).layer(Leaf::new());
    for _ in 0..2 {
        write(&stack).await.unwrap();
    }
    assert_eq!(write(&stack).await.unwrap_err().kind(), ErrorKind::RateLimited);
    // What the class refused took nothing from the stack.
    assert_eq!(passing(&stack, 200).await, 98);
}

#[tokio::test(start_paused = true)]
async fn control_requests_pass_unless_they_are_limited_too() {
    let unlock = || CacheRequest::<u64>::unlock(Key::new("lock").unwrap(), LockOwner(1));
    let stack = RateLimitLayer::per_second(1).layer(Leaf::new());
    assert_eq!(passing(&stack, 2).await, 1);
    for _ in 0..10 {
        stack.clone().oneshot(unlock()).await.unwrap();
        stack.clone().oneshot(CacheRequest::Close).await.unwrap();
    }
    let stack = RateLimitLayer::per_second(100).class(OpClass::Control, 1).layer(Leaf::new());
    stack.clone().oneshot(unlock()).await.unwrap();
    stack.clone().oneshot(unlock()).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn those_who_may_wait_do_and_the_rest_is_refused_at_once() {
    let layer = RateLimitLayer::per_second(100).burst(1).wait(25 * MS);
    let leaf = Leaf::new();
    let stack = layer.layer(leaf.clone());
    let start = Instant::now();
    let calls: Vec<_> = (0..6)
        .map(|_| {
            let stack = stack.clone();
            tokio::spawn(async move { (read(&stack).await.map_err(|error| error.kind()), start.elapsed()) })
        })
        .collect();
    let mut passed = Vec::new();
    for call in calls {
        match call.await.unwrap() {
            (Ok(_), at) => passed.push(at),
            (Err(kind), at) => assert!(kind == ErrorKind::RateLimited && at <= 26 * MS, "{kind:?} at {at:?}"),
        }
    }
    passed.sort();
    // One at once, one after 10 ms, one after 20 ms; the next would come after the deadline.
    assert_eq!(passed.len(), 3, "{passed:?}");
    assert!(passed[0] == Duration::ZERO && passed[1] >= 10 * MS && passed[2] >= 20 * MS, "{passed:?}");
    assert_eq!((leaf.violations(), layer.handle().waiting()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn giving_up_a_wait_takes_no_token() {
    let layer = RateLimitLayer::per_second(10).burst(1).wait(Duration::from_secs(1));
    let stack = layer.layer(Leaf::new());
    read(&stack).await.unwrap();
    tokio::time::timeout(50 * MS, read(&stack)).await.unwrap_err();
    assert_eq!(layer.handle().waiting(), 0);
    let start = Instant::now();
    read(&stack).await.unwrap();
    assert!(start.elapsed() <= 51 * MS, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn settings_out_of_range_are_clamped() {
    assert_eq!(passing(&RateLimitLayer::per_second(0).layer(Leaf::new()), 5).await, 1);
    assert_eq!(passing(&RateLimitLayer::per_second(u32::MAX).layer(Leaf::new()), 5_000).await, 5_000);
    assert_eq!(passing(&RateLimitLayer::per(5, Duration::ZERO).burst(0).layer(Leaf::new()), 1).await, 1);
    let shown = format!("{:?}", RateLimitLayer::per_second(100).class(OpClass::Write, 7).wait(MS));
    assert!(shown.contains("10ms") && shown.contains("write"), "{shown}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Over any pattern of arrivals no more pass than the burst and the tokens that have come.
    #[test]
    fn never_more_than_the_tokens_that_have_come(
        per_second in 1u32..2_000,
        burst in 1u32..50,
        steps in prop::collection::vec((0u64..50, 1usize..20), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let stack = RateLimitLayer::per_second(per_second).burst(burst).layer(Leaf::new());
            let (start, mut passed) = (Instant::now(), 0);
            for (millis, count) in steps {
                advance(Duration::from_millis(millis)).await;
                passed += passing(&stack, count).await;
                let come = start.elapsed().as_secs_f64() * f64::from(per_second);
                // Intervals are whole nanoseconds: at these rates that is less than one token in a million.
                prop_assert!(passed as f64 <= f64::from(burst) + come * 1.000_001 + 1e-6, "{passed} of {come}");
            }
            Ok(())
        })?;
    }
}
