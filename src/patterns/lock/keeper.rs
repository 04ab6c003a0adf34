//! The task that extends a lock while its guard lives, and gives it up after that.

use std::sync::Arc;
use std::time::Duration;

use cachex_core::{CacheError, clock};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::holder::{Holder, validity};
use super::state::{State, given_up, refused};

/// Where the answer to a release goes.
pub(super) type Reply = oneshot::Sender<Result<bool, CacheError>>;

/// The order to release. A guard that was dropped without giving it gives it by that.
pub(super) type Orders = oneshot::Receiver<Reply>;

pub(super) struct Keeper {
    pub(super) holder: Arc<dyn Holder>,
    pub(super) state: State,
    pub(super) ttl: Duration,
    /// When the lock was asked for.
    pub(super) asked: Instant,
}

impl Keeper {
    pub(super) async fn run(self, mut orders: Orders) {
        let reply = tokio::select! {
            biased;
            order = &mut orders => {
                self.state.end(given_up());
                order.ok()
            }
            () = self.extend_until_lost() => None,
        };
        // Also after a loss: an extension in doubt may have arrived late, and would keep everyone else out.
        let released = match timeout(self.ttl, self.holder.release()).await {
            Ok(released) => released,
            // By now it is over by itself.
            Err(_) => Ok(false),
        };
        if let Some(reply) = reply {
            // Who asked may have left.
            let _ = reply.send(released);
        }
    }

    /// Every third of the lifetime; after a failure sooner, as long as the lock is held.
    async fn extend_until_lost(&self) {
        let third = self.ttl / 3;
        let mut next = self.asked + third;
        loop {
            sleep_until(next).await;
            let Some(until) = self.state.until() else { return self.state.expire() };
            let asked = clock::fresh();
            match timeout_at(until.min(asked + third), self.holder.extend(self.ttl)).await {
                Ok(Ok(true)) if self.state.renew(asked + validity(self.ttl)) => {
                    next = asked + third;
                }
                Ok(Ok(true)) => return self.state.expire(),
                Ok(Ok(false)) => return self.state.end(refused()),
                Ok(Err(error)) => {
                    next = (clock::fresh() + self.pause()).min(until);
                    self.state.trouble(error);
                }
                Err(_) => next = clock::fresh(),
            }
        }
    }

    /// Between two attempts to extend, of which the first failed: jittered, as all holders fail at once when a server goes.
    fn pause(&self) -> Duration {
        (self.ttl / 12).mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}
