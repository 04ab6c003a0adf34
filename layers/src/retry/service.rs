use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use cachex_core::{CacheError, CacheRequest, CacheResponse, clock};
use tokio::time::Instant;
use tower_service::Service;

use super::future::ResponseFuture;
use super::layer::{Policy, RetryHandle, State};

/// The middleware of a [`RetryLayer`](super::RetryLayer).
///
/// The first attempt goes to the instance that was readied. Each further one goes to a fresh clone, which is readied
/// first.
pub struct Retry<S> {
    inner: S,
    shared: Arc<Shared<S>>,
}

/// All that a call in flight needs, in one reference count.
#[derive(Debug)]
pub(super) struct Shared<S> {
    pub(super) policy: Policy,
    pub(super) state: Arc<State>,
    /// Never readied and never called: what further attempts are cloned from.
    pub(super) prototype: S,
}

impl<S> Shared<S> {
    /// The request to keep, the one to send, and the time where that is limited.
    #[inline(never)]
    fn begin<V>(
        &self,
        (request,): (CacheRequest<V>,),
    ) -> (CacheRequest<V>, CacheRequest<V>, Option<Instant>) {
        let started = self.policy.max_elapsed.map(|_| clock::now());
        let first = request.clone();
        (request, first, started)
    }
}

impl<S: Clone> Retry<S> {
    pub(super) fn new(inner: S, policy: Policy, state: Arc<State>) -> Self {
        Self { shared: Arc::new(Shared { policy, state, prototype: inner.clone() }), inner }
    }
}

impl<S> Retry<S> {
    /// The service beneath. There is no way to change it: further attempts go to clones of what was given at first.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The service beneath, without this layer.
    pub fn into_inner(self) -> S {
        self.inner
    }

    /// The live counters, shared with the layer.
    #[must_use]
    pub fn handle(&self) -> RetryHandle {
        RetryHandle { state: Arc::clone(&self.shared.state) }
    }
}

/// Readiness is not inherited: it belongs to the clone of `inner`, which starts without.
impl<S: Clone> Clone for Retry<S> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), shared: Arc::clone(&self.shared) }
    }
}

impl<S: fmt::Debug> fmt::Debug for Retry<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("inner", &self.inner)
            .field("policy", &self.shared.policy)
            .finish_non_exhaustive()
    }
}

impl<V, S> Service<CacheRequest<V>> for Retry<S>
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

    #[inline(always)]
    fn call(&mut self, request: CacheRequest<V>) -> Self::Future {
        self.shared.state.budget.deposit();
        // Nothing on the way of a read that is not timed can panic or takes the request's address: it is written once,
        // where it is to stay. See `Place::at_once` of the bulkhead.
        let (request, first, started) = match request {
            CacheRequest::Get(get) if self.shared.policy.max_elapsed.is_none() => {
                let first = CacheRequest::Get(get.clone());
                (CacheRequest::Get(get), first, None)
            }
            request => self.shared.begin((request,)),
        };
        let first = self.inner.call(first);
        ResponseFuture::new(first, request, Arc::clone(&self.shared), started)
    }
}
