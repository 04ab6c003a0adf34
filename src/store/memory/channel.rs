//! Invalidation messages within the process.

use std::sync::{Arc, Mutex};

use cachex_core::{Invalidation, Key, Keys, Publisher, Subscription};
use futures_util::stream;
use tokio::sync::broadcast::{self, error::RecvError};

use super::lock;

/// How many messages a subscriber may be behind before it misses some.
const BACKLOG: usize = 1024;

/// The channel is made for the first subscriber.
#[derive(Debug, Default)]
pub(super) struct Channel(Mutex<State>);

#[derive(Debug, Default)]
enum State {
    /// Nobody has subscribed yet.
    #[default]
    Idle,
    Open(broadcast::Sender<Arc<[Key]>>),
    /// Subscriptions have ended, and new ones end at once.
    Closed,
}

impl Channel {
    /// Tells subscribers, and how many of them.
    pub(super) fn publish(&self, keys: &Keys) -> u64 {
        match &*lock(&self.0) {
            State::Open(sender) => sender.send(keys.as_slice().into()).map_or(0, |reached| reached as u64),
            State::Idle | State::Closed => 0,
        }
    }

    pub(super) fn subscribe(&self) -> Subscription {
        let mut state = lock(&self.0);
        let receiver = match &*state {
            State::Open(sender) => sender.subscribe(),
            State::Idle => {
                // Idle => Open
                let (sender, receiver) = broadcast::channel(BACKLOG);
                *state = State::Open(sender);
                receiver
            }
            State::Closed => return Subscription::new(stream::empty()),
        };
        // Nobody else has a way to this store.
        Subscription::with_publisher(stream::unfold(receiver, |mut receiver| async {
            let message = match receiver.recv().await {
                Ok(keys) => (Publisher::Own, Invalidation::Keys(keys.to_vec())),
                Err(RecvError::Lagged(_)) => (Publisher::Other, Invalidation::Missed),
                Err(RecvError::Closed) => return None,
            };
            Some((message, receiver))
        }))
    }

    pub(super) fn close(&self) {
        // Idle | Open => Closed
        *lock(&self.0) = State::Closed;
    }
}
