use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use cachex_core::{CacheError, CacheRequest, CacheResponse};
use tower_service::Service;

use super::future::{Measurement, ResponseFuture};
use super::table::Table;
use crate::observed::Told;

/// The middleware of a [`MetricsLayer`](super::MetricsLayer).
#[derive(Clone)]
pub struct Metrics<S> {
    inner: S,
    table: Arc<Table>,
}

impl<S> Metrics<S> {
    pub(super) fn new(inner: S, table: Arc<Table>) -> Self {
        Self { inner, table }
    }

    service_accessors!(S);
}

impl<V, S> Service<CacheRequest<V>> for Metrics<S>
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
        let measurement = Measurement::begin(Arc::clone(&self.table), request.op());
        // Counts when the future is where it is to stay: one that was still to be moved would be moved now.
        let _bytes = CountBytes { table: &self.table, before: Told::so_far() };
        ResponseFuture::new(self.inner.call(request), measurement)
    }
}

impl<S: fmt::Debug> fmt::Debug for Metrics<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("inner", &self.inner).field("name", &self.table.name()).finish()
    }
}

/// Counts the bytes that were told of since it was made, also if what told of them panicked.
pub(super) struct CountBytes<'a> {
    pub(super) table: &'a Table,
    pub(super) before: Told,
}

impl Drop for CountBytes<'_> {
    #[inline]
    fn drop(&mut self) {
        self.table.bytes(self.before.until_now());
    }
}
