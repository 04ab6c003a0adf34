//! The lent instance.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

use super::*;
use crate::key::Key;
use crate::testing::{Gate, Leaf, Outcome, Readiness};

type Request = CacheRequest<u32>;

/// A leaf in a stack that is too large to be cloned for each call, and that counts its clones.
struct Deep {
    leaf: Leaf<u32>,
    clones: Arc<AtomicU64>,
    /// The hash codes it was told of when it was readied and when it was called.
    foreseen: Arc<Mutex<Vec<Option<u64>>>>,
    _depth: [usize; 4],
}

impl Clone for Deep {
    fn clone(&self) -> Self {
        self.clones.fetch_add(1, Ordering::Relaxed);
        let Self { leaf, clones, foreseen, _depth } = self;
        Self {
            leaf: leaf.clone(),
            clones: Arc::clone(clones),
            foreseen: Arc::clone(foreseen),
            _depth: *_depth,
        }
    }
}

impl Service<Request> for Deep {
    type Response = CacheResponse<u32>;
    type Error = CacheError;
    type Future = <Leaf<u32> as Service<Request>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CacheError>> {
        self.foreseen.lock().expect("not poisoned").push(foresight::next_read());
        Service::<Request>::poll_ready(&mut self.leaf, cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        self.foreseen.lock().expect("not poisoned").push(foresight::next_read());
        self.leaf.call(request)
    }
}

struct Fixture {
    leaf: Leaf<u32>,
    clones: Arc<AtomicU64>,
    foreseen: Arc<Mutex<Vec<Option<u64>>>>,
    stack: SharedStack<Deep>,
}

impl Fixture {
    fn new() -> Self {
        let (leaf, clones) = (Leaf::new(), Arc::new(AtomicU64::new(0)));
        let foreseen = Arc::default();
        let deep = Deep {
            leaf: leaf.clone(),
            clones: Arc::clone(&clones),
            foreseen: Arc::clone(&foreseen),
            _depth: [0; 4],
        };
        Self { leaf, stack: SharedStack::new(deep), clones, foreseen }
    }

    fn clones(&self) -> u64 {
        self.clones.load(Ordering::Relaxed)
    }

    fn call(&self) -> Pin<Box<SharedCall<u32, Deep>>> {
        Box::pin(SharedCall::new(self.stack.clone(), get()))
    }
}

fn get() -> Request {
    CacheRequest::get(Key::new("k").expect("valid"))
}

fn poll<F: Future>(call: &mut Pin<Box<F>>) -> Poll<F::Output> {
    call.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_stack_hears_what_will_be_read_when_it_is_readied() {
    let fixture = Fixture::new();
    assert!(poll(&mut fixture.call()).is_ready());
    let ping = SharedCall::new(fixture.stack.clone(), Request::Ping);
    assert!(poll(&mut Box::pin(ping)).is_ready());
    let hash = get().keys().next().map(Key::hash_code);
    assert_eq!(std::mem::take(&mut *fixture.foreseen.lock().unwrap()), [hash, None, None, None]);

    // So does an instance of one's own.
    let Repr::Large(lent) = &fixture.stack.0 else { panic!("the stack is large") };
    let in_use = lent.instance.lock().unwrap();
    assert!(poll(&mut fixture.call()).is_ready());
    drop(in_use);
    assert_eq!(*fixture.foreseen.lock().unwrap(), [hash, None]);
}

#[test]
fn one_call_after_the_other_clones_nothing() {
    let fixture = Fixture::new();
    let before = fixture.clones();
    for _ in 0..10 {
        assert!(poll(&mut fixture.call()).is_ready());
    }
    assert_eq!(fixture.clones(), before);
    assert_eq!((fixture.leaf.completed(), fixture.leaf.violations()), (10, 0));
}

#[test]
fn calls_under_way_at_once_need_no_second_instance() {
    let fixture = Fixture::new();
    let (before, gate) = (fixture.clones(), Gate::new());
    fixture.leaf.answer_with({
        let gate = gate.clone();
        move |_, _| Outcome::miss().after_gate(&gate)
    });
    let mut calls: Vec<_> = (0..5).map(|_| fixture.call()).collect();
    assert!(calls.iter_mut().all(|call| poll(call).is_pending()));
    gate.open();
    assert!(calls.iter_mut().all(|call| poll(call).is_ready()));
    assert_eq!(fixture.clones(), before);
}

#[test]
fn an_instance_in_use_is_not_waited_for() {
    let fixture = Fixture::new();
    let Repr::Large(lent) = &fixture.stack.0 else { panic!("the stack is large") };
    let in_use = lent.instance.lock().unwrap();
    assert!(poll(&mut fixture.call()).is_ready());
    drop(in_use);
    assert_eq!((fixture.leaf.completed(), fixture.leaf.violations()), (1, 0));
}

#[tokio::test]
async fn who_has_to_wait_for_readiness_holds_up_nobody() {
    let fixture = Fixture::new();
    let gate = Gate::new();
    fixture.leaf.push_readiness(Readiness::now().after_gate(&gate));
    let mut waiting = fixture.call();
    assert!(poll(&mut waiting).is_pending());
    assert!(waiting.request().is_some());
    assert!(poll(&mut fixture.call()).is_ready());

    let waiting = tokio::spawn(waiting);
    gate.open();
    waiting.await.unwrap().unwrap();
    assert_eq!((fixture.leaf.completed(), fixture.leaf.violations()), (2, 0));
    assert_eq!(fixture.leaf.reserved(), 0);
}

#[test]
fn a_call_given_up_leaves_nothing_reserved() {
    let fixture = Fixture::new();
    fixture.leaf.push_readiness(Readiness::never());
    let mut waiting = fixture.call();
    assert!(poll(&mut waiting).is_pending());
    drop(waiting);
    assert_eq!(fixture.leaf.reserved(), 0);
    assert!(poll(&mut fixture.call()).is_ready());
}

#[test]
fn a_failed_readiness_is_its_call_s_alone() {
    let fixture = Fixture::new();
    fixture.leaf.push_readiness(Readiness::err(CacheError::new(ErrorKind::Busy, "busy")));
    let mut failed = fixture.call();
    let Poll::Ready(Err(error)) = poll(&mut failed) else { panic!("readiness failed") };
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(matches!(poll(&mut failed), Poll::Ready(Err(error)) if error.kind() == ErrorKind::Internal));
    assert!(poll(&mut fixture.call()).is_ready());
}

/// As a rate limit does: ready when the leaf is, and then no call.
#[derive(Clone)]
struct Refusing(Deep);

impl Service<Request> for Refusing {
    type Response = CacheResponse<u32>;
    type Error = CacheError;
    type Future = std::future::Ready<Result<CacheResponse<u32>, CacheError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CacheError>> {
        Service::<Request>::poll_ready(&mut self.0, cx)
    }

    fn call(&mut self, _: Request) -> Self::Future {
        std::future::ready(Err(CacheError::rejection(ErrorKind::RateLimited, None)))
    }
}

#[test]
fn a_refused_call_leaves_nothing_reserved() {
    let (leaf, clones) = (Leaf::new(), Arc::new(AtomicU64::new(0)));
    let stack = SharedStack::new(Refusing(Deep {
        leaf: leaf.clone(),
        clones,
        foreseen: Arc::default(),
        _depth: [0; 4],
    }));
    assert!(matches!(stack.0, Repr::Large(_)));
    for _ in 0..3 {
        let mut refused = Box::pin(SharedCall::new(stack.clone(), get()));
        assert!(matches!(poll(&mut refused), Poll::Ready(Err(_))));
        assert_eq!(leaf.reserved(), 0);
    }
}

#[test]
fn a_panic_is_its_call_s_alone() {
    let fixture = Fixture::new();
    fixture.leaf.push(Outcome::panic_in_call("planted"));
    let mut call = fixture.call();
    assert!(catch_unwind(AssertUnwindSafe(|| poll(&mut call))).is_err());
    let before = fixture.clones();
    assert!(poll(&mut fixture.call()).is_ready());
    assert_eq!(fixture.clones(), before + 1, "the instance that panicked is not used again");
    assert!(poll(&mut fixture.call()).is_ready());
    assert_eq!(fixture.clones(), before + 1);
}

#[test]
fn a_small_stack_is_waited_for_with_the_instance_that_was_polled() {
    let (leaf, gate) = (Leaf::<u32>::new(), Gate::new());
    let stack = SharedStack::new(SmallLeaf(Box::new(leaf.clone())));
    assert!(matches!(stack.0, Repr::Small(_)));
    leaf.push_readiness(Readiness::now().after_gate(&gate));
    let mut call = Box::pin(SharedCall::new(stack, get()));
    assert!(poll(&mut call).is_pending());
    gate.open();
    assert!(poll(&mut call).is_ready());
    assert_eq!((leaf.completed(), leaf.violations(), leaf.reserved()), (1, 0, 0));
}

#[derive(Clone)]
struct SmallLeaf(Box<Leaf<u32>>);

impl Service<Request> for SmallLeaf {
    type Response = CacheResponse<u32>;
    type Error = CacheError;
    type Future = <Leaf<u32> as Service<Request>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CacheError>> {
        Service::<Request>::poll_ready(&mut *self.0, cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        self.0.call(request)
    }
}
