//! Invalidation messages as they reach a subscriber.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use pin_project_lite::pin_project;

use crate::key::Key;

/// One message on the invalidation channel.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Invalidation {
    /// These keys were written or deleted by someone.
    Keys(Vec<Key>),
    /// Messages may have been missed: whatever is held locally can be out of date.
    Missed,
}

/// Whose a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Publisher {
    /// It was published through the very store that the subscription came from, by this handle or another on it.
    Own,
    /// Someone else's, or not known.
    Other,
}

/// A stream of [`Invalidation`]s. Dropping it unsubscribes.
///
/// It ends when the store is closed.
#[must_use = "dropping a subscription ends it"]
pub struct Subscription {
    stream: Pin<Box<dyn Stream<Item = (Publisher, Invalidation)> + Send>>,
    skip_own: bool,
}

impl Subscription {
    /// Wraps a store's own stream, of messages whose publisher is not known.
    pub fn new(stream: impl Stream<Item = Invalidation> + Send + 'static) -> Self {
        Self::with_publisher(Anonymous { stream })
    }

    /// Wraps a store's own stream, of messages and whose they are.
    pub fn with_publisher(stream: impl Stream<Item = (Publisher, Invalidation)> + Send + 'static) -> Self {
        Self { stream: Box::pin(stream), skip_own: false }
    }

    /// The same, without the echo of what was published through the same store. [`Invalidation::Missed`] is never left
    /// out.
    pub fn skip_own(mut self) -> Self {
        self.skip_own = true;
        self
    }

    /// The next message, or `None` once the store is closed. Cancel safe: no message is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Invalidation> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl Stream for Subscription {
    type Item = Invalidation;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Invalidation>> {
        loop {
            match ready!(self.stream.as_mut().poll_next(cx)) {
                Some((Publisher::Own, Invalidation::Keys(_))) if self.skip_own => {}
                message => return Poll::Ready(message.map(|(_, message)| message)),
            }
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("skip_own", &self.skip_own).finish_non_exhaustive()
    }
}

pin_project! {
    /// Messages whose publisher is not known.
    struct Anonymous<S> {
        #[pin]
        stream: S,
    }
}

impl<S: Stream<Item = Invalidation>> Stream for Anonymous<S> {
    type Item = (Publisher, Invalidation);

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.project().stream.poll_next(cx).map(|message| Some((Publisher::Other, message?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Script(Vec<(Publisher, Invalidation)>);

    impl Stream for Script {
        type Item = (Publisher, Invalidation);

        fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            Poll::Ready(self.0.pop())
        }
    }

    async fn heard(mut subscription: Subscription) -> Vec<Invalidation> {
        let mut heard = Vec::new();
        while let Some(message) = subscription.next().await {
            heard.push(message);
        }
        heard
    }

    #[tokio::test]
    async fn own_keys_are_skipped_on_request_and_nothing_else() {
        let keys = |name: &str| Invalidation::Keys(vec![Key::new(name).unwrap()]);
        let script = || {
            Script(vec![
                (Publisher::Other, keys("theirs")),
                (Publisher::Own, Invalidation::Missed),
                (Publisher::Own, keys("ours")),
            ])
        };
        let all = heard(Subscription::with_publisher(script())).await;
        assert_eq!(all, [keys("ours"), Invalidation::Missed, keys("theirs")]);
        let others = heard(Subscription::with_publisher(script()).skip_own()).await;
        assert_eq!(others, [Invalidation::Missed, keys("theirs")]);
    }
}
