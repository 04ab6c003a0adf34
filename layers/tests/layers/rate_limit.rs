use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use cachex_core::testing::{Leaf, Outcome};
use cachex_core::{
    CacheError, CacheRequest, CacheResponse, CacheService, Effect, ErrorKind, Key, LockOwner, OpClass, Retry,
};
use cachex_layers::rate_limit::ResponseFuture;
use cachex_layers::{Rate, RateLimit, RateLimitLayer};
use proptest::prelude::*;
use tokio::time::{Instant, advance};
use tower::{Layer, Service, ServiceExt};

type Request = CacheRequest<String>;
type Answer = Result<CacheResponse<String>, CacheError>;
type Stack = RateLimit<Leaf<String>>;
type Call = Pin<Box<ResponseFuture<String, Leaf<String>>>>;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn key() -> Key {
    Key::new("k").unwrap()
}

fn read() -> Request {
    CacheRequest::get(key())
}

fn write() -> Request {
    CacheRequest::delete(key())
}

fn stack(layer: &RateLimitLayer) -> (Stack, Leaf<String>) {
    let leaf = Leaf::new();
    (layer.layer(leaf.clone()), leaf)
}

fn poll(call: &mut Call) -> Poll<Answer> {
    call.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// Calls on an instance readied for it, and leaves the polling to the test.
fn call(stack: &mut Stack, request: Request) -> Call {
    let mut cx = Context::from_waker(Waker::noop());
    assert!(matches!(Service::<Request>::poll_ready(stack, &mut cx), Poll::Ready(Ok(()))));
    Box::pin(stack.call(request))
}

/// `None` when the call passed, else what the refusal says of when to come back.
fn refusal(stack: &mut Stack, request: Request) -> Option<Duration> {
    match poll(&mut call(stack, request)) {
        Poll::Ready(Ok(_)) => None,
        Poll::Ready(Err(error)) => {
            assert_eq!((error.kind(), error.effect()), (ErrorKind::RateLimited, Effect::None));
            let after = error.retry_after().unwrap();
            assert_eq!(error.retry(), Retry::After(after));
            Some(after)
        }
        Poll::Pending => panic!("neither passed nor refused"),
    }
}

fn passes(stack: &mut Stack, request: Request) -> bool {
    refusal(stack, request).is_none()
}

/// How many of these calls pass, now.
fn passing(stack: &mut Stack, calls: usize) -> usize {
    (0..calls).filter(|_| passes(stack, read())).count()
}

/// The refusal's own steps: at least what was meant, and not much more.
fn about(told: Duration, meant: Duration) -> bool {
    (meant..=meant.mul_f64(1.5) + millis(1)).contains(&told)
}

/// Lets all spawned tasks run as far as they can.
async fn settle() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn is_a_cache_service() {
    fn check<S: CacheService<String>>(_: S) {}
    check(RateLimitLayer::per_second(1).layer(Leaf::new()));
}

#[test]
fn settings_are_shown_and_clamped() {
    let layer = RateLimitLayer::per_second(200).burst(20).class(OpClass::Write, 4).wait(millis(50));
    assert_eq!(
        format!("{layer:?}"),
        "RateLimitLayer { rate: Rate { interval: 5ms, burst: 20 }, write: Rate { interval: 250ms, burst: 4 }, \
         max_wait: 50ms }"
    );
    assert_eq!(Rate::per_second(0), Rate::per_second(1));
    assert_eq!(Rate::per_minute(0), Rate::every(Duration::from_secs(60)));
    assert_eq!(Rate::per_second(u32::MAX).interval(), Duration::from_nanos(1));
    assert_eq!(Rate::per_second(5).burst(0).burst_size().get(), 1);
    assert_eq!(Rate::every(Duration::ZERO).interval(), Duration::from_nanos(1));
    // A burst of u32::MAX days is not 2⁶² nanoseconds.
    assert_eq!(Rate::every(HOUR * 24).burst(u32::MAX).burst_size().get(), 53_375);
    assert_eq!(Rate::every(Duration::MAX).burst(u32::MAX).burst_size().get(), 1);
}

#[tokio::test(start_paused = true)]
async fn extreme_settings_work() {
    let (mut fast, _) = stack(&RateLimitLayer::per_second(u32::MAX));
    assert_eq!(passing(&mut fast, 1000), 1000);
    let forever = RateLimitLayer::new(Rate::every(Duration::MAX).burst(u32::MAX)).wait(Duration::MAX);
    let (mut slow, _) = stack(&forever);
    assert!(passes(&mut slow, read()));
    assert!(poll(&mut call(&mut slow, read())).is_pending());
    let (mut slow, _) = stack(&RateLimitLayer::new(Rate::every(HOUR * 24).burst(u32::MAX)));
    assert_eq!(passing(&mut slow, 60_000), 53_375);
}

#[tokio::test(start_paused = true)]
async fn a_burst_passes_and_then_the_rate() {
    let (mut stack, leaf) = stack(&RateLimitLayer::per_second(10).burst(3));
    assert_eq!(passing(&mut stack, 5), 3);
    assert!(about(refusal(&mut stack, read()).unwrap(), millis(100)));
    advance(millis(99)).await;
    assert!(!passes(&mut stack, read()));
    advance(millis(1)).await;
    assert_eq!(passing(&mut stack, 2), 1);
    advance(HOUR).await;
    assert_eq!(stack.handle().stack().available, 3);
    assert_eq!(passing(&mut stack, 5), 3);
    let state = stack.handle().stack();
    assert_eq!((state.available, state.waiting, state.rejected), (0, 0, 7));
    assert_eq!((leaf.calls(), leaf.violations()), (7, 0));
}

#[test]
fn what_does_not_wait_needs_no_runtime() {
    let (mut stack, _) = stack(&RateLimitLayer::new(Rate::every(HOUR).burst(2)));
    assert_eq!(passing(&mut stack, 3), 2);
}

#[test]
fn services_of_one_layer_share_and_those_of_another_do_not() {
    let layer = RateLimitLayer::new(Rate::every(HOUR));
    let ((mut one, _), (mut two, _)) = (stack(&layer), stack(&layer.clone()));
    assert!(passes(&mut one, read()));
    assert!(!passes(&mut two, read()) && !passes(&mut one.clone(), read()));
    assert_eq!(layer.handle().stack(), two.handle().stack());
    assert!(passes(&mut stack(&layer.burst(1)).0, read()));
}

#[test]
fn threads_together_get_the_burst_and_no_more() {
    let (stack, leaf) = stack(&RateLimitLayer::new(Rate::every(HOUR).burst(1000)));
    let passed: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let mut stack = stack.clone();
                scope.spawn(move || passing(&mut stack, 500))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!((passed, leaf.calls()), (1000, 1000));
    assert_eq!(stack.handle().stack().rejected, 1000);
}

#[test]
fn an_operation_counts_once_however_many_keys_it_names() {
    let (mut stack, _) = stack(&RateLimitLayer::new(Rate::every(HOUR).burst(2)));
    assert!(passes(&mut stack, CacheRequest::get_many(vec![key(); 100])));
    assert_eq!(stack.handle().stack().available, 1);
}

#[test]
fn what_must_not_be_refused_passes_uncounted() {
    let layer = RateLimitLayer::new(Rate::every(HOUR)).class(OpClass::Control, Rate::every(HOUR));
    let (mut stack, leaf) = stack(&layer);
    let lock = || CacheRequest::lock(key(), LockOwner(7), SECOND);
    let vital = || {
        let owner = LockOwner(7);
        [
            CacheRequest::unlock(key(), owner),
            CacheRequest::extend_lock(key(), owner, SECOND),
            CacheRequest::Ping,
            CacheRequest::Close,
        ]
    };
    assert!(vital().into_iter().all(|request| passes(&mut stack, request)));
    assert_eq!(stack.handle().stack().available, 1);
    assert!(passes(&mut stack, lock()) && !passes(&mut stack, lock()));
    assert!(vital().into_iter().all(|request| passes(&mut stack, request)));
    assert_eq!(leaf.calls(), 9);
}

#[test]
fn a_class_has_its_own_limit_within_the_stacks() {
    let layer =
        RateLimitLayer::new(Rate::every(HOUR).burst(5)).class(OpClass::Write, Rate::every(HOUR).burst(3));
    let (mut stack, _) = stack(&layer);
    assert!(passes(&mut stack, write()) && passes(&mut stack, write()) && passes(&mut stack, write()));
    // What the class refuses takes nothing from the others.
    assert!((0..10).all(|_| !passes(&mut stack, write())));
    assert_eq!(stack.handle().stack().available, 2);
    assert_eq!(passing(&mut stack, 3), 2);
    let state = |class| stack.handle().class(class).map(|state| state.rejected);
    assert_eq!((state(OpClass::Write), state(OpClass::Read)), (Some(10), None));
    assert_eq!(stack.handle().stack().rejected, 1);
}

#[test]
fn what_the_stack_refuses_takes_nothing_from_the_class() {
    let layer =
        RateLimitLayer::new(Rate::every(HOUR).burst(2)).class(OpClass::Write, Rate::every(HOUR).burst(3));
    let (mut stack, _) = stack(&layer);
    assert_eq!(passing(&mut stack, 2), 2);
    assert!((0..10).all(|_| !passes(&mut stack, write())));
    assert_eq!(stack.handle().class(OpClass::Write).unwrap().available, 3);
    assert_eq!(stack.handle().stack().rejected, 10);
}

#[tokio::test(start_paused = true)]
async fn waiting_takes_turns_and_refuses_what_would_come_too_late() {
    let (mut stack, leaf) = stack(&RateLimitLayer::per_second(10).burst(1).wait(millis(300)));
    let start = Instant::now();
    let mut calls: Vec<Call> = (0..4).map(|_| call(&mut stack, read())).collect();
    assert!(about(refusal(&mut stack, read()).unwrap(), millis(400)));
    let state = stack.handle().stack();
    assert_eq!((state.available, state.waiting, state.rejected), (0, 3, 1));
    assert!(poll(&mut calls[0]).is_ready());
    // Polled backwards: the order of the calls counts.
    for (turn, call) in calls.into_iter().enumerate().skip(1).rev() {
        tokio::spawn(async move {
            call.await.unwrap();
            assert_eq!(start.elapsed(), millis(100) * turn as u32);
        });
    }
    for done in 1..=4 {
        settle().await;
        assert_eq!(leaf.calls(), done);
        advance(millis(100)).await;
    }
    assert_eq!((stack.handle().stack().waiting, leaf.violations()), (0, 0));
    assert!(passes(&mut stack, read()));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_no_longer_has_taken_nothing() {
    let (mut stack, _) = stack(&RateLimitLayer::per_second(10).burst(1).wait(SECOND));
    assert!(passes(&mut stack, read()));
    for _ in 0..100 {
        let mut given_up = [call(&mut stack, read()), call(&mut stack, read())];
        assert!(given_up.iter_mut().all(|call| poll(call).is_pending()));
        assert_eq!(stack.handle().stack().waiting, 2);
    }
    let start = Instant::now();
    call(&mut stack, read()).await.unwrap();
    assert_eq!(start.elapsed(), millis(100));
    assert_eq!(stack.handle().stack().waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_nobody_polls_holds_nobody_up() {
    let (mut stack, _) = stack(&RateLimitLayer::per_second(10).burst(1).wait(SECOND));
    assert!(passes(&mut stack, read()));
    let _forgotten = call(&mut stack, read());
    let start = Instant::now();
    call(&mut stack, read()).await.unwrap();
    assert_eq!(start.elapsed(), millis(200));
}

#[tokio::test(start_paused = true)]
async fn nobody_overtakes_those_who_wait() {
    let (mut stack, _) = stack(&RateLimitLayer::per_second(10).burst(1).wait(millis(100)));
    assert!(passes(&mut stack, read()));
    let mut waiting = call(&mut stack, read());
    assert!(poll(&mut waiting).is_pending());
    advance(millis(101)).await;
    // A cell is free, and it is spoken for.
    assert_eq!(stack.handle().stack().available, 0);
    assert!(poll(&mut call(&mut stack, read())).is_pending());
    assert!(poll(&mut waiting).is_ready());
}

#[tokio::test(start_paused = true)]
async fn the_rate_is_reached_though_timers_are_coarse() {
    let (stack, leaf) = stack(&RateLimitLayer::per_second(100_000).burst(1).wait(SECOND));
    let start = Instant::now();
    let calls: Vec<_> = (0..1000).map(|_| tokio::spawn(stack.clone().oneshot(read()))).collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    // A thousand intervals are 10 ms, and timers go by the millisecond.
    assert!((millis(10)..=millis(12)).contains(&start.elapsed()), "{:?}", start.elapsed());
    assert_eq!((leaf.calls(), leaf.violations()), (1000, 0));
}

#[tokio::test(start_paused = true)]
async fn waits_for_the_class_and_then_for_the_stack() {
    let layer = RateLimitLayer::per_second(10).burst(1).class(OpClass::Write, Rate::per_second(5).burst(1));
    let (mut stack, _) = stack(&layer.wait(millis(500)));
    let start = Instant::now();
    assert!(passes(&mut stack, write()));
    let second = tokio::spawn(call(&mut stack, write()));
    // The stack's next two cells, before the class's.
    call(&mut stack, read()).await.unwrap();
    call(&mut stack, read()).await.unwrap();
    assert_eq!(start.elapsed(), millis(200));
    second.await.unwrap().unwrap();
    assert_eq!(start.elapsed(), millis(300));
    let handle = stack.handle();
    assert_eq!((handle.stack().waiting, handle.class(OpClass::Write).unwrap().waiting), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_grows_beyond_the_deadline_is_refused() {
    let layer = RateLimitLayer::per_second(10).burst(1).class(OpClass::Write, Rate::per_second(10).burst(1));
    let (mut stack, leaf) = stack(&layer.wait(millis(150)));
    assert!(passes(&mut stack, write()));
    // Let past its class after 100 ms, when the stack's cell of that time is another's.
    let mut late = call(&mut stack, write());
    assert!(poll(&mut late).is_pending());
    call(&mut stack, read()).await.unwrap();
    assert!(poll(&mut late).map(|answer| answer.unwrap_err().kind()) == Poll::Ready(ErrorKind::RateLimited));
    assert_eq!((stack.handle().stack().rejected, stack.handle().stack().waiting, leaf.calls()), (1, 0, 2));
    assert_eq!(stack.handle().class(OpClass::Write).unwrap().waiting, 0);
}

#[test]
fn what_is_refused_keeps_nothing_reserved_beneath() {
    let (mut stack, leaf) = stack(&RateLimitLayer::per_second(1));
    assert!(passes(&mut stack, read()));
    assert!(!passes(&mut stack, read()));
    assert_eq!(leaf.reserved(), 0);
}

#[tokio::test(start_paused = true)]
async fn errors_of_the_inner_service_pass_through() {
    let (mut stack, leaf) = stack(&RateLimitLayer::per_second(10).burst(1).wait(SECOND));
    leaf.answer_with(|_, _| Outcome::err(CacheError::new(ErrorKind::Connection, "lost")));
    for _ in 0..2 {
        assert_eq!(call(&mut stack, read()).await.unwrap_err().kind(), ErrorKind::Connection);
    }
    let waiting = call(&mut stack, read());
    assert_eq!(format!("{waiting:?}"), "rate_limit::ResponseFuture { state: \"waiting\" }");
    assert!(
        format!("{stack:?}").starts_with("RateLimit { rate: Rate { interval: 100ms, burst: 1 }, max_wait")
    );
}

proptest! {
    /// Against a token bucket, which is the same thing reckoned in another way.
    #[test]
    fn agrees_with_a_token_bucket(
        interval in 1_u64..50,
        burst in 1_u32..6,
        gaps in proptest::collection::vec(0_u64..120, 1..80),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let (mut stack, _) = stack(&RateLimitLayer::new(Rate::every(millis(interval)).burst(burst)));
            // In units of a millisecond's share of a token.
            let (full, mut tokens) = (u64::from(burst) * interval, u64::from(burst) * interval);
            for gap in gaps {
                advance(millis(gap)).await;
                tokens = full.min(tokens + gap);
                prop_assert_eq!(u64::from(stack.handle().stack().available), tokens / interval);
                let missing = refusal(&mut stack, read());
                prop_assert_eq!(missing.is_none(), tokens >= interval);
                match missing {
                    None => tokens -= interval,
                    Some(told) => prop_assert!(about(told, millis(interval - tokens)), "{told:?}"),
                }
            }
            Ok(())
        })?;
    }
}

/// Cells of a large burst are taken ahead of need; what passes is the same.
#[tokio::test(start_paused = true)]
async fn a_large_burst_passes_whole_and_no_more() {
    const BURST: u32 = 5_000;
    let rate = Rate::per_second(1_000).burst(BURST);
    let by_class = RateLimitLayer::per_second(u32::MAX).class(OpClass::Read, rate);
    for layer in [RateLimitLayer::new(rate), by_class] {
        let (mut stack, _) = stack(&layer);
        let available = |layer: &RateLimitLayer| {
            let handle = layer.handle();
            handle.class(OpClass::Read).unwrap_or_else(|| handle.stack()).available
        };
        let passes = |stack: &mut Stack| {
            let mut passed = 0;
            while refusal(stack, read()).is_none() {
                passed += 1;
                assert!(passed <= BURST);
            }
            passed
        };
        assert_eq!(available(&layer), BURST);
        assert!(refusal(&mut stack, read()).is_none());
        assert_eq!(available(&layer), BURST - 1);
        assert_eq!(1 + passes(&mut stack), BURST);
        assert_eq!(available(&layer), 0);

        advance(millis(100)).await;
        assert_eq!(passes(&mut stack), 100);

        advance(HOUR).await;
        let again = passes(&mut stack);
        assert!((BURST - 15..=BURST).contains(&again), "{again}");
    }
}
