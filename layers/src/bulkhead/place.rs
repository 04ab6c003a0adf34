//! What a call holds of a compartment, and gives back whatever becomes of the call.

use std::sync::Arc;
use std::task::Waker;

use cachex_core::OpClass;

use super::compartment::{Compartment, Entry};
use super::layer::Settings;
use super::queue::WaiterId;

/// The compartments of one layer value, one per class.
#[derive(Debug)]
pub(super) struct Compartments {
    pub(super) settings: Settings,
    by_class: [Compartment; OpClass::ALL.len()],
}

impl Compartments {
    pub(super) fn new(settings: Settings) -> Self {
        let max_queued = if settings.queue_timeout.is_zero() { 0 } else { settings.queue };
        let by_class = settings.max.map(|max| Compartment::new(max, max_queued));
        Self { settings, by_class }
    }

    #[inline]
    pub(super) fn of(&self, class: OpClass) -> &Compartment {
        &self.by_class[class as usize]
    }
}

/// A permit, or a place in the queue for one. Dropping it gives either back.
#[derive(Debug)]
pub(super) struct Place {
    compartments: Arc<Compartments>,
    class: OpClass,
    hold: Hold,
}

#[derive(Clone, Copy, Debug)]
enum Hold {
    Permit,
    Queued(WaiterId),
    /// The wait was ended, and with it the claim.
    Nothing,
}

impl Place {
    /// A permit or a place in the queue, `None` when there is neither.
    #[inline]
    pub(super) fn take(compartments: &Arc<Compartments>, class: OpClass) -> Option<Self> {
        let hold = match compartments.of(class).enter() {
            Entry::Granted => Hold::Permit,
            Entry::Queued(id) => Hold::Queued(id),
            Entry::Full => return None,
        };
        Some(Self { compartments: Arc::clone(compartments), class, hold })
    }

    #[inline]
    pub(super) fn is_permit(&self) -> bool {
        matches!(self.hold, Hold::Permit)
    }

    /// Whether the permit is held by now. Else `waker` is woken when it is.
    pub(super) fn poll_permit(&mut self, waker: &Waker) -> bool {
        // Queued => (Permit | Queued)
        if let Hold::Queued(id) = self.hold
            && self.compartments.of(self.class).poll_granted(id, waker)
        {
            self.hold = Hold::Permit;
        }
        self.is_permit()
    }

    /// Ends the wait because its time is up. `true` when the permit came at the last moment and is held after all.
    pub(super) fn expire(&mut self) -> bool {
        // Queued => (Permit | Nothing)
        if let Hold::Queued(id) = self.hold {
            let compartment = self.compartments.of(self.class);
            self.hold = if compartment.give_up(id) {
                Hold::Permit
            } else {
                compartment.count_rejected();
                Hold::Nothing
            };
        }
        self.is_permit()
    }
}

impl Drop for Place {
    #[inline]
    fn drop(&mut self) {
        let compartment = self.compartments.of(self.class);
        match self.hold {
            Hold::Permit => compartment.leave(),
            // Granted, and never told: the permit goes on to the next in line.
            Hold::Queued(id) if compartment.give_up(id) => compartment.leave(),
            Hold::Queued(_) | Hold::Nothing => {}
        }
    }
}
