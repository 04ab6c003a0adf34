//! The service.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use cachex_core::{CacheError, CacheRequest, CacheResponse, ErrorKind, OpClass};
use tower_service::Service;

use super::future::{ResponseFuture, Wait};
use super::handle::RateLimitHandle;
use super::limits::{Admission, Limits};

/// Lets at most so many operations in a time through to `S`: see the [module](super).
#[derive(Clone)]
pub struct RateLimit<S> {
    inner: S,
    limits: Arc<Limits>,
}

/// What becomes of a call for which there is no cell.
enum NotNow<V, S> {
    Wait(Box<Wait<V, S>>),
    Refused(CacheError),
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

    /// A call that finds no cell at hand. The request comes back if there is one after all.
    #[inline(never)]
    fn ask<V>(
        &mut self,
        class: OpClass,
        (request,): (CacheRequest<V>,),
    ) -> Result<CacheRequest<V>, NotNow<V, S>>
    where
        S: Clone,
    {
        match self.limits.admit(class) {
            Admission::Pass => Ok(request),
            Admission::Wait(turn) => {
                let readied = self.take_readied();
                Err(NotNow::Wait(Box::new(Wait { turn, sleep: None, readied, request: Some(request) })))
            }
            Admission::Refuse(wait) => {
                // What was reserved beneath is not kept for a call that may come late or never.
                drop(self.take_readied());
                Err(NotNow::Refused(CacheError::rejection(ErrorKind::RateLimited, Some(wait))))
            }
        }
    }

    /// The instance that was readied. The clone that is left in its stead is readied anew.
    fn take_readied(&mut self) -> S
    where
        S: Clone,
    {
        let clone = self.inner.clone();
        std::mem::replace(&mut self.inner, clone)
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
    #[inline(always)]
    fn call(&mut self, request: CacheRequest<V>) -> ResponseFuture<V, S> {
        let op = request.op();
        // A request that may be dropped here, be it by an unwinding stack, has an address. It is then not kept in registers,
        // and its next move waits for the parts it was just written in. So it is moved away, in a tuple, to where it may.
        let request = if !op.is_sheddable() || self.limits.admit_at_once(op.class()) {
            request
        } else {
            match self.ask(op.class(), (request,)) {
                Ok(request) => request,
                Err(NotNow::Wait(wait)) => return ResponseFuture::waiting(wait),
                Err(NotNow::Refused(refusal)) => return ResponseFuture::rejected(refusal),
            }
        };
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
