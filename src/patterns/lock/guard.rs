//! What the holder of a lock has in hand.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cachex_core::{CacheError, FencingToken, clock};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::holder::Holder;
use super::keeper::{Keeper, Reply};
use super::state::{State, given_up};

/// A lock that is held, without what its kind adds. Dropping it gives the lock up in the background.
pub(super) struct Held {
    holder: Arc<dyn Holder>,
    state: State,
    order: Option<oneshot::Sender<Reply>>,
}

impl Held {
    /// `asked` is when the lock was asked for, `until` when it ends unless it is extended.
    pub(super) fn new(
        holder: Arc<dyn Holder>,
        runtime: &Handle,
        ttl: Duration,
        asked: Instant,
        until: Instant,
    ) -> Self {
        let state = State::held(until);
        let (order, orders) = oneshot::channel();
        let keeper = Keeper { holder: Arc::clone(&holder), state: state.clone(), ttl, asked };
        runtime.spawn(keeper.run(orders));
        Self { holder, state, order: Some(order) }
    }

    pub(super) fn is_lost(&self) -> bool {
        self.state.until().is_none()
    }

    pub(super) fn valid_for(&self) -> Duration {
        self.state.until().map_or(Duration::ZERO, |until| until.saturating_duration_since(clock::fresh()))
    }

    pub(super) fn lost(&self) -> impl Future<Output = CacheError> + Send + 'static + use<> {
        self.state.clone().ended()
    }

    pub(super) async fn release(mut self) -> Result<bool, CacheError> {
        let was_held = !self.is_lost();
        let (reply, answer) = oneshot::channel();
        if let Some(order) = self.order.take()
            && order.send(reply).is_ok()
            && let Ok(released) = answer.await
        {
            return released;
        }
        // The keeper ended: because the lock was lost, or together with its runtime.
        if !was_held {
            return Ok(false);
        }
        self.state.end(given_up());
        self.holder.release().await
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // The keeper learns of it by the order that can no longer come.
        self.state.end(given_up());
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("valid_for", &self.valid_for()).finish_non_exhaustive()
    }
}

/// The methods that every guard has.
macro_rules! guard_methods {
    () => {
        /// Whether the lock is no longer held for certain: it was lost, or has not been extended in time.
        ///
        /// It looks at the clock: also after the process was stopped for long, the first answer is right. What is lost stays
        /// lost. `false` is true for the moment it is said; what must not happen late needs a
        /// [fencing token](crate::patterns::lock#fencing).
        #[must_use]
        pub fn is_lost(&self) -> bool {
            self.held.is_lost()
        }

        /// For how long from now on the lock is held for certain, should no further extension succeed. Zero when it is lost.
        #[must_use]
        pub fn valid_for(&self) -> std::time::Duration {
            self.held.valid_for()
        }

        /// Completes when the lock is no longer held, with the reason: an error of kind
        /// [`LockLost`](cachex_core::ErrorKind::LockLost), whose source is the last failure to extend, if there was one.
        ///
        /// It borrows nothing, and also completes when the guard is released or dropped. Cancel safe; any number may wait.
        pub fn lost(&self) -> impl Future<Output = CacheError> + Send + 'static + use<> {
            self.held.lost()
        }

        /// Gives the lock up, and tells whether it was held until then. From the call on nobody is told any more that it is
        /// held.
        ///
        /// Cancel safe: once the future was polled, or dropped, the lock is given up in the background.
        ///
        /// # Errors
        ///
        /// Whatever the stack answers. The lock then ends with its lifetime, if not before.
        pub async fn release(self) -> Result<bool, CacheError> {
            self.held.release().await
        }
    };
}
pub(super) use guard_methods;

/// A lock that is held. Made by [`Cache::try_lock`](crate::Cache::try_lock) and [`Cache::lock`](crate::Cache::lock).
///
/// While it lives, a task in the background extends the lock every third of its lifetime. Dropping it gives the lock up in
/// the background; if the runtime is shutting down, the lock ends with its lifetime instead. To know that it was given up,
/// [`release`](Self::release) it. See the [module](crate::patterns::lock) for what holding it guarantees, and what it does not.
#[must_use = "the lock is given up when the guard is dropped"]
pub struct LockGuard {
    held: Held,
    token: FencingToken,
}

impl LockGuard {
    pub(super) fn new(held: Held, token: FencingToken) -> Self {
        Self { held, token }
    }

    /// A number larger than that of every earlier holder of this lock. Show it to what the lock protects.
    #[must_use]
    pub fn fencing_token(&self) -> FencingToken {
        self.token
    }

    guard_methods!();
}

impl fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockGuard")
            .field("token", &self.token)
            .field("valid_for", &self.valid_for())
            .finish_non_exhaustive()
    }
}
