use std::task::{Context, Poll};

use cachex_core::{CacheError, CacheRequest, CacheResponse};
use tower_service::Service;

use super::future::ResponseFuture;
use super::layer::Limits;

/// The middleware of a [`TimeoutLayer`](super::TimeoutLayer).
///
/// Waiting in `poll_ready` is not limited: the limit begins with the poll that first finds the call waiting.
#[derive(Clone, Copy, Debug)]
pub struct Timeout<S> {
    inner: S,
    limits: Limits,
}

impl<S> Timeout<S> {
    pub(super) fn new(inner: S, limits: Limits) -> Self {
        Self { inner, limits }
    }

    service_accessors!(S);
}

impl<V, S> Service<CacheRequest<V>> for Timeout<S>
where
    S: Service<CacheRequest<V>, Response = CacheResponse<V>, Error = CacheError>,
{
    type Response = CacheResponse<V>;
    type Error = CacheError;
    type Future = ResponseFuture<S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CacheError>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: CacheRequest<V>) -> Self::Future {
        let limit = self.limits.of(request.class());
        ResponseFuture::new(self.inner.call(request), limit)
    }
}
