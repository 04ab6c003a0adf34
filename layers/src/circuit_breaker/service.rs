//! The service.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use cachex_core::{CacheError, CacheRequest, CacheResponse, OpClass};
use tower_service::Service;

use super::future::{ResponseFuture, Unready};
use super::guard::{Entry, Guard};
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

    /// A call that its circuit does not pass at once: it is refused, or waits for its inner service's readiness.
    #[cold]
    fn late<V>(
        &mut self,
        circuit: OpClass,
        request: Option<CacheRequest<V>>,
    ) -> Result<(Box<Unready<V, S>>, Guard), CacheError>
    where
        S: Clone,
    {
        // A refusal leaves the readiness for the next call.
        let ticket = self.shared.admit(circuit)?;
        let entry = Entry::new(&self.shared, circuit, ticket);
        let mut service = self.inner.clone();
        let ready = std::mem::take(&mut self.ready);
        if ready {
            // What is reserved beneath is this call's, and might be all there is.
            std::mem::swap(&mut service, &mut self.inner);
        }
        Ok((Box::new(Unready { service, ready, request }), entry.passed()))
    }
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
        // A request that is dropped here, be it by an unwinding stack, has an address. It is then not kept in registers, and
        // its next move waits for the parts it was just written in, which costs as much as all the rest. So what is common
        // cannot panic, and what is rare is out of line and takes the request with it, moved into an option. Nor does it
        // write the future, which is for the same reason.
        let entry = match self.shared.circuit_of(request.op()) {
            None => None,
            Some(circuit) => {
                let Some(ticket) = self.shared.circuit(circuit).admit_at_once() else {
                    return match self.late(circuit, Some(request)) {
                        Ok((call, guard)) => ResponseFuture::readying(call, Some(guard)),
                        Err(refusal) => ResponseFuture::refused(refusal),
                    };
                };
                Some(Entry::new(&self.shared, circuit, ticket))
            }
        };
        if !std::mem::take(&mut self.ready) {
            return ResponseFuture::readying(boxed(&self.inner, Some(request)), entry.map(Entry::passed));
        }
        let future = self.inner.call(request);
        ResponseFuture::called(future, entry.map(Entry::passed))
    }
}

/// A call that has to wait for its inner service's readiness.
#[cold]
fn boxed<V, S: Clone>(service: &S, request: Option<CacheRequest<V>>) -> Box<Unready<V, S>> {
    Box::new(Unready { service: service.clone(), ready: false, request })
}
