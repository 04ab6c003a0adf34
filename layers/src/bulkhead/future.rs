//! The future of a call.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use cachex_core::{CacheError, CacheRequest, CacheResponse, ErrorKind};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tower_service::Service;

use super::place::Place;

pin_project! {
    /// The future of a call through a [`Bulkhead`](super::Bulkhead).
    ///
    /// Dropping it at any time gives back the permit, or the place in the queue.
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
        // Fields drop in this order: a cancelled call is over before its permit is free.
        Running { #[pin] call: S::Future, place: Option<Place> },
        // Boxed: it is rare and large, and every call would carry its size.
        Waiting { wait: Box<Wait<V, S>> },
        Rejected { error: Option<CacheError> },
    }
}

/// A call in the queue.
pub(super) struct Wait<V, S> {
    pub(super) place: Option<Place>,
    pub(super) deadline: Option<Instant>,
    pub(super) sleep: Option<Pin<Box<Sleep>>>,
    pub(super) readied: S,
    pub(super) request: Option<CacheRequest<V>>,
}

impl<V, S: Service<CacheRequest<V>>> ResponseFuture<V, S> {
    #[inline]
    pub(super) fn running(call: S::Future, place: Option<Place>) -> Self {
        Self { state: State::Running { call, place } }
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
            StateProj::Running { call, place } => poll_running(call, place, cx),
            _ => state.poll_late(cx),
        }
    }
}

/// Polls a call that runs, and gives its permit back when it is over.
#[inline(always)]
fn poll_running<F: Future>(
    call: Pin<&mut F>,
    place: &mut Option<Place>,
    cx: &mut Context<'_>,
) -> Poll<F::Output> {
    // Out of the future while the call is polled: should it panic, the permit is free at once.
    let held = place.take();
    // Nobody refers to the answer: see `docs/design.md`, "Where answers are written".
    let answer = call.poll(cx);
    if matches!(answer, Poll::Pending) {
        *place = held;
    }
    answer
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
            let Wait { place, deadline, sleep, readied, request } = &mut **wait;
            let waiting = place.as_mut().expect(POLLED_AGAIN);
            if !waiting.poll_permit(cx.waker()) {
                let Some(deadline) = *deadline else { return Poll::Pending };
                let timer = sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
                ready!(timer.as_mut().poll(cx));
            }
            let next = if waiting.expire() {
                let place = place.take();
                Self::Running { call: readied.call(request.take().expect(POLLED_AGAIN)), place }
            } else {
                Self::Rejected { error: Some(CacheError::rejection(ErrorKind::BulkheadFull, None)) }
            };
            self.set(next);
        }
        match self.project() {
            StateProj::Running { call, place } => poll_running(call, place, cx),
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
        f.debug_struct("bulkhead::ResponseFuture").field("state", &state).finish()
    }
}
