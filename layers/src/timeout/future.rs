//! The future of a call under a time limit.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use cachex_core::{CacheError, CacheResponse, ErrorKind, clock};
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep_until};

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
        limit: Limit,
    }
}

/// How long the call may take.
enum Limit {
    /// As long as it likes.
    Unlimited,
    /// So long, from the poll on that first finds it waiting.
    After(Duration),
    /// Until then. Boxed, since it is larger than all else: a future is moved several times on its way to where it is
    /// polled, and most of those of a cache in memory never wait.
    Until(Pin<Box<Sleep>>),
}

impl<F> ResponseFuture<F> {
    #[inline]
    pub(super) fn new(inner: F, limit: Option<Duration>) -> Self {
        Self { inner: Some(inner), limit: limit.map_or(Limit::Unlimited, Limit::After) }
    }
}

impl<F, V> Future for ResponseFuture<F>
where
    F: Future<Output = Result<CacheResponse<V>, CacheError>>,
{
    type Output = F::Output;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let inner = this.inner.as_mut().as_pin_mut().expect("a timed-out future was polled again");
        // One place for the answer, which nobody refers to: see `docs/design.md`, "Where answers are written".
        let mut polled = inner.poll(cx);
        if matches!(polled, Poll::Pending) {
            polled = late(polled, this.inner, this.limit, cx);
        }
        polled
    }
}

/// The call has not been answered: out of line, so that one that is answered at once carries none of it.
#[cold]
fn late<F: Future<Output = Result<T, CacheError>>, T>(
    pending: Poll<F::Output>,
    mut inner: Pin<&mut Option<F>>,
    limit: &mut Limit,
    cx: &mut Context<'_>,
) -> Poll<F::Output> {
    if limit.poll_passed(cx).is_pending() {
        return pending;
    }
    // What took too long is gone before anyone hears of it.
    inner.set(None);
    Poll::Ready(Err(CacheError::rejection(ErrorKind::Timeout, None)))
}

impl Limit {
    fn poll_passed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // After => (Until | Unlimited)
        if let Self::After(limit) = *self {
            *self = match clock::now().checked_add(limit) {
                Some(at) => Self::Until(Box::pin(sleep_until(at))),
                None => Self::Unlimited,
            };
        }
        let Self::Until(timer) = self else { return Poll::Pending };
        // The clock decides before the timer does: tokio's timer answers "not yet" to a task that has used up its share
        // of a tick, and an inner future that does so in every poll could otherwise not be stopped.
        if clock::now() >= timer.deadline() {
            return Poll::Ready(());
        }
        timer.as_mut().poll(cx)
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
