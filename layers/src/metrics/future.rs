//! The future of a call that is counted and timed.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use cachex_core::{CacheError, CacheResponse, Op, OpClass, clock};
use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::service::CountBytes;
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
        let bytes = CountBytes { table: &this.measurement.table, before: Told::so_far() };
        let polled = this.inner.poll(cx);
        drop(bytes);
        // A hit and a miss apart from all others, and without a reference to the answer: so that it is moved once, if at all.
        match polled {
            Poll::Ready(Ok(CacheResponse::Hit(_))) => this.measurement.end(Status::Hit),
            Poll::Ready(Ok(CacheResponse::Miss(_))) => this.measurement.end(Status::Miss),
            Poll::Pending => this.measurement.suspended(),
            _ => return this.measurement.end_with(polled),
        }
        polled
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
    /// `None` for a call that is not timed unless it suspends.
    start: Option<Instant>,
    op: Op,
    suspended: bool,
    ended: bool,
}

impl Measurement {
    #[inline]
    pub(super) fn begin(table: Arc<Table>, op: Op) -> Self {
        let start = (op.class() != OpClass::Read || table.is_due(op)).then(clock::now);
        Self { table, start, op, suspended: false, ended: false }
    }

    #[inline]
    fn suspended(&mut self) {
        if !self.suspended {
            self.suspended = true;
            self.start.get_or_insert_with(clock::now);
        }
    }

    /// Answered; errors are counted by kind besides.
    #[inline]
    fn end(&mut self, status: Status) {
        self.ended = true;
        self.table.count(self.op, status);
        match self.start {
            Some(start) => {
                let took = clock::fresh().saturating_duration_since(start);
                self.table.time(self.op, took, self.suspended || self.op.class() != OpClass::Read);
            }
            None => self.table.skip(self.op),
        }
    }

    /// Answered. It takes the answer and gives it back, so that its caller may keep it in one place.
    fn end_with<V>(
        &mut self,
        polled: Poll<Result<CacheResponse<V>, CacheError>>,
    ) -> Poll<Result<CacheResponse<V>, CacheError>> {
        if let Poll::Ready(answer) = &polled {
            self.end(Status::of(answer));
            if let Err(error) = answer {
                self.table.error(error.kind());
            }
        }
        polled
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
