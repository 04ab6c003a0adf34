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
use crate::foresight;
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
                            match foresight::announce(&request, || instance.poll_ready(cx)) {
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
        match foresight::announce(&request, || instance.poll_ready(cx)) {
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
#[path = "shared/tests.rs"] // The schedules include this file from elsewhere.
mod tests;
