//! The service.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use cachex_core::{CacheError, CacheRequest, CacheResponse, ErrorKind, OpClass, clock};
use tower_service::Service;

use super::future::{ResponseFuture, Wait};
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

    /// A call that found no permit at once waits in the queue, unless that is full.
    ///
    /// The call that waits takes the instance that was readied. The clone that is left in its stead is readied anew.
    #[cold]
    fn late<V>(
        &mut self,
        class: OpClass,
        request: Option<CacheRequest<V>>,
    ) -> Result<Box<Wait<V, S>>, CacheError>
    where
        S: Clone,
    {
        let place = Place::take(&self.compartments, class);
        // What was reserved beneath is not kept for a call that may come late or never.
        let clone = self.inner.clone();
        let readied = std::mem::replace(&mut self.inner, clone);
        let Some(place) = place else {
            return Err(CacheError::rejection(ErrorKind::BulkheadFull, None));
        };
        let deadline = clock::now().checked_add(self.compartments.settings.queue_timeout);
        Ok(Box::new(Wait { place: Some(place), deadline, sleep: None, readied, request }))
    }
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

    // The caller keeps the future where it awaits it. Inlined there, only the fields of the state it is in are written;
    // returned from a function, the whole of it would be copied, which costs as much as the permit itself.
    #[inline(always)]
    fn call(&mut self, request: CacheRequest<V>) -> ResponseFuture<V, S> {
        let op = request.op();
        let permit = if op.is_sheddable() {
            let permit = Place::at_once(&self.compartments, op.class());
            if permit.is_none() {
                // Wrapped, the request is moved there: see `Place::at_once`.
                return match self.late(op.class(), Some(request)) {
                    Ok(wait) => ResponseFuture::waiting(wait),
                    Err(refusal) => ResponseFuture::rejected(refusal),
                };
            }
            permit
        } else {
            None
        };
        // The one place where the inner service is called: its future can then be written where it is to stay.
        ResponseFuture::running(self.inner.call(request), permit)
    }
}

impl<S: fmt::Debug> fmt::Debug for Bulkhead<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Bulkhead");
        self.compartments.settings.debug(&mut out).field("inner", &self.inner).finish()
    }
}
