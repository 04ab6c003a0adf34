use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use cachex_core::{CacheError, CacheRequest, CacheResponse};
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
        let first = self.inner.call(request.clone());
        ResponseFuture::new(first, request, Arc::clone(&self.shared))
    }
}
