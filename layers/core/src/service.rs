//! Who answers: the alias every layer is written against, and its erased form.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower_service::Service;

use crate::error::CacheError;
use crate::request::CacheRequest;
use crate::response::CacheResponse;
use crate::shared::{SharedCall, SharedStack};

/// A tower service that answers cache requests: a layer over another one, or a store.
///
/// An alias: it is implemented for everything that fits and never by hand.
pub trait CacheService<V>:
    Service<CacheRequest<V>, Response = CacheResponse<V>, Error = CacheError, Future: Send>
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<V, S> CacheService<V> for S where
    S: Service<CacheRequest<V>, Response = CacheResponse<V>, Error = CacheError, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// The future of an erased call.
pub type BoxFuture<V> = Pin<Box<dyn Future<Output = Result<CacheResponse<V>, CacheError>> + Send>>;

/// Any [`CacheService`] behind one type: for struct fields, and for stacks that are put together at run time.
///
/// A clone is one reference count, however deep the stack. A call costs one box. It is always ready: a call waits for the
/// readiness of the stack beneath inside its future ([`SharedCall`]), so nothing that was reserved in `poll_ready` can leak
/// through an idle handle.
pub struct BoxCacheService<V>(Arc<dyn Erased<V>>);

trait Erased<V>: Send + Sync {
    fn call_boxed(&self, request: CacheRequest<V>) -> BoxFuture<V>;
}

impl<V, S> Erased<V> for SharedStack<S>
where
    S: CacheService<V>,
    V: Send + Sync + 'static,
{
    #[inline]
    fn call_boxed(&self, request: CacheRequest<V>) -> BoxFuture<V> {
        Box::pin(SharedCall::new(self.clone(), request))
    }
}

impl<V: Send + Sync + 'static> BoxCacheService<V> {
    /// Erases the type of a stack.
    pub fn new<S: CacheService<V>>(service: S) -> Self {
        Self(Arc::new(SharedStack::new(service)))
    }
}

/// The instance that is lent is shared with the stack's other handles.
impl<V, S> From<SharedStack<S>> for BoxCacheService<V>
where
    V: Send + Sync + 'static,
    S: CacheService<V>,
{
    fn from(stack: SharedStack<S>) -> Self {
        Self(Arc::new(stack))
    }
}

impl<V> Clone for BoxCacheService<V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<V> fmt::Debug for BoxCacheService<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BoxCacheService")
    }
}

impl<V> Service<CacheRequest<V>> for BoxCacheService<V> {
    type Response = CacheResponse<V>;
    type Error = CacheError;
    type Future = BoxFuture<V>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), CacheError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: CacheRequest<V>) -> BoxFuture<V> {
        self.0.call_boxed(request)
    }
}
