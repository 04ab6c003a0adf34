//! The service.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use cachex_core::{CacheError, CacheRequest, CacheResponse, ErrorKind};
use tower_service::Service;

use super::future::{ResponseFuture, Wait};
use super::handle::RateLimitHandle;
use super::limits::{Admission, Limits, Turn};

/// Lets at most so many operations in a time through to `S`: see the [module](super).
#[derive(Clone)]
pub struct RateLimit<S> {
    inner: S,
    limits: Arc<Limits>,
}

impl<S> RateLimit<S> {
    pub(super) fn new(inner: S, limits: Arc<Limits>) -> Self {
        Self { inner, limits }
    }

    /// A view of the limits while they are in use.
    #[must_use]
    pub fn handle(&self) -> RateLimitHandle {
        RateLimitHandle::new(Arc::clone(&self.limits))
    }

    service_accessors!(S);

    /// The call that waits takes the instance that was readied. The clone that is left in its stead is readied anew.
    #[cold]
    fn queue<V>(&mut self, turn: Box<Turn>, request: Option<CacheRequest<V>>) -> Box<Wait<V, S>>
    where
        S: Clone,
    {
        let clone = self.inner.clone();
        let readied = std::mem::replace(&mut self.inner, clone);
        Box::new(Wait { turn, sleep: None, readied, request })
    }

    /// What was reserved beneath is not kept for a call that may come late or never.
    #[cold]
    fn refuse<V>(&mut self, wait: Duration) -> ResponseFuture<V, S>
    where
        S: Service<CacheRequest<V>> + Clone,
    {
        self.inner = self.inner.clone();
        ResponseFuture::rejected(CacheError::rejection(ErrorKind::RateLimited, Some(wait)))
    }
}

impl<V, S> Service<CacheRequest<V>> for RateLimit<S>
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
    // returned from a function, the whole of it would be copied, which costs more than the decision.
    #[inline]
    fn call(&mut self, request: CacheRequest<V>) -> ResponseFuture<V, S> {
        let op = request.op();
        if op.is_sheddable() {
            match self.limits.admit(op.class()) {
                Admission::Pass => {}
                Admission::Wait(turn) => return ResponseFuture::waiting(self.queue(turn, Some(request))),
                Admission::Refuse(wait) => return self.refuse(wait),
            }
        }
        // The one place where the inner service is called: its future can then be written where it is to stay.
        ResponseFuture::running(self.inner.call(request))
    }
}

impl<S: fmt::Debug> fmt::Debug for RateLimit<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("RateLimit");
        self.limits.settings.debug(&mut out).field("inner", &self.inner).finish()
    }
}
