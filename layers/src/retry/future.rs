//! The future of a call that may be tried again.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use cachex_core::{CacheError, CacheRequest, CacheResponse, clock};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tower_service::Service;

use super::service::Shared;

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
        attempts: u32,
        // Read only where time is limited: a reading is dear.
        started: Option<Instant>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, F> {
        Attempt { #[pin] attempt: F },
        Backoff { #[pin] sleep: Sleep },
        Readying { service: S },
    }
}

impl<V, S: Service<CacheRequest<V>>> ResponseFuture<V, S> {
    #[inline]
    pub(super) fn new(first: S::Future, request: CacheRequest<V>, shared: Arc<Shared<S>>) -> Self {
        let started = shared.policy.max_elapsed.map(|_| clock::now());
        Self { state: State::Attempt { attempt: first }, request, shared, attempts: 1, started }
    }
}

impl<V, S> Future for ResponseFuture<V, S>
where
    S: Service<CacheRequest<V>, Response = CacheResponse<V>, Error = CacheError> + Clone,
{
    type Output = Result<CacheResponse<V>, CacheError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                // Attempt => (done | Backoff)
                StateProj::Attempt { attempt } => match ready!(attempt.poll(cx)) {
                    Ok(response) => return Poll::Ready(Ok(response)),
                    Err(error) => {
                        let Shared { policy, state, .. } = &**this.shared;
                        let is_idempotent = this.request.is_idempotent();
                        let delay =
                            policy.next(state, error, is_idempotent, *this.attempts, *this.started)?;
                        // A new reading of the clock: the attempt may have taken all of this poll's time.
                        this.state.set(State::Backoff { sleep: sleep_until(clock::fresh() + delay) });
                    }
                },
                // Backoff => Readying
                StateProj::Backoff { sleep } => {
                    ready!(sleep.poll(cx));
                    this.state.set(State::Readying { service: this.shared.prototype.clone() });
                }
                // Readying => Attempt, or done: an error of readiness is terminal.
                StateProj::Readying { service } => {
                    ready!(service.poll_ready(cx))?;
                    *this.attempts += 1;
                    crate::observed::attempt(*this.attempts);
                    let attempt = service.call(this.request.clone());
                    this.state.set(State::Attempt { attempt });
                }
            }
        }
    }
}

impl<V, S: Service<CacheRequest<V>>> fmt::Debug for ResponseFuture<V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").field("attempts", &self.attempts).finish_non_exhaustive()
    }
}
