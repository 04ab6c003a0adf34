use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use cachex_core::testing::{Gate, Leaf, Outcome, Readiness};
use cachex_core::{CacheError, CacheRequest, CacheResponse, Effect, ErrorKind, Key, Op, OpClass, Retry};
use cachex_layers::TimeoutLayer;
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt};

type Answer = Result<CacheResponse<u32>, CacheError>;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn key() -> Key {
    Key::new("user:42").unwrap()
}

fn get() -> CacheRequest<u32> {
    CacheRequest::get(key())
}

async fn call(layer: TimeoutLayer, leaf: &Leaf<u32>, request: CacheRequest<u32>) -> Answer {
    layer.layer(leaf.clone()).ready().await?.call(request).await
}

#[tokio::test(start_paused = true)]
async fn what_takes_too_long_is_dropped_and_says_so() {
    let leaf = Leaf::new();
    leaf.push(Outcome::never());
    let mut stack = TimeoutLayer::new(ms(250)).layer(leaf.clone());
    let start = Instant::now();
    let mut answer = pin!(stack.ready().await.unwrap().call(get()));

    let error = answer.as_mut().await.unwrap_err();
    assert_eq!(start.elapsed(), ms(250));
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(error.effect(), Effect::Unknown);
    assert_eq!(error.retry(), Retry::Now);
    // The future that answered still exists; what it waited for does not.
    assert_eq!((leaf.cancelled(), leaf.in_flight()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_time_comes_through() {
    let leaf = Leaf::new();
    leaf.push(Outcome::hit(7_u32).after(ms(249)));
    leaf.push(Outcome::err(CacheError::new(ErrorKind::Busy, "busy")).after(ms(249)));
    let layer = TimeoutLayer::new(ms(250));
    assert_eq!(call(layer, &leaf, get()).await.unwrap().is_hit(), Some(true));
    assert_eq!(call(layer, &leaf, get()).await.unwrap_err().kind(), ErrorKind::Busy);
}

#[tokio::test(start_paused = true)]
async fn an_answer_at_the_very_deadline_is_taken() {
    let leaf = Leaf::new();
    leaf.push(Outcome::hit(7_u32).after(ms(250)));
    assert!(call(TimeoutLayer::new(ms(250)), &leaf, get()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_limit_counts_from_the_first_poll() {
    let leaf = Leaf::new();
    leaf.push(Outcome::never());
    let mut stack = TimeoutLayer::new(ms(250)).layer(leaf);
    let mut answer = pin!(stack.ready().await.unwrap().call(get()));
    tokio::time::advance(ms(200)).await;
    assert!(answer.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    tokio::time::advance(ms(200)).await;
    let start = Instant::now();
    assert_eq!(answer.await.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(start.elapsed(), ms(50));
}

#[tokio::test(start_paused = true)]
async fn waiting_for_readiness_is_not_limited() {
    let leaf = Leaf::new();
    leaf.push_readiness(Readiness::now().after(ms(1_000)));
    leaf.push(Outcome::hit(7_u32).after(ms(200)));
    assert!(call(TimeoutLayer::new(ms(250)), &leaf, get()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn every_class_has_its_own_limit() {
    let one_of = |class: OpClass| match class {
        OpClass::Read => get(),
        OpClass::Write => CacheRequest::delete(key()),
        OpClass::Control => CacheRequest::Ping,
    };
    let layer = TimeoutLayer::new(ms(1)).read(ms(10)).write(ms(20)).control(ms(30));
    for (class, limit) in OpClass::ALL.into_iter().zip([10, 20, 30]) {
        let leaf = Leaf::new();
        leaf.push(Outcome::never());
        let start = Instant::now();
        let request = one_of(class);
        assert_eq!(request.class(), class);
        assert_eq!(call(layer, &leaf, request).await.unwrap_err().kind(), ErrorKind::Timeout);
        assert_eq!(start.elapsed(), ms(limit), "{class:?}");
    }
    assert_eq!(TimeoutLayer::new(ms(5)).class(OpClass::Write, ms(6)), TimeoutLayer::new(ms(5)).write(ms(6)));
}

#[tokio::test(start_paused = true)]
async fn a_class_can_be_without_a_limit() {
    let leaf = Leaf::new();
    leaf.answer_with(|_, _| Outcome::default_answer().after(Duration::from_secs(3600)));
    let layer = TimeoutLayer::new(ms(10)).control(None);
    assert!(call(layer, &leaf, CacheRequest::Close).await.is_ok());
    assert_eq!(call(layer, &leaf, get()).await.unwrap_err().kind(), ErrorKind::Timeout);
}

#[tokio::test(start_paused = true)]
async fn zero_lets_through_only_what_is_there_at_once() {
    let leaf = Leaf::new();
    leaf.push(Outcome::hit(7_u32));
    leaf.push(Outcome::hit(7_u32).after_yields(1));
    let layer = TimeoutLayer::new(Duration::ZERO);
    assert!(call(layer, &leaf, get()).await.is_ok());
    assert_eq!(call(layer, &leaf, get()).await.unwrap_err().kind(), ErrorKind::Timeout);
}

#[tokio::test(start_paused = true)]
async fn a_huge_limit_is_no_limit() {
    for limit in [Duration::MAX, Duration::from_secs(u64::MAX / 4), Duration::from_secs(1 << 40)] {
        let leaf = Leaf::new();
        leaf.push(Outcome::hit(7_u32).after(Duration::from_secs(365 * 24 * 3600)));
        assert!(call(TimeoutLayer::new(limit), &leaf, get()).await.is_ok(), "{limit:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_subscription_only_the_subscribing_is_limited() {
    let leaf = Leaf::new();
    leaf.push(Outcome::default_answer().after(ms(5)));
    leaf.push(Outcome::never());
    let layer = TimeoutLayer::new(ms(10));
    let answer = call(layer, &leaf, CacheRequest::Subscribe).await.unwrap();
    let CacheResponse::Subscribed(mut stream) = answer else { panic!("{answer:?}") };
    let next = tokio::time::timeout(Duration::from_secs(3600), stream.next()).await;
    assert!(next.is_err(), "the stream of messages goes on, silent: {next:?}");
    assert_eq!(
        call(layer, &leaf, CacheRequest::Subscribe).await.unwrap_err().kind(),
        ErrorKind::Timeout,
        "{}",
        Op::Subscribe
    );
}

/// A timer outside a runtime panics: so this sees that none is made.
#[test]
fn an_immediate_answer_never_touches_the_timer() {
    let leaf = Leaf::new();
    let mut stack = TimeoutLayer::new(ms(250)).layer(leaf.clone());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(matches!(stack.poll_ready(&mut cx), Poll::Ready(Ok(()))));
    let mut answer = pin!(stack.call(get()));
    assert!(matches!(answer.as_mut().poll(&mut cx), Poll::Ready(Ok(CacheResponse::Miss(_)))));
}

/// Tokio lets a task do only so much per tick; then all its resources, timers too, answer "not yet".
#[tokio::test]
async fn what_uses_up_the_task_s_share_in_every_poll_is_stopped() {
    let busy = tower::service_fn(|_: CacheRequest<u32>| async {
        loop {
            tokio::task::consume_budget().await;
        }
        #[expect(unreachable_code, reason = "gives the block its type")]
        Answer::Ok(CacheResponse::Done)
    });
    let mut stack = TimeoutLayer::new(ms(5)).layer(busy);
    let error = stack.ready().await.unwrap().call(get()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_call_drops_what_is_beneath() {
    let leaf = Leaf::new();
    leaf.push(Outcome::never());
    let mut stack = TimeoutLayer::new(ms(250)).layer(leaf.clone());
    let mut answer = Box::pin(stack.ready().await.unwrap().call(get()));
    assert!(answer.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(answer);
    assert_eq!((leaf.cancelled(), leaf.in_flight()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_hundred_calls_each_have_their_own_limit() {
    let leaf = Leaf::new();
    let gate = Gate::new();
    leaf.answer_with({
        let gate = gate.clone();
        move |_, n| if n % 2 == 0 { Outcome::hit(1_u32).after_gate(&gate) } else { Outcome::never() }
    });
    let stack = TimeoutLayer::new(ms(100)).layer(leaf.clone());
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let mut stack = stack.clone();
            tokio::spawn(async move { stack.ready().await?.call(get()).await })
        })
        .collect();
    leaf.wait_for_in_flight(100).await;
    tokio::time::advance(ms(99)).await;
    gate.open();
    let mut hits = 0;
    for call in calls {
        hits += u32::from(call.await.unwrap().is_ok());
    }
    assert_eq!((hits, leaf.cancelled(), leaf.in_flight()), (50, 50, 0));
}

#[test]
fn shows_its_settings() {
    let shown = format!("{:?}", TimeoutLayer::default().write(ms(1_500)).control(None));
    assert!(shown.contains("250ms") && shown.contains("1.5s") && shown.contains("None"), "{shown}");
    assert_eq!(TimeoutLayer::default(), TimeoutLayer::new(TimeoutLayer::DEFAULT_LIMIT));
}
