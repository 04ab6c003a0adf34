//! A layer of one's own: while an outage lasts, nothing reaches the store.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use cachex::{CacheError, CacheRequest, CacheResponse, CacheService, ErrorKind};
use futures_util::future::Either;
use tower_layer::Layer;
use tower_service::Service;

/// A switch, and the layer it switches.
#[derive(Clone, Default)]
pub(crate) struct Outage {
    on: Arc<AtomicBool>,
    refused: Arc<AtomicU64>,
}

impl Outage {
    pub(crate) fn begin(&self) {
        self.on.store(true, Ordering::Relaxed);
    }

    pub(crate) fn end(&self) {
        self.on.store(false, Ordering::Relaxed);
    }

    /// How many requests have met the outage.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

impl<S> Layer<S> for Outage {
    type Service = Fallible<S>;

    fn layer(&self, inner: S) -> Fallible<S> {
        Fallible { inner, outage: self.clone() }
    }
}

/// The store, as seen through the outage.
#[derive(Clone)]
pub(crate) struct Fallible<S> {
    inner: S,
    outage: Outage,
}

impl<V, S: CacheService<V>> Service<CacheRequest<V>> for Fallible<S> {
    type Response = CacheResponse<V>;
    type Error = CacheError;
    type Future = Either<S::Future, Ready<Result<CacheResponse<V>, CacheError>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CacheError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: CacheRequest<V>) -> Self::Future {
        if self.outage.on.load(Ordering::Relaxed) {
            self.outage.refused.fetch_add(1, Ordering::Relaxed);
            return Either::Right(ready(Err(CacheError::new(ErrorKind::Connection, "the store is out"))));
        }
        Either::Left(self.inner.call(request))
    }
}
