//! The future of a call under a time limit.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use cachex_core::{CacheError, CacheResponse, ErrorKind, clock};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

pin_project! {
    /// The answer to one call, or [`ErrorKind::Timeout`].
    ///
    /// Cancel safe: dropping it drops what is beneath and the timer.
    ///
    /// # Panics
    ///
    /// When the call has to wait outside a tokio runtime with its time driver enabled, or when it is polled after it
    /// has timed out.
    pub struct ResponseFuture<F> {
        // Gone once it has taken too long.
        #[pin]
        inner: Option<F>,
        deadline: Option<Instant>,
        // Made when `inner` is first found pending. Beside the rest rather than in a state of its own: states of one enum
        // would have this future copied as a whole, timer and all, where it is made.
        #[pin]
        timer: Option<Sleep>,
    }
}

impl<F> ResponseFuture<F> {
    #[inline]
    pub(super) fn new(inner: F, deadline: Option<Instant>) -> Self {
        Self { inner: Some(inner), deadline, timer: None }
    }
}

impl<F, V> Future for ResponseFuture<F>
where
    F: Future<Output = Result<CacheResponse<V>, CacheError>>,
{
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let inner = this.inner.as_mut().as_pin_mut().expect("a timed-out future was polled again");
        if let Poll::Ready(answer) = inner.poll(cx) {
            return Poll::Ready(answer);
        }
        let Some(deadline) = *this.deadline else { return Poll::Pending };
        ready!(poll_expired(deadline, this.timer, cx));
        // What took too long is gone before anyone hears of it.
        this.inner.set(None);
        Poll::Ready(Err(CacheError::rejection(ErrorKind::Timeout, None)))
    }
}

/// Out of line, so that a call that is answered at once carries none of it.
#[cold]
fn poll_expired(deadline: Instant, mut timer: Pin<&mut Option<Sleep>>, cx: &mut Context<'_>) -> Poll<()> {
    // The clock decides before the timer does: tokio's timer answers "not yet" to a task that has used up its share of
    // a tick, and an inner future that does so in every poll could otherwise not be stopped.
    if clock::now() >= deadline {
        return Poll::Ready(());
    }
    if timer.is_none() {
        timer.set(Some(sleep_until(deadline)));
    }
    timer.as_pin_mut().map_or(Poll::Ready(()), |timer| timer.poll(cx))
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
