//! The future of a call.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use cachex_core::{CacheError, CacheRequest, CacheResponse, CacheService, ErrorKind, Key};
use pin_project_lite::pin_project;

use super::group::Told;
use super::lanes::{Baton, Entered, Lanes, Seat, enter};

pin_project! {
    /// The future of a call through a [`Batch`](super::Batch).
    ///
    /// A read enters its lane when the future is first polled. Dropping the future costs nobody else anything: a place
    /// that waits is given up, a batch under way goes on for the others and is dropped when nobody is left, and a read
    /// that passes alone leaves its lane.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<V, S>
    where
        V: Send,
        V: Sync,
        V: 'static,
        S: CacheService<V>,
    {
        #[pin]
        state: State<V, S>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<V, S>
    where
        V: Send,
        V: Sync,
        V: 'static,
        S: CacheService<V>,
    {
        Asking { read: Option<(Arc<Lanes<V, S>>, Key)> },
        Waiting { seat: Seat<V, S> },
        Readying { inner: S, request: Option<CacheRequest<V>>, baton: Option<Baton<V, S>> },
        // Fields drop in this order: a cancelled call is over before its lane goes on.
        Calling { #[pin] call: S::Future, baton: Option<Baton<V, S>> },
        Refused,
    }
}

impl<V, S> ResponseFuture<V, S>
where
    V: Send + Sync + 'static,
    S: CacheService<V>,
{
    #[inline]
    pub(super) fn asking(lanes: Arc<Lanes<V, S>>, key: Key) -> Self {
        Self { state: State::Asking { read: Some((lanes, key)) } }
    }

    #[inline]
    pub(super) fn passing(inner: S, request: CacheRequest<V>) -> Self {
        Self { state: State::Readying { inner, request: Some(request), baton: None } }
    }
}

impl<V, S> Future for ResponseFuture<V, S>
where
    V: Send + Sync + 'static,
    S: CacheService<V>,
{
    type Output = Result<CacheResponse<V>, CacheError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                // Asking => (Readying | Waiting | Refused)
                StateProj::Asking { read } => {
                    let (lanes, key) = read.take().expect(POLLED_AGAIN);
                    match enter(lanes, &key, cx.waker()) {
                        Entered::Alone(baton) => State::alone(baton, key),
                        Entered::Waiting(seat) => {
                            // The waker is left there already.
                            state.set(State::Waiting { seat });
                            return Poll::Pending;
                        }
                        Entered::Full => State::Refused,
                    }
                }
                // Waiting => (Waiting | Readying | over)
                StateProj::Waiting { seat } => match ready!(seat.poll(cx.waker())) {
                    Told::Answer(answer) => return Poll::Ready(answer),
                    Told::Alone(key) => State::alone(Baton::none(Arc::clone(seat.lanes())), key),
                },
                // Readying => (Readying | Calling | over)
                StateProj::Readying { inner, request, baton } => {
                    // Out of the future while the inner service runs: should it panic, the lane goes on at once.
                    let held = baton.take();
                    match inner.poll_ready(cx) {
                        Poll::Pending => {
                            *baton = held;
                            return Poll::Pending;
                        }
                        Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                        Poll::Ready(Ok(())) => {
                            let call = inner.call(request.take().expect(POLLED_AGAIN));
                            State::Calling { call, baton: held }
                        }
                    }
                }
                // Calling => (Calling | over)
                StateProj::Calling { call, baton } => {
                    let held = baton.take();
                    let answer = call.poll(cx);
                    match (&answer, &held) {
                        (Poll::Pending, _) => *baton = held,
                        (Poll::Ready(answer), Some(held)) => held.lanes().fence.observe(answer),
                        (Poll::Ready(_), None) => {}
                    }
                    return answer;
                }
                StateProj::Refused => {
                    return Poll::Ready(Err(CacheError::rejection(ErrorKind::Overloaded, None)));
                }
            };
            state.set(next);
        }
    }
}

impl<V, S> State<V, S>
where
    V: Send + Sync + 'static,
    S: CacheService<V>,
{
    #[inline]
    fn alone(baton: Baton<V, S>, key: Key) -> Self {
        let inner = baton.lanes().inner.clone();
        Self::Readying { inner, request: Some(CacheRequest::get(key)), baton: Some(baton) }
    }
}

const POLLED_AGAIN: &str = "the future was polled after it had ended";

impl<V, S> fmt::Debug for ResponseFuture<V, S>
where
    V: Send + Sync + 'static,
    S: CacheService<V>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Asking { .. } => "asking",
            State::Waiting { .. } => "waiting",
            State::Readying { .. } => "readying",
            State::Calling { .. } => "calling",
            State::Refused => "refused",
        };
        f.debug_struct("batch::ResponseFuture").field("state", &state).finish()
    }
}
