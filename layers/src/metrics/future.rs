//! The future of a call that is counted and timed.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use cachex_core::{CacheError, CacheResponse, Op, clock};
use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::table::Table;
use crate::observed::{Status, Told};

pin_project! {
    /// The answer to one call.
    ///
    /// Cancel safe: a call that is dropped before its answer counts as `cancelled`.
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        measurement: Measurement,
    }
}

impl<F> ResponseFuture<F> {
    #[inline]
    pub(super) fn new(inner: F, measurement: Measurement) -> Self {
        Self { inner, measurement }
    }
}

impl<F, V> Future for ResponseFuture<F>
where
    F: Future<Output = Result<CacheResponse<V>, CacheError>>,
{
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.measurement.listen(|| this.inner.poll(cx)));
        this.measurement.end(&answer);
        Poll::Ready(answer)
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

/// One call under way; dropped before its end, it is counted as cancelled.
pub(super) struct Measurement {
    table: Arc<Table>,
    start: Instant,
    op: Op,
    ended: bool,
}

impl Measurement {
    #[inline]
    pub(super) fn begin(table: Arc<Table>, op: Op) -> Self {
        Self { table, start: clock::now(), op, ended: false }
    }

    /// Runs what is beneath and counts the bytes it tells of.
    #[inline]
    pub(super) fn listen<R>(&self, beneath: impl FnOnce() -> R) -> R {
        let mut told = Told::default();
        let result = told.during(beneath);
        self.table.bytes(told);
        result
    }

    #[inline]
    fn end<V>(&mut self, answer: &Result<CacheResponse<V>, CacheError>) {
        self.ended = true;
        self.table.count(self.op, Status::of(answer));
        self.table.time(self.op, clock::fresh().saturating_duration_since(self.start));
        if let Err(error) = answer {
            self.table.error(error.kind());
        }
    }
}

impl Drop for Measurement {
    #[inline]
    fn drop(&mut self) {
        if !self.ended {
            self.table.count(self.op, Status::Cancelled);
        }
    }
}
