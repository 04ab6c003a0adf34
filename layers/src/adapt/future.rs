//! The future of a call through a foreign layer.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use cachex_core::{CacheError, CacheResponse};
use pin_project_lite::pin_project;
use tower::BoxError;

use super::error::translate;

pin_project! {
    /// The answer to one call, its error translated.
    ///
    /// As cancel safe as the wrapped layer's own future.
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
    }
}

impl<F> ResponseFuture<F> {
    #[inline]
    pub(super) fn new(inner: F) -> Self {
        Self { inner }
    }
}

impl<F, V, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<CacheResponse<V>, E>>,
    E: Into<BoxError>,
{
    type Output = Result<CacheResponse<V>, CacheError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().inner.poll(cx).map_err(translate)
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
