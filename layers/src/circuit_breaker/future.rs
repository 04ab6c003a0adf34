//! The future of a call.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use cachex_core::{CacheError, CacheRequest, CacheResponse};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::guard::Guard;

pin_project! {
    /// The answer of the inner service, or a refusal.
    ///
    /// Cancel safe: a call that is dropped counts neither as a success nor as a failure, and a probe that is dropped
    /// gives its place to the next call.
    pub struct ResponseFuture<V, S>
    where
        S: Service<CacheRequest<V>>,
    {
        #[pin]
        state: State<V, S, S::Future>,
        guard: Option<Guard>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<V, S, F> {
        Refused { error: Option<CacheError> },
        // The inner service was not asked for its readiness in `poll_ready`: a clone of it is, here.
        // Boxed: it is rare, and every call would carry its size.
        Readying { call: Box<Unready<V, S>> },
        Called { #[pin] future: F },
    }
}

/// A call that has not been made yet.
pub(super) struct Unready<V, S> {
    pub(super) service: S,
    /// Whether the service was polled ready before and not called since: it is not asked again.
    pub(super) ready: bool,
    /// Gone once the call is made.
    pub(super) request: Option<CacheRequest<V>>,
}

impl<V, S> ResponseFuture<V, S>
where
    S: Service<CacheRequest<V>>,
{
    #[inline]
    pub(super) fn refused(error: CacheError) -> Self {
        Self { state: State::Refused { error: Some(error) }, guard: None }
    }

    #[inline]
    pub(super) fn readying(call: Box<Unready<V, S>>, guard: Option<Guard>) -> Self {
        Self { state: State::Readying { call }, guard }
    }

    #[inline]
    pub(super) fn called(future: S::Future, guard: Option<Guard>) -> Self {
        Self { state: State::Called { future }, guard }
    }
}

impl<V, S> Future for ResponseFuture<V, S>
where
    S: Service<CacheRequest<V>, Response = CacheResponse<V>, Error = CacheError>,
{
    type Output = Result<CacheResponse<V>, CacheError>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(guard) = this.guard {
            guard.entered();
        }
        // One place for the result, which nobody refers to: see `docs/design.md`, "Where answers are written".
        let mut polled = match this.state.as_mut().project() {
            StateProj::Called { future } => future.poll(cx),
            _ => poll_slowly(this.state.as_mut(), cx),
        };
        if let Some(guard) = this.guard {
            if matches!(polled, Poll::Ready(Ok(_))) {
                guard.succeeded();
            } else {
                polled = guard.returned(polled);
            }
        }
        polled
    }
}

/// Polls whatever is not, or not yet, a call of the inner service.
#[cold]
fn poll_slowly<V, S>(
    mut state: Pin<&mut State<V, S, S::Future>>,
    cx: &mut Context<'_>,
) -> Poll<Result<CacheResponse<V>, CacheError>>
where
    S: Service<CacheRequest<V>, Response = CacheResponse<V>, Error = CacheError>,
{
    loop {
        match state.as_mut().project() {
            StateProj::Refused { error } => {
                return Poll::Ready(Err(error.take().expect("polled after completion")));
            }
            // Readying => (Readying | Called)
            StateProj::Readying { call } => {
                if !call.ready {
                    ready!(call.service.poll_ready(cx))?;
                }
                let future = call.service.call(call.request.take().expect("polled after completion"));
                state.set(State::Called { future });
            }
            StateProj::Called { future } => return future.poll(cx),
        }
    }
}

impl<V, S> fmt::Debug for ResponseFuture<V, S>
where
    S: Service<CacheRequest<V>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
