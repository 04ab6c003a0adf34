use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use cachex_core::{CacheError, CacheRequest, CacheResponse, OpClass, clock};
use tower_service::Service;

use super::future::ResponseFuture;
use super::limits::Limits;

/// The middleware of a [`RateLimitLayer`](super::RateLimitLayer).
#[derive(Clone, Debug)]
pub struct RateLimit<S> {
    inner: S,
    limits: Arc<Limits>,
}

impl<S> RateLimit<S> {
    pub(super) fn new(inner: S, limits: Arc<Limits>) -> Self {
        Self { inner, limits }
    }

    service_accessors!(S);
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

    #[inline]
    fn call(&mut self, request: CacheRequest<V>) -> Self::Future {
        let class = request.class();
        match self.limits.take(class) {
            Ok(()) => ResponseFuture::admitted(self.inner.call(request)),
            Err(wait) => self.wait_or_refuse(request, class, wait),
        }
    }
}

impl<S: Clone> RateLimit<S> {
    #[cold]
    fn wait_or_refuse<V>(
        &mut self,
        request: CacheRequest<V>,
        class: OpClass,
        wait: Duration,
    ) -> ResponseFuture<V, S>
    where
        S: Service<CacheRequest<V>>,
    {
        match self.limits.max_wait {
            Some(max_wait) if wait <= max_wait => {
                let now = clock::now();
                // The instance that was readied goes along to be called later; an unreadied clone stays.
                let unready = self.inner.clone();
                let ready = mem::replace(&mut self.inner, unready);
                ResponseFuture::waiting(
                    ready,
                    request,
                    class,
                    Arc::clone(&self.limits),
                    now + wait,
                    now + max_wait,
                )
            }
            _ => ResponseFuture::refused(self.limits.refuse(wait)),
        }
    }
}
