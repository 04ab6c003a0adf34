use std::task::{Context, Poll};

use cachex_core::{CacheError, CacheRequest, CacheResponse};
use tower::BoxError;
use tower_service::Service;

use super::error::translate;
use super::future::ResponseFuture;

/// The middleware of an [`AdaptLayer`](super::AdaptLayer), around the wrapped layer's own.
#[derive(Clone, Copy, Debug)]
pub struct Adapt<S> {
    inner: S,
}

impl<S> Adapt<S> {
    /// Translates the errors of `inner`: for a service that is foreign by itself, rather than by a layer.
    pub const fn new(inner: S) -> Self {
        Self { inner }
    }

    service_accessors!(S);
}

impl<V, S> Service<CacheRequest<V>> for Adapt<S>
where
    S: Service<CacheRequest<V>, Response = CacheResponse<V>, Error: Into<BoxError>>,
{
    type Response = CacheResponse<V>;
    type Error = CacheError;
    type Future = ResponseFuture<S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CacheError>> {
        self.inner.poll_ready(cx).map_err(translate)
    }

    #[inline]
    fn call(&mut self, request: CacheRequest<V>) -> Self::Future {
        ResponseFuture::new(self.inner.call(request))
    }
}
