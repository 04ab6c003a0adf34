//! The service.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use cachex_core::{CacheError, CacheRequest, CacheResponse, ErrorKind, clock};
use tower_service::Service;

use super::future::ResponseFuture;
use super::handle::BulkheadHandle;
use super::place::{Compartments, Place};

/// Lets at most so many calls at once through to `S`: see the [module](super).
///
/// A clone shares the compartments and holds no permit: a permit belongs to a call, from `call` until its future ends.
#[derive(Clone)]
pub struct Bulkhead<S> {
    inner: S,
    compartments: Arc<Compartments>,
}

impl<S> Bulkhead<S> {
    pub(super) fn new(inner: S, compartments: Arc<Compartments>) -> Self {
        Self { inner, compartments }
    }

    /// A view of the compartments while they are in use.
    #[must_use]
    pub fn handle(&self) -> BulkheadHandle {
        BulkheadHandle::new(Arc::clone(&self.compartments))
    }

    service_accessors!(S);
}

impl<V, S> Service<CacheRequest<V>> for Bulkhead<S>
where
    S: Service<CacheRequest<V>, Response = CacheResponse<V>, Error = CacheError> + Clone,
{
    type Response = CacheResponse<V>;
    type Error = CacheError;
    type Future = ResponseFuture<V, S>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CacheError>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: CacheRequest<V>) -> ResponseFuture<V, S> {
        let op = request.op();
        if !op.is_sheddable() {
            return ResponseFuture::running(self.inner.call(request), None);
        }
        let Some(place) = Place::take(&self.compartments, op.class()) else {
            return ResponseFuture::rejected(CacheError::rejection(ErrorKind::BulkheadFull, None));
        };
        if place.is_permit() {
            return ResponseFuture::running(self.inner.call(request), Some(place));
        }
        // The instance that was readied goes with the call that waits; the clone in its stead is readied anew.
        let clone = self.inner.clone();
        let readied = std::mem::replace(&mut self.inner, clone);
        let deadline = clock::now().checked_add(self.compartments.settings.queue_timeout);
        ResponseFuture::waiting(place, deadline, readied, request)
    }
}

impl<S: fmt::Debug> fmt::Debug for Bulkhead<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Bulkhead");
        self.compartments.settings.debug(&mut out).field("inner", &self.inner).finish()
    }
}
