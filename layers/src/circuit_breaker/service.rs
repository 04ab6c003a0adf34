//! The service.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use cachex_core::{CacheError, CacheRequest, CacheResponse, ErrorKind};
use tower_service::Service;

use super::circuit::Admission;
use super::future::ResponseFuture;
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

    #[inline]
    fn call(&mut self, request: CacheRequest<V>) -> ResponseFuture<V, S> {
        if self.ready
            && let Some(index) = self.shared.circuit_of(request.op())
            && let Some(ticket) = self.shared.circuit(index).admit_at_once()
        {
            self.ready = false;
            let entry = Entry::new(&self.shared, index, ticket);
            let future = self.inner.call(request);
            return ResponseFuture::called(future, Some(entry.passed()));
        }
        self.call_slowly(request)
    }
}

impl<S> CircuitBreaker<S> {
    /// Whatever is not a request that passes at once.
    #[cold]
    fn call_slowly<V>(&mut self, request: CacheRequest<V>) -> ResponseFuture<V, S>
    where
        S: Service<CacheRequest<V>, Response = CacheResponse<V>, Error = CacheError> + Clone,
    {
        let entry = match self.shared.circuit_of(request.op()) {
            None => None,
            Some(index) => {
                match self.shared.circuit(index).admit(self.shared.env(self.shared.read_clock())) {
                    Admission::Admitted(ticket) => Some(Entry::new(&self.shared, index, ticket)),
                    Admission::Refused(wait) => {
                        return ResponseFuture::refused(CacheError::rejection(ErrorKind::CircuitOpen, wait));
                    }
                }
            }
        };
        if std::mem::take(&mut self.ready) {
            let future = self.inner.call(request);
            ResponseFuture::called(future, entry.map(Entry::passed))
        } else {
            let service = self.inner.clone();
            ResponseFuture::readying(service, request, entry.map(Entry::passed))
        }
    }
}
