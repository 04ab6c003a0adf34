//! The future of a call that may have to wait for a token.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use cachex_core::{CacheError, CacheRequest, CacheResponse, ErrorKind, OpClass, clock};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tower_service::Service;

use super::limits::Limits;

pin_project! {
    /// The answer to one call, or [`ErrorKind::RateLimited`].
    ///
    /// Dropping it while it waits takes no token.
    ///
    /// # Panics
    ///
    /// When it has to wait outside a tokio runtime with its time driver enabled.
    pub struct ResponseFuture<V, S>
    where
        S: Service<CacheRequest<V>>,
    {
        #[pin]
        state: State<V, S, S::Future>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<V, S, F> {
        Admitted { #[pin] inner: F },
        Waiting { #[pin] sleep: Sleep, wait: Wait<V, S> },
        Refused { error: Option<CacheError> },
    }
}

/// A request that waits, with the readied service it will go to.
struct Wait<V, S> {
    service: S,
    request: Option<CacheRequest<V>>,
    class: OpClass,
    deadline: Instant,
    limits: Arc<Limits>,
}

impl<V, S> Drop for Wait<V, S> {
    fn drop(&mut self) {
        self.limits.count_waiting(false);
    }
}

impl<V, S: Service<CacheRequest<V>>> ResponseFuture<V, S> {
    #[inline]
    pub(super) fn admitted(inner: S::Future) -> Self {
        Self { state: State::Admitted { inner } }
    }

    pub(super) fn refused(error: CacheError) -> Self {
        Self { state: State::Refused { error: Some(error) } }
    }

    pub(super) fn waiting(
        service: S,
        request: CacheRequest<V>,
        class: OpClass,
        limits: Arc<Limits>,
        until: Instant,
        deadline: Instant,
    ) -> Self {
        limits.count_waiting(true);
        let wait = Wait { service, request: Some(request), class, deadline, limits };
        Self { state: State::Waiting { sleep: sleep_until(until), wait } }
    }
}

impl<V, S> Future for ResponseFuture<V, S>
where
    S: Service<CacheRequest<V>, Response = CacheResponse<V>, Error = CacheError>,
{
    type Output = Result<CacheResponse<V>, CacheError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProj::Admitted { inner } => return inner.poll(cx),
                StateProj::Refused { error } => {
                    let error = error.take();
                    return Poll::Ready(Err(error.unwrap_or_else(|| {
                        CacheError::new(ErrorKind::Internal, "polled after completion")
                    })));
                }
                // Waiting => (Admitted | Waiting | Refused), when the time has come. Others may have been faster.
                StateProj::Waiting { mut sleep, wait } => {
                    ready!(sleep.as_mut().poll(cx));
                    let next = match wait.limits.take(wait.class) {
                        Ok(()) => match wait.request.take() {
                            Some(request) => State::Admitted { inner: wait.service.call(request) },
                            None => State::Refused { error: None },
                        },
                        Err(more) => {
                            let until = clock::now() + more;
                            if until <= wait.deadline {
                                sleep.reset(until);
                                continue;
                            }
                            State::Refused { error: Some(wait.limits.refuse(more)) }
                        }
                    };
                    state.set(next);
                }
            }
        }
    }
}

impl<V, S: Service<CacheRequest<V>>> fmt::Debug for ResponseFuture<V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
