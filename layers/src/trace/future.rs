//! The future of a call that is traced.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use cachex_core::{CacheError, CacheResponse};
use pin_project_lite::pin_project;

use super::watch::Watch;

pin_project! {
    /// The answer to one call.
    ///
    /// Cancel safe: a call that is dropped before its answer ends its span as `cancelled`.
    ///
    /// # Panics
    ///
    /// When it is polled after it has answered.
    pub struct ResponseFuture<F> {
        // An option, so that what is beneath is dropped inside the span.
        #[pin]
        inner: Option<F>,
        // Boxed, as few calls have one: the future of all others is then the size of what is beneath and a word.
        watch: Option<Box<Watch>>,
    }

    impl<F> PinnedDrop for ResponseFuture<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if let Some(mut watch) = this.watch.take() {
                watch.during(|| this.inner.set(None));
            }
        }
    }
}

impl<F> ResponseFuture<F> {
    #[inline]
    pub(super) fn new(inner: F, watch: Option<Box<Watch>>) -> Self {
        Self { inner: Some(inner), watch }
    }
}

impl<F, V> Future for ResponseFuture<F>
where
    F: Future<Output = Result<CacheResponse<V>, CacheError>>,
{
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Some(watch) = this.watch {
            return poll_watched(this.inner, watch, cx);
        }
        this.inner.as_pin_mut().expect(ANSWERED).poll(cx)
    }
}

const ANSWERED: &str = "a traced future was polled after it had answered";

/// Out of line, so that a call nobody listens to carries none of it.
#[inline(never)]
fn poll_watched<F, V>(
    mut inner: Pin<&mut Option<F>>,
    watch: &mut Watch,
    cx: &mut Context<'_>,
) -> Poll<Result<CacheResponse<V>, CacheError>>
where
    F: Future<Output = Result<CacheResponse<V>, CacheError>>,
{
    let beneath = inner.as_mut().as_pin_mut().expect(ANSWERED);
    let answer = ready!(watch.during(|| beneath.poll(cx)));
    watch.during(|| inner.set(None));
    watch.end(&answer);
    Poll::Ready(answer)
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
