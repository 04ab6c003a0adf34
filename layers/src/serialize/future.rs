use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use cachex_core::{CacheError, CacheResponse, Codec, Encoded, Keys, Op};
use pin_project_lite::pin_project;

use super::service::Shared;

pin_project! {
    /// The answer of a [`Serialize`](super::Serialize) service. Dropping it cancels the call beneath, with nothing left behind.
    pub struct ResponseFuture<F, T, C> {
        #[pin]
        state: State<F, C>,
        value: PhantomData<fn() -> T>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, C> {
        /// The request could not be encoded; it was not sent.
        Refused { error: Option<CacheError> },
        /// The answer holds values, in the order of the keys.
        Reading { #[pin] inner: F, keys: Keys, shared: Arc<Shared<C>> },
        /// The answer holds no values.
        Other { #[pin] inner: F },
    }
}

impl<F, T, C> ResponseFuture<F, T, C> {
    pub(super) fn refused(error: CacheError) -> Self {
        Self::new(State::Refused { error: Some(error) })
    }

    pub(super) fn read(inner: F, keys: Keys, shared: Arc<Shared<C>>) -> Self {
        Self::new(State::Reading { inner, keys, shared })
    }

    pub(super) fn other(inner: F) -> Self {
        Self::new(State::Other { inner })
    }

    fn new(state: State<F, C>) -> Self {
        Self { state, value: PhantomData }
    }
}

impl<F, T, C> Future for ResponseFuture<F, T, C>
where
    T: 'static,
    F: Future<Output = Result<CacheResponse<Encoded>, CacheError>>,
    C: Codec<T>,
{
    type Output = Result<CacheResponse<T>, CacheError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Refused { error } => {
                Poll::Ready(Err(error.take().unwrap_or_else(|| CacheError::unexpected_response(Op::Set))))
            }
            StateProj::Reading { inner, keys, shared } => {
                let response = ready!(inner.poll(cx))?;
                Poll::Ready(response.try_map_entries(keys.as_slice(), |key, entry| shared.read(key, &entry)))
            }
            StateProj::Other { inner } => {
                let response = ready!(inner.poll(cx))?;
                // Without keys there is no entry to map: an answer that holds one belongs to another operation.
                Poll::Ready(response.try_map_entries(&[], |_, _| Ok(None)))
            }
        }
    }
}

impl<F, T, C> fmt::Debug for ResponseFuture<F, T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
