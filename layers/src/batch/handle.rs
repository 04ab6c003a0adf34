//! What can be seen from outside.

use std::fmt;
use std::sync::Arc;

use super::layer::Shared;

/// Reads what a layer's lanes do while they are in use. Cheap to clone; it outlives the layer and its services.
#[derive(Clone)]
pub struct BatchHandle {
    shared: Arc<Shared>,
}

/// The lanes of one layer at one moment. Counts begin when the layer is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchState {
    /// Reads of one key that were asked for, whatever became of them.
    pub requests: u64,
    /// Batches of two and more keys that were sent.
    pub batches: u64,
    /// Reads that went out in those batches; a key that several asked for counts for each of them.
    pub batched_keys: u64,
    /// The most keys any of the batches had.
    pub largest_batch: usize,
    /// Reads that wait for their lane now.
    pub queued: usize,
    /// Reads that were refused because too many waited.
    pub rejected: u64,
    /// How often a thread that had sent a batch to a server on this machine gave up its core: see
    /// [`give_way`](cachex_core::handover::give_way).
    pub gave_way: u64,
}

impl BatchHandle {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The counts. They are read one after another: while calls run, one may be ahead of another.
    #[must_use]
    pub fn state(&self) -> BatchState {
        let mut state = BatchState::default();
        for lane in self.shared.counters.lanes() {
            lane.read(&mut state);
        }
        state
    }
}

impl fmt::Debug for BatchHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchHandle").field("state", &self.state()).finish()
    }
}
