//! The future of a call.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use cachex_core::{CacheError, CacheRequest, CacheResponse, ErrorKind};
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep_until};
use tower_service::Service;

use super::limits::{Progress, Turn};

pin_project! {
    /// The future of a call through a [`RateLimit`](super::RateLimit).
    ///
    /// Dropping it while it waits takes nothing from the limit.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<V, S>
    where
        S: Service<CacheRequest<V>>,
    {
        #[pin]
        state: State<V, S>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<V, S>
    where
        S: Service<CacheRequest<V>>,
    {
        Running { #[pin] call: S::Future },
        // Boxed: it is rare and large, and every call would carry its size.
        Waiting { wait: Box<Wait<V, S>> },
        Rejected { error: Option<CacheError> },
    }
}

/// A call in line.
pub(super) struct Wait<V, S> {
    pub(super) turn: Box<Turn>,
    pub(super) sleep: Option<Pin<Box<Sleep>>>,
    pub(super) readied: S,
    pub(super) request: Option<CacheRequest<V>>,
}

impl<V, S: Service<CacheRequest<V>>> ResponseFuture<V, S> {
    #[inline]
    pub(super) fn running(call: S::Future) -> Self {
        Self { state: State::Running { call } }
    }

    #[inline]
    pub(super) fn waiting(wait: Box<Wait<V, S>>) -> Self {
        Self { state: State::Waiting { wait } }
    }

    #[inline]
    pub(super) fn rejected(error: CacheError) -> Self {
        Self { state: State::Rejected { error: Some(error) } }
    }
}

impl<V, S> Future for ResponseFuture<V, S>
where
    S: Service<CacheRequest<V>, Response = CacheResponse<V>, Error = CacheError>,
{
    type Output = Result<CacheResponse<V>, CacheError>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        match state.as_mut().project() {
            StateProj::Running { call } => call.poll(cx),
            _ => state.poll_late(cx),
        }
    }
}

impl<V, S> State<V, S>
where
    S: Service<CacheRequest<V>, Response = CacheResponse<V>, Error = CacheError>,
{
    /// Polls a call that could not run at once. Apart from [`ResponseFuture::poll`], which is to stay small.
    #[cold]
    fn poll_late(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<CacheResponse<V>, CacheError>> {
        // Waiting => (Waiting | Running | Rejected)
        if let StateProj::Waiting { wait } = self.as_mut().project() {
            let Wait { turn, sleep, readied, request } = &mut **wait;
            let next = loop {
                let timer = sleep.get_or_insert_with(|| Box::pin(sleep_until(turn.due())));
                ready!(timer.as_mut().poll(cx));
                match turn.advance() {
                    Progress::Pass => {
                        break Self::Running { call: readied.call(request.take().expect(POLLED_AGAIN)) };
                    }
                    Progress::Again => *sleep = None,
                    Progress::Refuse(wait) => {
                        let error = CacheError::rejection(ErrorKind::RateLimited, Some(wait));
                        break Self::Rejected { error: Some(error) };
                    }
                }
            };
            self.set(next);
        }
        match self.project() {
            StateProj::Running { call } => call.poll(cx),
            StateProj::Rejected { error } => Poll::Ready(Err(error.take().expect(POLLED_AGAIN))),
            StateProj::Waiting { .. } => unreachable!("a wait that is over goes on as another state"),
        }
    }
}

const POLLED_AGAIN: &str = "the future was polled after it had ended";

impl<V, S: Service<CacheRequest<V>>> fmt::Debug for ResponseFuture<V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Running { .. } => "running",
            State::Waiting { .. } => "waiting",
            State::Rejected { .. } => "rejected",
        };
        f.debug_struct("rate_limit::ResponseFuture").field("state", &state).finish()
    }
}
