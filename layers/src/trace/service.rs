use std::task::{Context, Poll};

use cachex_core::{CacheError, CacheRequest, CacheResponse};
use tower_service::Service;

use super::future::ResponseFuture;
use super::layer::Settings;
use super::watch::Watch;

/// The middleware of a [`TraceLayer`](super::TraceLayer).
#[derive(Clone, Copy, Debug)]
pub struct Trace<S> {
    inner: S,
    settings: Settings,
}

impl<S> Trace<S> {
    pub(super) fn new(inner: S, settings: Settings) -> Self {
        Self { inner, settings }
    }

    service_accessors!(S);
}

impl<V, S> Service<CacheRequest<V>> for Trace<S>
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
        if let Some(watch) = Watch::begin(self.settings, &request) {
            return self.call_watched(request, watch);
        }
        ResponseFuture::new(self.inner.call(request), None)
    }
}

impl<S> Trace<S> {
    /// Out of line, so that a call nobody listens to carries none of it.
    #[inline(never)]
    fn call_watched<V>(
        &mut self,
        request: CacheRequest<V>,
        mut watch: Box<Watch>,
    ) -> ResponseFuture<S::Future>
    where
        S: Service<CacheRequest<V>, Response = CacheResponse<V>, Error = CacheError>,
    {
        let inner = watch.during(|| self.inner.call(request));
        ResponseFuture::new(inner, Some(watch))
    }
}
