//! The service.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use cachex_core::{CacheError, CacheRequest, CacheResponse, CacheService};
use tower_service::Service;

use super::future::ResponseFuture;
use super::handle::BatchHandle;
use super::lanes::Lanes;
use super::layer::Shared;

/// Sends reads of one key that meet as one read of many through `S`: see the [module](super).
///
/// A clone is one reference count and shares the lanes. It is always ready: each call readies an instance of the inner
/// service of its own, within its future.
pub struct Batch<S> {
    stack: Arc<Stack<S>>,
}

struct Stack<S> {
    inner: S,
    shared: Arc<Shared>,
    /// The lanes for the type of value that was asked for first: a `Lanes<V, S>`.
    lanes: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl<S> Batch<S> {
    pub(super) fn new(inner: S, shared: Arc<Shared>) -> Self {
        Self { stack: Arc::new(Stack { inner, shared, lanes: OnceLock::new() }) }
    }

    /// A view of the lanes while they are in use.
    #[must_use]
    pub fn handle(&self) -> BatchHandle {
        BatchHandle::new(Arc::clone(&self.stack.shared))
    }

    /// The service beneath.
    #[must_use]
    pub fn get_ref(&self) -> &S {
        &self.stack.inner
    }

    /// The lanes for values of `V`; `None` when another type came first.
    #[inline]
    fn lanes<V>(&self) -> Option<Arc<Lanes<V, S>>>
    where
        V: Send + Sync + 'static,
        S: CacheService<V>,
    {
        let make = || -> Arc<dyn Any + Send + Sync> {
            Arc::new(Lanes::<V, S>::new(self.stack.inner.clone(), Arc::clone(&self.stack.shared)))
        };
        let lanes = self.stack.lanes.get_or_init(make);
        if !(**lanes).is::<Lanes<V, S>>() {
            return None;
        }
        Arc::clone(lanes).downcast().ok()
    }
}

/// A reference count, whatever `S` is.
impl<S> Clone for Batch<S> {
    fn clone(&self) -> Self {
        Self { stack: Arc::clone(&self.stack) }
    }
}

impl<V, S> Service<CacheRequest<V>> for Batch<S>
where
    V: Send + Sync + 'static,
    S: CacheService<V>,
{
    type Response = CacheResponse<V>;
    type Error = CacheError;
    type Future = ResponseFuture<V, S>;

    #[inline]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), CacheError>> {
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, request: CacheRequest<V>) -> ResponseFuture<V, S> {
        if let CacheRequest::Get(get) = &request
            && let Some(lanes) = self.lanes()
        {
            return ResponseFuture::asking(lanes, get.key.clone());
        }
        ResponseFuture::passing(self.stack.inner.clone(), request)
    }
}

impl<S: fmt::Debug> fmt::Debug for Batch<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Batch");
        self.stack.shared.settings.debug(&mut out).field("inner", &self.stack.inner).finish()
    }
}
