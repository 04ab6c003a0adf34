//! What can be seen from outside.

use std::sync::Arc;

use cachex_core::OpClass;

use super::place::Compartments;

/// Reads the state of a bulkhead's compartments while they are in use. Cheap to clone; reading is one atomic load.
#[derive(Clone, Debug)]
pub struct BulkheadHandle {
    compartments: Arc<Compartments>,
}

/// A compartment at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompartmentState {
    /// How many calls hold a permit, those included that have just been given one and have not run yet.
    pub in_flight: u32,
    /// How many calls wait for one.
    pub queued: u32,
    /// How many permits are free.
    pub available: u32,
    /// How many calls were refused since the layer was made, for want of room in the queue or because their time in it
    /// was up.
    pub rejected: u64,
}

impl BulkheadHandle {
    pub(super) fn new(compartments: Arc<Compartments>) -> Self {
        Self { compartments }
    }

    /// The state of the compartment of this class. The counts of calls are of one and the same moment.
    #[must_use]
    pub fn compartment(&self, class: OpClass) -> CompartmentState {
        let (in_flight, queued, rejected) = self.compartments.of(class).read();
        let available = self.max_concurrent(class).saturating_sub(in_flight);
        CompartmentState { in_flight, queued, available, rejected }
    }

    /// How many calls of this class may run at once.
    #[must_use]
    pub fn max_concurrent(&self, class: OpClass) -> u32 {
        self.compartments.settings.max[class as usize]
    }
}
