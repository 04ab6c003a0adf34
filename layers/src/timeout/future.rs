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
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F> {
        Unlimited {
            #[pin]
            inner: F,
        },
        Limited {
            #[pin]
            inner: F,
            deadline: Instant,
            // Made when `inner` is first found pending.
            #[pin]
            timer: Option<Sleep>,
        },
        Expired,
    }
}

impl<F> ResponseFuture<F> {
    #[inline]
    pub(super) fn new(inner: F, deadline: Option<Instant>) -> Self {
        let state = match deadline {
            None => State::Unlimited { inner },
            Some(deadline) => State::Limited { inner, deadline, timer: None },
        };
        Self { state }
    }
}

impl<F, V> Future for ResponseFuture<F>
where
    F: Future<Output = Result<CacheResponse<V>, CacheError>>,
{
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        match state.as_mut().project() {
            StateProj::Unlimited { inner } => return inner.poll(cx),
            StateProj::Limited { inner, deadline, timer } => {
                if let Poll::Ready(answer) = inner.poll(cx) {
                    return Poll::Ready(answer);
                }
                ready!(poll_expired(*deadline, timer, cx));
            }
            StateProj::Expired => panic!("a timed-out future was polled again"),
        }
        // Limited => Expired: what took too long is gone before anyone hears of it.
        state.set(State::Expired);
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
