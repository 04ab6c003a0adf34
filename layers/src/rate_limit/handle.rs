//! What can be seen from outside.

use std::sync::Arc;

use cachex_core::OpClass;

use super::limit::Limit;
use super::limits::Limits;

/// Reads the state of a rate limit while it is in use. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RateLimitHandle {
    limits: Arc<Limits>,
}

/// A limit at one moment.
///
/// What it let through is not counted here: that would cost every operation as much again as the decision does, and the
/// metrics layer counts it already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitState {
    /// How many operations would pass at once now, beside those that wait.
    pub available: u32,
    /// How many wait for their turn.
    pub waiting: u64,
    /// How many this limit has refused since the layer was made.
    pub rejected: u64,
}

impl RateLimitHandle {
    pub(super) fn new(limits: Arc<Limits>) -> Self {
        Self { limits }
    }

    /// The state of the limit on all operations.
    #[must_use]
    pub fn stack(&self) -> LimitState {
        self.state(self.limits.stack())
    }

    /// The state of the limit on this class, if it has one of its own.
    #[must_use]
    pub fn class(&self, class: OpClass) -> Option<LimitState> {
        self.limits.class(class).map(|limit| self.state(limit))
    }

    fn state(&self, limit: &Limit) -> LimitState {
        LimitState {
            available: limit.available(self.limits.now()),
            waiting: limit.waiting(),
            rejected: limit.rejected(),
        }
    }
}
