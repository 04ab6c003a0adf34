//! Invalidation messages as they reach a subscriber.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

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

/// A stream of [`Invalidation`]s. Dropping it unsubscribes.
///
/// It ends when the store is closed.
pub struct Subscription(Pin<Box<dyn Stream<Item = Invalidation> + Send>>);

impl Subscription {
    /// Wraps a store's own stream.
    pub fn new(stream: impl Stream<Item = Invalidation> + Send + 'static) -> Self {
        Self(Box::pin(stream))
    }

    /// The next message, or `None` once the store is closed. Cancel safe: no message is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Invalidation> {
        std::future::poll_fn(|cx| self.0.as_mut().poll_next(cx)).await
    }
}

impl Stream for Subscription {
    type Item = Invalidation;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Invalidation>> {
        self.0.as_mut().poll_next(cx)
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Subscription")
    }
}
