use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use cachex_core::{CacheError, CacheResponse, Encoded, Keys, Op, Sealed};
use pin_project_lite::pin_project;

use super::service::Shared;

pin_project! {
    /// The answer of an [`Encrypt`](super::Encrypt) service. Dropping it cancels the call beneath, with nothing left behind.
    pub struct ResponseFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F> {
        /// The request could not be sealed; it was not sent.
        Refused { error: Option<CacheError> },
        /// The answer holds values, in the order of the keys.
        Reading { #[pin] inner: F, names: Keys, shared: Arc<Shared> },
        /// The answer holds no values.
        Other { #[pin] inner: F },
    }
}

impl<F> ResponseFuture<F> {
    pub(super) fn refused(error: CacheError) -> Self {
        Self { state: State::Refused { error: Some(error) } }
    }

    pub(super) fn read(inner: F, names: Keys, shared: Arc<Shared>) -> Self {
        Self { state: State::Reading { inner, names, shared } }
    }

    pub(super) fn other(inner: F) -> Self {
        Self { state: State::Other { inner } }
    }
}

impl<F> Future for ResponseFuture<F>
where
    F: Future<Output = Result<CacheResponse<Sealed>, CacheError>>,
{
    type Output = Result<CacheResponse<Encoded>, CacheError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Refused { error } => {
                Poll::Ready(Err(error.take().unwrap_or_else(|| CacheError::unexpected_response(Op::Set))))
            }
            StateProj::Reading { inner, names, shared } => {
                let response = ready!(inner.poll(cx))?;
                let keys = shared.keys.keys();
                let open = |name: &_, entry| shared.open(&keys, name, &entry);
                Poll::Ready(response.try_map_entries(names.as_slice(), open))
            }
            StateProj::Other { inner } => {
                let response = ready!(inner.poll(cx))?;
                // Without keys there is no entry to map: an answer that holds one belongs to another operation.
                Poll::Ready(response.try_map_entries(&[], |_, _| Ok(None)))
            }
        }
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
