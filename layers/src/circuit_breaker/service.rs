//! The service.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use cachex_core::{CacheError, CacheRequest, CacheResponse};
use tower_service::Service;

use super::future::{ResponseFuture, Unready};
use super::guard::Entry;
use super::handle::CircuitBreakerHandle;
use super::shared::Shared;

/// Refuses requests while the store beneath is failing. See the [module](super).
pub struct CircuitBreaker<S> {
    inner: S,
    shared: Arc<Shared>,
    /// Whether `inner` was polled ready and not called since.
    ready: bool,
}

impl<S> CircuitBreaker<S> {
    pub(super) fn new(inner: S, shared: Arc<Shared>) -> Self {
        Self { inner, shared, ready: false }
    }

    /// The live state of this breaker.
    #[must_use]
    pub fn handle(&self) -> CircuitBreakerHandle {
        CircuitBreakerHandle::new(Arc::clone(&self.shared))
    }

    service_accessors!(S);
}

/// By hand: a clone of the inner service has not been polled ready, whatever this one was.
impl<S: Clone> Clone for CircuitBreaker<S> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), shared: Arc::clone(&self.shared), ready: false }
    }
}

impl<S: fmt::Debug> fmt::Debug for CircuitBreaker<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreaker")
            .field("inner", &self.inner)
            .field("handle", &self.handle())
            .finish_non_exhaustive()
    }
}

impl<V, S> Service<CacheRequest<V>> for CircuitBreaker<S>
where
    S: Service<CacheRequest<V>, Response = CacheResponse<V>, Error = CacheError> + Clone,
{
    type Response = CacheResponse<V>;
    type Error = CacheError;
    type Future = ResponseFuture<V, S>;

    /// Forwards, as long as every circuit passes every request. Otherwise it is ready without asking, and what passes
    /// waits for the inner service's readiness inside its call.
    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CacheError>> {
        if !self.shared.passes_all() {
            return Poll::Ready(Ok(()));
        }
        self.ready = false;
        let polled = self.inner.poll_ready(cx);
        self.ready = matches!(polled, Poll::Ready(Ok(())));
        polled
    }

    #[inline(always)]
    fn call(&mut self, request: CacheRequest<V>) -> ResponseFuture<V, S> {
        // What is rare is out of line, and neither takes the request's address nor writes the future: both can then be
        // kept in registers, or written where they are wanted, by what is common.
        let Some(index) = self.shared.circuit_of(request.op()) else {
            return if std::mem::take(&mut self.ready) {
                ResponseFuture::called(self.inner.call(request), None)
            } else {
                ResponseFuture::readying(boxed(&self.inner, Some(request)), None)
            };
        };
        let ticket = match self.shared.circuit(index).admit_at_once() {
            Some(ticket) => ticket,
            None => match self.shared.admit(index) {
                Ok(ticket) => ticket,
                Err(refusal) => return ResponseFuture::refused(refusal),
            },
        };
        let entry = Entry::new(&self.shared, index, ticket);
        // A refusal leaves the readiness for the next call.
        if !std::mem::take(&mut self.ready) {
            return ResponseFuture::readying(boxed(&self.inner, Some(request)), Some(entry.passed()));
        }
        let future = self.inner.call(request);
        ResponseFuture::called(future, Some(entry.passed()))
    }
}

/// A call that has to wait for its inner service's readiness.
#[cold]
fn boxed<V, S: Clone>(inner: &S, request: Option<CacheRequest<V>>) -> Box<Unready<V, S>> {
    Box::new(Unready { service: inner.clone(), request })
}
