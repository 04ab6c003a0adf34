//! A stack that many calls share.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

use crate::clock;
use crate::error::{CacheError, ErrorKind};
use crate::request::CacheRequest;
use crate::response::CacheResponse;
use crate::service::CacheService;

/// A stack whose clones are one reference count, however deep it is.
///
/// A tower service is called through an instance of one's own, and an instance of a deep stack is a reference count for each
/// of its layers. Here one instance is lent from call to call; who finds it in use takes a clone. What is lent was polled
/// ready by the very call it is lent to, and is replaced when that call fails at once, as when a layer refuses it without
/// passing it on. So nothing that was reserved in `poll_ready` stays behind in an idle instance, provided that a layer which
/// answers successfully by itself does not forward `poll_ready`.
pub struct SharedStack<S>(Repr<S>);

enum Repr<S> {
    /// Cheaper to clone than to lend.
    Small(S),
    Large(Arc<Lent<S>>),
}

struct Lent<S> {
    /// Never readied and never called: what instances are cloned from.
    prototype: S,
    /// Readied by nobody while it is not locked.
    instance: Mutex<S>,
}

impl<S: Clone> SharedStack<S> {
    /// Shares a stack.
    pub fn new(stack: S) -> Self {
        Self(if size_of::<S>() <= 2 * size_of::<usize>() {
            Repr::Small(stack)
        } else {
            Repr::Large(Arc::new(Lent { instance: Mutex::new(stack.clone()), prototype: stack }))
        })
    }
}

impl<S> SharedStack<S> {
    /// The stack.
    pub fn get_ref(&self) -> &S {
        match &self.0 {
            Repr::Small(stack) => stack,
            Repr::Large(lent) => &lent.prototype,
        }
    }
}

impl<S: Clone> Clone for SharedStack<S> {
    #[inline]
    fn clone(&self) -> Self {
        Self(match &self.0 {
            Repr::Small(stack) => Repr::Small(stack.clone()),
            Repr::Large(lent) => Repr::Large(Arc::clone(lent)),
        })
    }
}

impl<S: fmt::Debug> fmt::Debug for SharedStack<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get_ref().fmt(f)
    }
}

impl<S: Clone> Lent<S> {
    /// The instance, unless it is in use.
    #[inline]
    fn borrow(&self) -> Option<MutexGuard<'_, S>> {
        match self.instance.try_lock() {
            Ok(instance) => Some(instance),
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Poisoned(poisoned)) => {
                // Whatever the panic left half done goes with the instance it was left in.
                let mut instance = poisoned.into_inner();
                *instance = self.prototype.clone();
                self.instance.clear_poison();
                Some(instance)
            }
        }
    }

    /// Puts a fresh instance in the place of one whose call failed at once: a layer may have refused the call without
    /// passing it on, and what it had readied beneath is still reserved. Who has the instance meanwhile uses that up, or
    /// comes here in turn.
    #[cold]
    fn renew(&self) {
        let fresh = self.prototype.clone();
        let old = self.borrow().map(|mut instance| std::mem::replace(&mut *instance, fresh));
        // Not while it is locked: what is dropped may well call back.
        drop(old);
    }
}

pin_project! {
    /// One request on its way through a [`SharedStack`]: readied, called, and answered, with one clock reading per poll
    /// ([`clock::scope`]).
    ///
    /// It owns its way through the stack and borrows nothing. Dropping it cancels the request: before the first poll
    /// nothing is sent; after that every layer gives back what it held, and whether a request that was sent takes effect is
    /// not known.
    #[must_use = "futures do nothing unless polled"]
    pub struct SharedCall<V, S>
    where
        S: Service<CacheRequest<V>>,
    {
        #[pin]
        state: State<V, S, S::Future>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<V, S, F> {
        // Not polled yet.
        Asking { call: Option<(SharedStack<S>, CacheRequest<V>)> },
        // Waiting for an instance of its own to be ready. Boxed: it is rare, and every call would carry its size.
        Readying { call: Option<Box<(S, CacheRequest<V>)>> },
        Called { #[pin] future: F },
    }
}

impl<V, S: CacheService<V>> SharedCall<V, S> {
    /// A call that has not begun.
    #[inline]
    pub fn new(stack: SharedStack<S>, request: CacheRequest<V>) -> Self {
        Self { state: State::Asking { call: Some((stack, request)) } }
    }

    /// The request, until it is sent.
    pub fn request(&self) -> Option<&CacheRequest<V>> {
        match &self.state {
            State::Asking { call } => call.as_ref().map(|(_, request)| request),
            State::Readying { call } => call.as_ref().map(|call| &call.1),
            State::Called { .. } => None,
        }
    }
}

impl<V, S: CacheService<V>> Future for SharedCall<V, S> {
    type Output = Result<CacheResponse<V>, CacheError>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        clock::scope(|| {
            let mut used: Option<Arc<Lent<S>>> = None;
            // One place for the answer, which nobody refers to: see `docs/design.md`, "Where answers are written".
            let mut answer = 'answer: {
                // Asking => (Called | Readying)
                if let StateProj::Asking { call } = state.as_mut().project()
                    && let Some((stack, request)) = call.take()
                {
                    match stack.0 {
                        Repr::Small(mut instance) => match instance.poll_ready(cx) {
                            Poll::Ready(Ok(())) => {
                                let future = instance.call(request);
                                state.set(State::Called { future });
                            }
                            unready => break 'answer state.wait(instance, request, unready),
                        },
                        Repr::Large(lent) => {
                            let Some(mut instance) = lent.borrow() else {
                                // Somebody else has the instance.
                                break 'answer state.poll_apart(lent.prototype.clone(), request, cx);
                            };
                            match instance.poll_ready(cx) {
                                Poll::Ready(Ok(())) => {
                                    let future = instance.call(request);
                                    drop(instance);
                                    state.set(State::Called { future });
                                    used = Some(lent);
                                }
                                // It is not ready now, or never will be: it is ours, and the next call finds a fresh one.
                                unready => {
                                    let ours = std::mem::replace(&mut *instance, lent.prototype.clone());
                                    drop(instance);
                                    break 'answer state.wait(ours, request, unready);
                                }
                            }
                        }
                    }
                }
                match state.as_mut().project() {
                    StateProj::Called { future } => future.poll(cx),
                    _ => state.poll_readying(cx),
                }
            };
            if matches!(answer, Poll::Ready(Err(_))) {
                answer = failed(used, answer);
            }
            answer
        })
    }
}

type Answer<V> = Result<CacheResponse<V>, CacheError>;

impl<V, S: CacheService<V>> State<V, S, S::Future> {
    /// Asking => (Called | Readying | failed), with an instance of its own. No box unless it has to wait. Out of line, so that
    /// a call that has the lent one carries none of it.
    #[inline(never)]
    fn poll_apart(
        mut self: Pin<&mut Self>,
        mut instance: S,
        request: CacheRequest<V>,
        cx: &mut Context<'_>,
    ) -> Poll<Answer<V>> {
        match instance.poll_ready(cx) {
            Poll::Ready(Ok(())) => {
                let future = instance.call(request);
                drop(instance);
                self.set(Self::Called { future });
                self.poll_called(cx)
            }
            unready => self.wait(instance, request, unready),
        }
    }

    fn poll_called(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer<V>> {
        match self.project() {
            StateProj::Called { future } => future.poll(cx),
            _ => Poll::Ready(Err(polled_after_completion())),
        }
    }

    /// Asking => (Readying | failed)
    #[cold]
    fn wait(
        mut self: Pin<&mut Self>,
        instance: S,
        request: CacheRequest<V>,
        unready: Poll<Result<(), CacheError>>,
    ) -> Poll<Answer<V>> {
        match unready {
            Poll::Ready(result) => Poll::Ready(Err(result.err().unwrap_or_else(polled_after_completion))),
            Poll::Pending => {
                self.set(Self::Readying { call: Some(Box::new((instance, request))) });
                Poll::Pending
            }
        }
    }

    /// Readying => (Readying | Called | failed)
    #[cold]
    fn poll_readying(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer<V>> {
        if let StateProj::Readying { call } = self.as_mut().project()
            && let Some((instance, _)) = call.as_deref_mut()
        {
            ready!(instance.poll_ready(cx))?;
            if let Some(call) = call.take() {
                let (mut instance, request) = *call;
                let future = instance.call(request);
                self.set(Self::Called { future });
            }
        }
        self.poll_called(cx)
    }
}

/// A call has failed, in its first poll if `used` says so. It takes the answer and gives it back, so that its caller may keep
/// it in one place.
#[cold]
fn failed<S: Clone, T>(used: Option<Arc<Lent<S>>>, answer: T) -> T {
    if let Some(lent) = used {
        lent.renew();
    }
    answer
}

#[cold]
fn polled_after_completion() -> CacheError {
    CacheError::new(ErrorKind::Internal, "a future was polled after it had failed")
}

impl<V, S: Service<CacheRequest<V>>> fmt::Debug for SharedCall<V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedCall").finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
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
        _depth: [usize; 4],
    }

    impl Clone for Deep {
        fn clone(&self) -> Self {
            self.clones.fetch_add(1, Ordering::Relaxed);
            Self { leaf: self.leaf.clone(), clones: Arc::clone(&self.clones), _depth: self._depth }
        }
    }

    impl Service<Request> for Deep {
        type Response = CacheResponse<u32>;
        type Error = CacheError;
        type Future = <Leaf<u32> as Service<Request>>::Future;

        fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CacheError>> {
            Service::<Request>::poll_ready(&mut self.leaf, cx)
        }

        fn call(&mut self, request: Request) -> Self::Future {
            self.leaf.call(request)
        }
    }

    struct Fixture {
        leaf: Leaf<u32>,
        clones: Arc<AtomicU64>,
        stack: SharedStack<Deep>,
    }

    impl Fixture {
        fn new() -> Self {
            let (leaf, clones) = (Leaf::new(), Arc::new(AtomicU64::new(0)));
            let deep = Deep { leaf: leaf.clone(), clones: Arc::clone(&clones), _depth: [0; 4] };
            Self { leaf, stack: SharedStack::new(deep), clones }
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
        let stack = SharedStack::new(Refusing(Deep { leaf: leaf.clone(), clones, _depth: [0; 4] }));
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
}
