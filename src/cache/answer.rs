//! The future of one operation: call the stack, read the answer.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use cachex_core::{
    CacheError, CacheRequest, CacheResponse, CacheService, Entry, ErrorKind, Op, SharedCall, SharedStack,
};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::read::FromResponse;
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
        op: Op,
        keys: usize,
        answer: PhantomData<fn() -> T>,
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
    /// Sends `request`, and reads the answer as a `T`.
    #[inline]
    pub(crate) fn new(service: SharedStack<S>, request: Result<CacheRequest<V>, CacheError>) -> Self {
        match request {
            Ok(request) => {
                let (op, keys) = match &request {
                    CacheRequest::Get(_) => (Op::Get, 1),
                    other => (other.op(), other.keys().len()),
                };
                Self {
                    step: Step::Call { call: SharedCall::new(service, request) },
                    supersedes: None,
                    op,
                    keys,
                    answer: PhantomData,
                }
            }
            Err(error) => Self {
                step: Step::Refused { error: Some(error) },
                supersedes: None,
                op: Op::Ping,
                keys: 0,
                answer: PhantomData,
            },
        }
    }

    /// Marks this as a write. Not when it is made but when it is first polled, the loads of its keys that are under way
    /// lose their right to be stored: a caller may well change the source between the two.
    pub(crate) fn superseding(mut self, flights: Arc<Flights<V>>) -> Self {
        self.supersedes = Some(flights);
        self
    }
}

impl<V, S: CacheService<V>, T: FromResponse<V>> Future for Answer<V, S, T> {
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
                match call.poll(cx) {
                    Poll::Ready(Ok(CacheResponse::Hit(Entry { value, meta }))) => {
                        Poll::Ready(T::from_hit(value, meta, *this.op))
                    }
                    Poll::Ready(answer) => Poll::Ready(T::from_other(answer, *this.op, *this.keys)),
                    Poll::Pending => Poll::Pending,
                }
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
