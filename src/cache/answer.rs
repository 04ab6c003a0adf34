//! The future of one operation: call the stack, read the answer.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use cachex_core::{
    CacheError, CacheRequest, CacheResponse, CacheService, ErrorKind, SharedCall, SharedStack,
};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::patterns::flights::Flights;

#[cold]
pub(super) fn polled_after_completion() -> CacheError {
    CacheError::new(ErrorKind::Internal, "a future was polled after it had failed")
}

pin_project! {
    /// The future of one cache operation, which answers with a `T`.
    ///
    /// It owns its way through the stack and borrows nothing. Dropping it cancels the operation: what has not been sent is
    /// never sent, and every layer gives back what it held; whether a request that was sent takes effect is not known.
    #[must_use = "futures do nothing unless polled"]
    pub struct Answer<V, S, T>
    where
        S: Service<CacheRequest<V>>,
    {
        #[pin]
        step: Step<V, S>,
        // For a write: the loads under way that it makes out of date when it is first polled.
        supersedes: Option<Arc<Flights<V>>>,
        read: fn(CacheResponse<V>, usize) -> Result<T, CacheError>,
        keys: usize,
    }
}

pin_project! {
    #[project = StepProj]
    enum Step<V, S>
    where
        S: Service<CacheRequest<V>>,
    {
        Call { #[pin] call: SharedCall<V, S> },
        // The arguments were refused before there was a request.
        Refused { error: Option<CacheError> },
    }
}

impl<V, S: CacheService<V>, T> Answer<V, S, T> {
    /// Sends `request` and reads the answer with `read`, which is told how many keys were asked for.
    #[inline]
    pub(crate) fn new(
        service: SharedStack<S>,
        request: Result<CacheRequest<V>, CacheError>,
        read: fn(CacheResponse<V>, usize) -> Result<T, CacheError>,
    ) -> Self {
        match request {
            Ok(request) => {
                let keys = match &request {
                    CacheRequest::Get(_) => 1,
                    other => other.keys().len(),
                };
                Self {
                    step: Step::Call { call: SharedCall::new(service, request) },
                    supersedes: None,
                    read,
                    keys,
                }
            }
            Err(error) => {
                Self { step: Step::Refused { error: Some(error) }, supersedes: None, read, keys: 0 }
            }
        }
    }

    /// Marks this as a write. Not when it is made but when it is first polled, the loads of its keys that are under way
    /// lose their right to be stored: a caller may well change the source between the two.
    pub(crate) fn superseding(mut self, flights: Arc<Flights<V>>) -> Self {
        self.supersedes = Some(flights);
        self
    }
}

impl<V, S: CacheService<V>, T> Future for Answer<V, S, T> {
    type Output = Result<T, CacheError>;

    // Inlined where it is awaited, the call of a shallow stack is compiled as one piece with what made it.
    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.step.project() {
            StepProj::Call { call } => {
                if let Some(flights) = this.supersedes.take()
                    && let Some(request) = call.as_ref().get_ref().request()
                {
                    flights.supersede_request(request);
                }
                let response = ready!(call.poll(cx))?;
                Poll::Ready((this.read)(response, *this.keys))
            }
            StepProj::Refused { error } => {
                Poll::Ready(Err(error.take().unwrap_or_else(polled_after_completion)))
            }
        }
    }
}

impl<V, S: Service<CacheRequest<V>>, T> fmt::Debug for Answer<V, S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").finish_non_exhaustive()
    }
}
