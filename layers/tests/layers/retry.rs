//! What is retried, how long it waits, and what stops it.

use std::time::Duration;

use cachex_core::testing::{Leaf, Outcome, Readiness};
use cachex_core::{
    CacheError, CacheRequest, CacheResponse, Condition, Effect, ErrorKind, Key, LockOwner, Retry, Set, Ttl,
};
use cachex_layers::RetryLayer;
use tokio::time::Instant;
use tower::{Layer, ServiceExt};

type Answer = Result<CacheResponse<u64>, CacheError>;

fn key() -> Key {
    Key::new("k").unwrap()
}

fn reset() -> CacheError {
    CacheError::new(ErrorKind::Connection, "reset")
}

fn failing(error: CacheError) -> Leaf<u64> {
    let leaf = Leaf::new();
    leaf.answer_with(move |_, _| Outcome::err(error.clone()));
    leaf
}

async fn send(layer: &RetryLayer, leaf: &Leaf<u64>, request: CacheRequest<u64>) -> Answer {
    layer.layer(leaf.clone()).oneshot(request).await
}

#[tokio::test(start_paused = true)]
async fn tries_until_it_succeeds() {
    let (leaf, layer) = (Leaf::new(), RetryLayer::default());
    leaf.push(Outcome::err(reset()));
    leaf.push(Outcome::err(reset()));
    leaf.push(Outcome::hit(7u64));
    let answer = send(&layer, &leaf, CacheRequest::get(key())).await.unwrap();
    assert_eq!(answer.is_hit(), Some(true));
    assert_eq!((leaf.calls(), layer.handle().retries(), layer.handle().exhausted()), (3, 2, 0));
    assert_eq!(leaf.violations(), 0);
}

#[tokio::test(start_paused = true)]
async fn gives_up_after_its_attempts_and_says_so() {
    let leaf = failing(reset());
    let layer = RetryLayer::default().attempts(4);
    let error = send(&layer, &leaf, CacheRequest::get(key())).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.attempts(), error.retry()),
        (ErrorKind::Connection, Some(4), Retry::Never)
    );
    assert_eq!(leaf.calls(), 4);
    assert_eq!(layer.handle().exhausted(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_outer_retry_does_not_multiply_the_attempts() {
    let leaf = failing(reset());
    let nested = RetryLayer::default().layer(RetryLayer::default().layer(leaf.clone()));
    nested.oneshot(CacheRequest::get(key())).await.unwrap_err();
    assert_eq!(leaf.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_done_twice_is_not() {
    let in_doubt = || failing(reset());
    let never_sent = || failing(reset().with_effect(Effect::None));
    let only_if_absent =
        || CacheRequest::from(Set::new(key(), 1u64, Ttl::Never).condition(Condition::IfAbsent));
    for (leaf, request, calls) in [
        (in_doubt(), CacheRequest::increment(key(), 1, Ttl::Never), 1),
        (never_sent(), CacheRequest::increment(key(), 1, Ttl::Never), 3),
        (in_doubt(), only_if_absent(), 1),
        (never_sent(), only_if_absent(), 3),
        (in_doubt(), CacheRequest::set(key(), 1u64, Ttl::Never), 3),
        (in_doubt(), CacheRequest::delete(key()), 3),
        (in_doubt(), CacheRequest::lock(key(), LockOwner(1), Duration::from_secs(1)), 3),
    ] {
        send(&RetryLayer::default(), &leaf, request.clone()).await.unwrap_err();
        assert_eq!(leaf.calls(), calls, "{request:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_says_never_is_never_retried() {
    for error in [
        CacheError::rejection(ErrorKind::CircuitOpen, Some(Duration::from_secs(1))),
        CacheError::new(ErrorKind::WrongType, "not a value"),
        reset().with_retry(Retry::Never),
    ] {
        let leaf = failing(error);
        let error = send(&RetryLayer::default(), &leaf, CacheRequest::get(key())).await.unwrap_err();
        assert_eq!((leaf.calls(), error.attempts()), (1, None));
    }
}

#[tokio::test(start_paused = true)]
async fn waits_between_zero_and_a_doubling_bound() {
    let ms = Duration::from_millis;
    let layer = RetryLayer::default()
        .attempts(6)
        .base(ms(10))
        .max_backoff(ms(50))
        .jitter_seed(3)
        .budget(0.0, 0, 10_000);
    let bounds = [10, 20, 40, 50, 50];
    let mut longest = [Duration::ZERO; 5];
    for _ in 0..200 {
        let leaf = Leaf::<u64>::new();
        let times = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let seen = std::sync::Arc::clone(&times);
        leaf.answer_with(move |_, _| {
            seen.lock().unwrap().push(Instant::now());
            Outcome::err(reset())
        });
        send(&layer, &leaf, CacheRequest::get(key())).await.unwrap_err();
        let times = times.lock().unwrap();
        for (n, pair) in times.windows(2).enumerate() {
            let wait = pair[1] - pair[0];
            // tokio's timer is exact to a millisecond, upwards.
            assert!(wait <= ms(bounds[n] + 1), "wait {n}: {wait:?}");
            longest[n] = longest[n].max(wait);
        }
    }
    // The jitter is full: over 200 draws it nearly reaches the bound, whatever the bound.
    for (n, longest) in longest.into_iter().enumerate() {
        assert!(longest >= ms(bounds[n] * 9 / 10), "wait {n}: {longest:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn waits_at_least_as_long_as_the_error_asks_and_not_longer_than_allowed() {
    let after = |millis| failing(reset().with_retry(Retry::After(Duration::from_millis(millis))));
    let layer = RetryLayer::default().attempts(2).max_backoff(Duration::from_millis(500));
    let start = Instant::now();
    send(&layer, &after(300), CacheRequest::get(key())).await.unwrap_err();
    assert!(start.elapsed() >= Duration::from_millis(300));

    let (leaf, start) = (after(501), Instant::now());
    let error = send(&layer, &leaf, CacheRequest::get(key())).await.unwrap_err();
    assert_eq!((leaf.calls(), error.attempts(), start.elapsed()), (1, Some(1), Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn stops_when_the_time_is_up() {
    let leaf = Leaf::<u64>::new();
    leaf.answer_with(|_, _| Outcome::err(reset()).after(Duration::from_millis(100)));
    let layer =
        RetryLayer::default().attempts(100).max_elapsed(Duration::from_millis(350)).base(Duration::ZERO);
    send(&layer, &leaf, CacheRequest::get(key())).await.unwrap_err();
    assert_eq!(leaf.calls(), 4);
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_not_multiplied() {
    let leaf = failing(reset());
    // Ten percent earned, at most 20 saved, none free.
    let layer = RetryLayer::default().budget(0.1, 20, 0).base(Duration::ZERO);
    let service = layer.layer(leaf.clone());
    for _ in 0..1_000 {
        // Clones share the budget.
        service.clone().oneshot(CacheRequest::get(key())).await.unwrap_err();
    }
    let retries = leaf.calls() - 1_000;
    assert!((90..=100).contains(&retries), "{retries} retries");
    assert_eq!(layer.handle().retries(), retries);
    assert_eq!(layer.handle().available(), 0);
}

#[tokio::test(start_paused = true)]
async fn can_be_cancelled_at_every_wait() {
    // During the first attempt, during the backoff, and during the second attempt.
    for limit in [5, 15, 25] {
        let leaf = Leaf::<u64>::new();
        leaf.push(
            Outcome::err(reset().with_retry(Retry::After(Duration::from_millis(10))))
                .after(Duration::from_millis(10)),
        );
        leaf.push(Outcome::miss().after(Duration::from_millis(10)));
        let layer = RetryLayer::default().base(Duration::ZERO);
        let service = layer.layer(leaf.clone());
        let call = service.clone().oneshot(CacheRequest::get(key()));
        tokio::time::timeout(Duration::from_millis(limit), call).await.unwrap_err();
        assert_eq!(leaf.in_flight(), 0);
        service.oneshot(CacheRequest::get(key())).await.unwrap();
    }
}

#[tokio::test]
async fn layers_made_from_one_share_a_budget_and_changed_ones_do_not() {
    let layer = RetryLayer::default();
    let same = layer.clone();
    let other = layer.clone().attempts(5);
    let leaf = failing(reset().with_retry(Retry::Now));
    send(&same.clone(), &leaf, CacheRequest::get(key())).await.unwrap_err();
    assert_eq!((layer.handle().retries(), other.handle().retries()), (2, 0));
    assert!(format!("{other:?}").contains("attempts: 5"));
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_attempt_may_have_done_is_not_forgotten() {
    let leaf = Leaf::<u64>::new();
    leaf.push(Outcome::err(CacheError::new(ErrorKind::Timeout, "no answer")));
    leaf.push(Outcome::err(CacheError::rejection(ErrorKind::CircuitOpen, None)));
    let set = CacheRequest::set(key(), 1u64, Ttl::Never);
    let error = send(&RetryLayer::default(), &leaf, set).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.effect(), error.attempts(), error.retry()),
        (ErrorKind::CircuitOpen, Effect::Unknown, Some(2), Retry::Never)
    );

    leaf.push(Outcome::err(reset().with_effect(Effect::None)));
    leaf.push(Outcome::err(CacheError::rejection(ErrorKind::CircuitOpen, None)));
    let error = send(&RetryLayer::default(), &leaf, CacheRequest::get(key())).await.unwrap_err();
    assert_eq!((error.effect(), error.attempts()), (Effect::None, Some(2)));
}

#[tokio::test(start_paused = true)]
async fn a_later_attempt_waits_for_readiness_and_fails_with_it() {
    let leaf = Leaf::<u64>::new();
    leaf.push(Outcome::err(reset()));
    leaf.push_readiness(Readiness::now());
    leaf.push_readiness(Readiness::now().after(Duration::from_secs(1)));
    let (layer, start) = (RetryLayer::default().base(Duration::ZERO), Instant::now());
    send(&layer, &leaf, CacheRequest::get(key())).await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!((leaf.calls(), leaf.violations()), (2, 0));

    leaf.push(Outcome::err(reset()));
    leaf.push_readiness(Readiness::now());
    leaf.push_readiness(Readiness::err(CacheError::rejection(ErrorKind::BulkheadFull, None)));
    let error = send(&layer, &leaf, CacheRequest::get(key())).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.effect(), error.retry()),
        (ErrorKind::BulkheadFull, Effect::Unknown, Retry::Never)
    );
    assert_eq!(leaf.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn without_jitter_the_waits_are_exact() {
    let leaf = failing(reset());
    let layer = RetryLayer::default()
        .attempts(5)
        .base(Duration::from_millis(10))
        .max_backoff(Duration::from_millis(30))
        .no_jitter();
    let start = Instant::now();
    send(&layer, &leaf, CacheRequest::get(key())).await.unwrap_err();
    let waited = start.elapsed();
    // 10 + 20 + 30 + 30; tokio's timer is exact to a millisecond, upwards.
    assert!(waited >= Duration::from_millis(90) && waited <= Duration::from_millis(94), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_wait_beyond_all_clocks_is_no_panic() {
    let leaf = Leaf::<u64>::new();
    leaf.answer_with(|_, _| {
        Outcome::err(reset().with_retry(Retry::After(Duration::MAX))).after(Duration::from_millis(1))
    });
    let layer = RetryLayer::default().max_elapsed(Duration::from_secs(1));
    let error = send(&layer, &leaf, CacheRequest::get(key())).await.unwrap_err();
    assert_eq!((leaf.calls(), error.attempts()), (1, Some(1)));

    let patient = RetryLayer::default().max_backoff(Duration::MAX);
    let call = send(&patient, &leaf, CacheRequest::get(key()));
    tokio::time::timeout(Duration::from_secs(3600), call).await.unwrap_err();
    assert_eq!(leaf.calls(), 2);
}
