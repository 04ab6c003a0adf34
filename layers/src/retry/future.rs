//! The future of a call that may be tried again.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use cachex_core::{CacheError, CacheRequest, CacheResponse, Effect, clock};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tower_service::Service;

use super::layer::Past;
use super::service::Shared;

/// A wait too long for the clock to hold.
const FAR_FUTURE: Duration = Duration::from_secs(86_400 * 365);

pin_project! {
    /// The answer to one request, after as many attempts as it took.
    ///
    /// Dropping it cancels the attempt under way, or the wait for the next one.
    ///
    /// # Panics
    ///
    /// When it has to wait outside a tokio runtime with its time driver enabled.
    pub struct ResponseFuture<V, S>
    where
        S: Service<CacheRequest<V>>,
    {
        #[pin]
        state: State<S, S::Future>,
        request: CacheRequest<V>,
        shared: Arc<Shared<S>>,
        past: Past,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, F> {
        Attempt { #[pin] attempt: F },
        // These two are boxed: they are rare and large, and every call would carry their size.
        Backoff { sleep: Pin<Box<Sleep>> },
        Readying { service: Box<S> },
    }
}

impl<V, S: Service<CacheRequest<V>>> ResponseFuture<V, S> {
    #[inline]
    pub(super) fn new(
        first: S::Future,
        request: CacheRequest<V>,
        shared: Arc<Shared<S>>,
        started: Option<Instant>,
    ) -> Self {
        let past = Past { attempts: 1, in_doubt: false, started };
        Self { state: State::Attempt { attempt: first }, request, shared, past }
    }
}

impl<V, S> Future for ResponseFuture<V, S>
where
    S: Service<CacheRequest<V>, Response = CacheResponse<V>, Error = CacheError> + Clone,
{
    type Output = Result<CacheResponse<V>, CacheError>;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // One place for the answer, which nobody refers to: see `docs/design.md`, "Where answers are written".
        let mut polled = match self.as_mut().project().state.project() {
            StateProj::Attempt { attempt } => attempt.poll(cx),
            _ => self.as_mut().poll_next(cx),
        };
        if matches!(polled, Poll::Ready(Err(_))) {
            polled = self.again(polled, cx);
        }
        polled
    }
}

impl<V, S> ResponseFuture<V, S>
where
    S: Service<CacheRequest<V>, Response = CacheResponse<V>, Error = CacheError> + Clone,
{
    /// An attempt failed: tries again, for as long as the policy allows.
    #[cold]
    fn again(
        mut self: Pin<&mut Self>,
        mut polled: Poll<Result<CacheResponse<V>, CacheError>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<CacheResponse<V>, CacheError>> {
        while let Poll::Ready(Err(error)) = polled {
            self.as_mut().back_off(error)?;
            polled = self.as_mut().poll_next(cx);
        }
        polled
    }

    /// Attempt => (Backoff | failed). Any other state stays: its error was one of readiness, which is terminal.
    fn back_off(self: Pin<&mut Self>, error: CacheError) -> Result<(), CacheError> {
        let mut this = self.project();
        if !matches!(this.state.as_mut().project(), StateProj::Attempt { .. }) {
            return Err(error);
        }
        let Shared { policy, state, .. } = &**this.shared;
        let in_doubt = error.effect() == Effect::Unknown;
        let delay = policy.next(state, error, this.request.is_idempotent(), *this.past)?;
        this.past.in_doubt |= in_doubt;
        // A new reading of the clock: the attempt may have taken all of this poll's time.
        let now = clock::fresh();
        let until = now.checked_add(delay).unwrap_or(now + FAR_FUTURE);
        this.state.set(State::Backoff { sleep: Box::pin(sleep_until(until)) });
        Ok(())
    }

    /// Polls whatever is under way, be it no attempt.
    #[cold]
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<CacheResponse<V>, CacheError>> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StateProj::Attempt { attempt } => return attempt.poll(cx),
                // Backoff => Readying
                StateProj::Backoff { sleep } => {
                    ready!(sleep.as_mut().poll(cx));
                    this.state.set(State::Readying { service: Box::new(this.shared.prototype.clone()) });
                }
                // Readying => Attempt, or done: an error of readiness is terminal.
                StateProj::Readying { service } => {
                    if let Err(error) = ready!(service.poll_ready(cx)) {
                        return Poll::Ready(Err(this.past.settle(error).exhausted(this.past.attempts)));
                    }
                    this.past.attempts += 1;
                    crate::observed::attempt(this.past.attempts);
                    let attempt = service.call(this.request.clone());
                    this.state.set(State::Attempt { attempt });
                }
            }
        }
    }
}

impl<V, S: Service<CacheRequest<V>>> fmt::Debug for ResponseFuture<V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").field("attempts", &self.past.attempts).finish_non_exhaustive()
    }
}
