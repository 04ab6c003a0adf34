//! A scripted call under way.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::Shared;
use super::outcome::{End, Waiting, planned_panic};
use crate::error::CacheError;
use crate::response::CacheResponse;

/// The future of a [`Leaf`](super::Leaf)'s call. Dropping it before it ends counts as a cancellation.
#[must_use = "futures do nothing unless polled"]
pub struct LeafFuture<V> {
    waiting: Waiting,
    /// Taken when the call ends.
    end: Option<End<V>>,
    default: Option<CacheResponse<V>>,
    ticket: Ticket<V>,
}

impl<V> LeafFuture<V> {
    pub(super) fn new(
        waiting: Waiting,
        end: End<V>,
        default: CacheResponse<V>,
        shared: Arc<Shared<V>>,
    ) -> Self {
        shared.count(|counts| {
            counts.in_flight += 1;
            counts.peak_in_flight = counts.peak_in_flight.max(counts.in_flight);
        });
        Self { waiting, end: Some(end), default: Some(default), ticket: Ticket { shared, open: true } }
    }
}

// Nothing in it is pinned structurally.
impl<V> Unpin for LeafFuture<V> {}

impl<V> Future for LeafFuture<V> {
    type Output = Result<CacheResponse<V>, CacheError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        ready!(this.waiting.poll(cx));
        let end = this.end.take().expect("the leaf's future was polled after it had ended");
        let default = this.default.take();
        Poll::Ready(match end {
            End::Answer(answer) => {
                this.ticket.close(|counts| counts.completed += 1);
                answer
            }
            End::Default => {
                this.ticket.close(|counts| counts.completed += 1);
                Ok(default.expect("present until the call ends"))
            }
            End::Panic(message) | End::PanicInCall(message) => {
                this.ticket.close(|counts| counts.panicked += 1);
                planned_panic(message)
            }
        })
    }
}

impl<V> fmt::Debug for LeafFuture<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeafFuture").field("ended", &self.end.is_none()).finish_non_exhaustive()
    }
}

/// One call in flight, counted until it closes or is dropped.
struct Ticket<V> {
    shared: Arc<Shared<V>>,
    open: bool,
}

impl<V> Ticket<V> {
    fn close(&mut self, count: impl FnOnce(&mut super::Counts)) {
        if std::mem::take(&mut self.open) {
            self.shared.count(|counts| {
                counts.in_flight -= 1;
                count(counts);
            });
        }
    }
}

impl<V> Drop for Ticket<V> {
    fn drop(&mut self) {
        self.close(|counts| counts.cancelled += 1);
    }
}
