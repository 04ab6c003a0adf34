use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use cachex_core::testing::{Gate, Leaf, Outcome};
use cachex_core::{
    CacheError, CacheRequest, CacheResponse, CacheService, Effect, ErrorKind, Key, LockOwner, OpClass,
};
use cachex_layers::bulkhead::ResponseFuture;
use cachex_layers::{Bulkhead, BulkheadLayer};
use tower::{Layer, Service, ServiceExt};

mod model;
mod stress;

type Request = CacheRequest<String>;
type Answer = Result<CacheResponse<String>, CacheError>;
type Stack = Bulkhead<Leaf<String>>;
type Call = Pin<Box<ResponseFuture<String, Leaf<String>>>>;

fn read() -> Request {
    CacheRequest::get(Key::new("k").unwrap())
}

fn write() -> Request {
    CacheRequest::delete(Key::new("k").unwrap())
}

fn lock() -> Request {
    CacheRequest::lock(Key::new("k").unwrap(), LockOwner(7), Duration::from_secs(1))
}

/// Counts how often it was woken.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn poll(call: &mut Call) -> Poll<Answer> {
    call.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// Calls on an instance readied for it, as a caller would, and leaves the polling to the test.
fn call(stack: &mut Stack, request: Request) -> Call {
    assert!(
        Service::<Request>::poll_ready(stack, &mut Context::from_waker(Waker::noop()))
            .map(|ready| ready.is_ok())
            == Poll::Ready(true)
    );
    Box::pin(stack.call(request))
}

fn refused(answer: Poll<Answer>) -> bool {
    match answer {
        Poll::Ready(Err(error)) => {
            assert_eq!((error.kind(), error.effect()), (ErrorKind::BulkheadFull, Effect::None));
            true
        }
        _ => false,
    }
}

fn counts(stack: &Stack, class: OpClass) -> (u32, u32, u64) {
    let state = stack.handle().compartment(class);
    assert_eq!(state.available, stack.handle().max_concurrent(class) - state.in_flight);
    (state.in_flight, state.queued, state.rejected)
}

/// A stack whose calls end when the gate opens.
fn gated(layer: &BulkheadLayer) -> (Stack, Leaf<String>, Gate) {
    let (leaf, gate) = (Leaf::new(), Gate::new());
    let shut = gate.clone();
    leaf.answer_with(move |_, _| Outcome::default_answer().after_gate(&shut));
    (layer.layer(leaf.clone()), leaf, gate)
}

#[test]
fn is_a_cache_service() {
    fn check<S: CacheService<String>>(_: S) {}
    check(BulkheadLayer::new(1).layer(Leaf::new()));
}

#[test]
fn settings_are_shown_and_clamped() {
    let layer = BulkheadLayer::new(0).write(0).control(0).queue(7).queue_timeout(Duration::from_secs(2));
    assert_eq!(
        format!("{layer:?}"),
        "BulkheadLayer { read: 1, write: 1, control: 1, queue: 7, queue_timeout: 2s }"
    );
    let layer = BulkheadLayer::new(u32::MAX);
    assert_eq!(layer.handle().max_concurrent(OpClass::Read), u32::MAX >> 1);
    let layer = BulkheadLayer::new(256);
    assert_eq!(
        format!("{layer:?}"),
        "BulkheadLayer { read: 256, write: 256, control: 32, queue: 256, queue_timeout: 250ms }"
    );
}

#[test]
fn the_queue_is_bounded() {
    let (mut stack, leaf, gate) = gated(&BulkheadLayer::new(2).queue(1).queue_timeout(Duration::MAX));
    let mut calls: Vec<Call> = (0..4).map(|_| call(&mut stack, read())).collect();
    assert_eq!(counts(&stack, OpClass::Read), (2, 1, 1));
    assert!(refused(poll(&mut calls[3])));
    assert!(calls[..3].iter_mut().all(|call| poll(call).is_pending()));
    assert_eq!(leaf.calls(), 2);
    gate.open();
    // Waiters run when those before them are done, in whatever order they are polled.
    assert!(poll(&mut calls[2]).is_pending());
    assert!(poll(&mut calls[0]).is_ready());
    assert!(poll(&mut calls[2]).is_ready());
    assert!(poll(&mut calls[1]).is_ready());
    assert_eq!(counts(&stack, OpClass::Read), (0, 0, 1));
    assert_eq!((leaf.calls(), leaf.violations(), leaf.peak_in_flight()), (3, 0, 2));
}

#[test]
fn without_a_queue_or_time_for_it_the_next_is_refused() {
    for layer in [BulkheadLayer::new(1).queue(0), BulkheadLayer::new(1).queue_timeout(Duration::ZERO)] {
        let (mut stack, _, _) = gated(&layer);
        let _running = call(&mut stack, read());
        assert!(refused(poll(&mut call(&mut stack, read()))));
        assert_eq!(counts(&stack, OpClass::Read), (1, 0, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_at_the_deadline() {
    let timeout = Duration::from_millis(80);
    let (mut stack, leaf, _gate) = gated(&BulkheadLayer::new(1).queue_timeout(timeout));
    let _running = call(&mut stack, read());
    let start = tokio::time::Instant::now();
    let error = call(&mut stack, read()).await.unwrap_err();
    assert_eq!((error.kind(), start.elapsed()), (ErrorKind::BulkheadFull, timeout));
    assert_eq!((counts(&stack, OpClass::Read), leaf.calls()), ((1, 0, 1), 1));
}

#[tokio::test(start_paused = true)]
async fn a_permit_granted_at_the_deadline_is_used() {
    let (mut stack, leaf, gate) = gated(&BulkheadLayer::new(1).queue_timeout(Duration::from_millis(80)));
    let running = call(&mut stack, read());
    let mut waiting = call(&mut stack, read());
    assert!(poll(&mut waiting).is_pending());
    tokio::time::advance(Duration::from_millis(100)).await;
    drop(running);
    assert!(poll(&mut waiting).is_pending());
    assert_eq!((counts(&stack, OpClass::Read), leaf.calls()), ((1, 0, 0), 2));
    gate.open();
    waiting.await.unwrap();
}

#[test]
fn waiters_run_in_the_order_of_their_calls() {
    let (mut stack, _, _gate) = gated(&BulkheadLayer::new(1).queue(8).queue_timeout(Duration::MAX));
    let mut running = call(&mut stack, read());
    let wakes: Vec<Arc<Wakes>> = (0..4).map(|_| Arc::default()).collect();
    let mut waiting: Vec<Call> = (0..4).map(|_| call(&mut stack, read())).collect();
    // Polled backwards: the order of the calls counts.
    for (call, wakes) in waiting.iter_mut().zip(&wakes).rev() {
        let waker = Waker::from(Arc::clone(wakes));
        assert!(call.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    for (next, wakes) in waiting.into_iter().zip(&wakes) {
        assert_eq!(wakes.0.load(Ordering::SeqCst), 0);
        drop(std::mem::replace(&mut running, next));
        assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
        // Nobody overtakes: the permit is taken though its new holder has not run yet.
        let mut late = call(&mut stack, read());
        assert!(poll(&mut late).is_pending());
        drop(late);
    }
    drop(running);
    assert_eq!(counts(&stack, OpClass::Read), (0, 0, 0));
}

#[test]
fn compartments_do_not_starve_each_other() {
    let layer = BulkheadLayer::new(1).queue(1).queue_timeout(Duration::MAX);
    for (full, others) in
        [(read as fn() -> Request, [write, lock]), (write, [read, lock]), (lock, [read, write])]
    {
        let layer = layer.clone().queue(1);
        let (mut stack, _, _gate) = gated(&layer);
        let _flood = [call(&mut stack, full()), call(&mut stack, full())];
        assert!(refused(poll(&mut call(&mut stack, full()))));
        for other in others {
            let class = other().class();
            let _runs = call(&mut stack, other());
            assert_eq!(counts(&stack, class), (1, 0, 0));
        }
    }
}

#[test]
fn what_must_not_be_refused_passes() {
    let (mut stack, leaf, _gate) = gated(&BulkheadLayer::new(1).queue(0));
    let _held = [call(&mut stack, read()), call(&mut stack, write()), call(&mut stack, lock())];
    let (key, owner) = (Key::new("k").unwrap(), LockOwner(7));
    let extend = CacheRequest::extend_lock(key.clone(), owner, Duration::from_secs(1));
    for request in [CacheRequest::unlock(key, owner), extend, CacheRequest::Ping, CacheRequest::Close] {
        assert!(poll(&mut call(&mut stack, request)).is_pending());
    }
    assert_eq!(leaf.calls(), 7);
    assert_eq!(counts(&stack, OpClass::Control), (1, 0, 0));
}

#[test]
fn idle_clones_and_idle_readiness_hold_nothing() {
    let (mut stack, leaf, gate) = gated(&BulkheadLayer::new(1).queue(0));
    let clones: Vec<Stack> = (0..8)
        .map(|_| {
            let mut clone = stack.clone();
            assert!(
                Service::<Request>::poll_ready(&mut clone, &mut Context::from_waker(Waker::noop()))
                    .is_ready()
            );
            clone
        })
        .collect();
    assert_eq!(counts(&stack, OpClass::Read), (0, 0, 0));
    let mut running = call(&mut stack, read());
    gate.open();
    assert!(poll(&mut running).is_ready());
    // The permit went with the call's end, not with its future.
    assert_eq!(counts(&stack, OpClass::Read), (0, 0, 0));
    drop(clones);
    assert_eq!(leaf.reserved(), 0);
}

#[test]
fn what_is_refused_keeps_nothing_reserved_beneath() {
    let (mut stack, leaf, _gate) = gated(&BulkheadLayer::new(1).queue(0));
    let _running = call(&mut stack, read());
    assert!(refused(poll(&mut call(&mut stack, read()))));
    assert_eq!(leaf.reserved(), 0);
}

#[test]
fn services_of_one_layer_share_and_those_of_another_do_not() {
    let layer = BulkheadLayer::new(1).queue(0);
    let ((mut one, ..), (mut two, ..)) = (gated(&layer), gated(&layer.clone()));
    let (mut other, ..) = gated(&layer.read(1));
    let _running = call(&mut one, read());
    assert!(refused(poll(&mut call(&mut two, read()))));
    assert!(poll(&mut call(&mut other, read())).is_pending());
}

#[test]
fn a_cancelled_waiter_leaves_and_a_granted_one_hands_on() {
    let (mut stack, _, _gate) = gated(&BulkheadLayer::new(1).queue(3).queue_timeout(Duration::MAX));
    let running = call(&mut stack, read());
    let [first, middle, mut last] = std::array::from_fn(|_| call(&mut stack, read()));
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    assert!(last.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    drop(middle);
    assert_eq!(counts(&stack, OpClass::Read), (1, 2, 0));
    drop(running);
    assert_eq!((counts(&stack, OpClass::Read), wakes.0.load(Ordering::SeqCst)), ((1, 1, 0), 0));
    // The first was granted and never polled.
    drop(first);
    assert_eq!((counts(&stack, OpClass::Read), wakes.0.load(Ordering::SeqCst)), ((1, 0, 0), 1));
    drop(last);
    assert_eq!(counts(&stack, OpClass::Read), (0, 0, 0));
}

#[test]
fn the_latest_waker_is_woken() {
    let (mut stack, _, _gate) = gated(&BulkheadLayer::new(1).queue_timeout(Duration::MAX));
    let running = call(&mut stack, read());
    let mut waiting = call(&mut stack, read());
    let wakes: [Arc<Wakes>; 2] = Default::default();
    for wakes in &wakes {
        let waker = Waker::from(Arc::clone(wakes));
        assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    drop(running);
    assert_eq!(wakes.map(|wakes| wakes.0.load(Ordering::SeqCst)), [0, 1]);
}

#[test]
fn errors_and_panics_give_the_permit_back() {
    let leaf = Leaf::new();
    let mut stack = BulkheadLayer::new(1).queue(1).queue_timeout(Duration::MAX).layer(leaf.clone());
    leaf.push(Outcome::err(CacheError::new(ErrorKind::Connection, "lost")));
    let mut failing = call(&mut stack, read());
    assert!(matches!(poll(&mut failing), Poll::Ready(Err(error)) if error.kind() == ErrorKind::Connection));
    assert_eq!(counts(&stack, OpClass::Read), (0, 0, 0));

    leaf.push(Outcome::panic("planned"));
    let mut panicking = call(&mut stack, read());
    let mut waiting = call(&mut stack, read());
    assert!(poll(&mut waiting).is_pending());
    assert!(catch_unwind(AssertUnwindSafe(|| poll(&mut panicking))).is_err());
    // At the panic, not when somebody drops what is left of the future.
    assert_eq!(counts(&stack, OpClass::Read), (1, 0, 0));
    leaf.push(Outcome::panic_in_call("planned"));
    assert!(catch_unwind(AssertUnwindSafe(|| poll(&mut waiting))).is_err());
    assert_eq!(counts(&stack, OpClass::Read), (0, 0, 0));

    leaf.push(Outcome::panic_in_call("planned"));
    assert!(catch_unwind(AssertUnwindSafe(|| call(&mut stack, read()))).is_err());
    assert_eq!(counts(&stack, OpClass::Read), (0, 0, 0));
    assert_eq!(leaf.violations(), 0);
}

#[test]
fn a_waker_that_drops_another_call_does_not_deadlock() {
    /// Owns a call, as a task's waker does.
    struct Owner {
        _call: std::sync::Mutex<Call>,
    }
    impl Wake for Owner {
        fn wake(self: Arc<Self>) {}
    }
    let (mut stack, _, _gate) = gated(&BulkheadLayer::new(1).queue(2).queue_timeout(Duration::MAX));
    let running = call(&mut stack, read());
    let mut waiting = call(&mut stack, read());
    let owned = call(&mut stack, read());
    {
        let waker = Waker::from(Arc::new(Owner { _call: std::sync::Mutex::new(owned) }));
        assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    // Replacing the waker drops the owner, and with it a call in the same queue.
    assert!(poll(&mut waiting).is_pending());
    assert_eq!(counts(&stack, OpClass::Read), (1, 1, 0));
    drop((running, waiting));
    assert_eq!(counts(&stack, OpClass::Read), (0, 0, 0));
}

#[tokio::test]
async fn refusals_show_nothing_but_their_kind() {
    let (mut stack, ..) = gated(&BulkheadLayer::new(1).queue(0));
    let running = call(&mut stack, read());
    let error = stack.clone().oneshot(read()).await.unwrap_err();
    assert_eq!(error.to_string(), "bulkhead is full");
    assert_eq!(format!("{running:?}"), "bulkhead::ResponseFuture { state: \"running\" }");
    assert!(format!("{stack:?}").starts_with("Bulkhead { read: 1, write: 1, control: 1, queue: 0,"));
}
