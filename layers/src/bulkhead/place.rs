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
///
/// Two words, so that it travels in registers: on its way into the call's future it is moved several times, and reading
/// back as one what was just written in parts stalls the processor for longer than an atomic operation takes.
#[derive(Debug)]
pub(super) struct Place {
    compartments: Arc<Compartments>,
    claim: Claim,
}

/// A class and a [`Hold`] in one word: class in bits 0 and 1, kind of hold in bits 2 and 3, waiter in the upper half.
#[derive(Clone, Copy, Debug)]
struct Claim(u64);

/// What is held of a compartment.
enum Hold {
    Permit,
    Queued(WaiterId),
    /// The wait was ended, and with it the claim.
    Nothing,
}

impl Claim {
    const CLASS: u64 = 0b0011;
    const QUEUED: u64 = 0b0100;
    const NOTHING: u64 = 0b1000;

    #[inline]
    fn new(class: OpClass, hold: &Hold) -> Self {
        Self(class as u64).with(hold)
    }

    #[inline]
    fn with(self, hold: &Hold) -> Self {
        let hold = match *hold {
            Hold::Permit => 0,
            Hold::Queued(id) => Self::QUEUED | u64::from(id) << 32,
            Hold::Nothing => Self::NOTHING,
        };
        Self(self.0 & Self::CLASS | hold)
    }

    #[inline]
    fn class(self) -> OpClass {
        OpClass::ALL[(self.0 & Self::CLASS) as usize]
    }

    #[inline]
    fn hold(self) -> Hold {
        if self.0 & Self::QUEUED != 0 {
            Hold::Queued((self.0 >> 32) as WaiterId)
        } else if self.0 & Self::NOTHING != 0 {
            Hold::Nothing
        } else {
            Hold::Permit
        }
    }
}

impl Place {
    /// A permit, if one is free.
    ///
    /// It never panics, and whoever has a request meanwhile relies on that: a request that is to be dropped by an unwinding
    /// stack has an address, is not kept in registers, and its next move waits for the parts it was just written in.
    #[inline]
    pub(super) fn at_once(compartments: &Arc<Compartments>, class: OpClass) -> Option<Self> {
        compartments.of(class).enter_at_once().ok().map(|()| Self::new(compartments, class, &Hold::Permit))
    }

    /// A permit or a place in the queue, `None` when there is neither.
    pub(super) fn take(compartments: &Arc<Compartments>, class: OpClass) -> Option<Self> {
        let hold = match compartments.of(class).enter() {
            Entry::Granted => Hold::Permit,
            Entry::Queued(id) => Hold::Queued(id),
            Entry::Full => return None,
        };
        Some(Self::new(compartments, class, &hold))
    }

    #[inline]
    fn new(compartments: &Arc<Compartments>, class: OpClass, hold: &Hold) -> Self {
        Self { compartments: Arc::clone(compartments), claim: Claim::new(class, hold) }
    }

    #[inline]
    pub(super) fn is_permit(&self) -> bool {
        self.claim.0 & !Claim::CLASS == 0
    }

    /// Whether the permit is held by now. Else `waker` is woken when it is.
    pub(super) fn poll_permit(&mut self, waker: &Waker) -> bool {
        // Queued => (Permit | Queued)
        if let Hold::Queued(id) = self.claim.hold()
            && self.compartment().poll_granted(id, waker)
        {
            self.claim = self.claim.with(&Hold::Permit);
        }
        self.is_permit()
    }

    /// Ends the wait because its time is up. `true` when the permit came at the last moment and is held after all.
    pub(super) fn expire(&mut self) -> bool {
        // Queued => (Permit | Nothing)
        if let Hold::Queued(id) = self.claim.hold() {
            let compartment = self.compartment();
            let hold = if compartment.give_up(id) {
                Hold::Permit
            } else {
                compartment.count_rejected();
                Hold::Nothing
            };
            self.claim = self.claim.with(&hold);
        }
        self.is_permit()
    }

    #[cold]
    fn drop_queued(&self) {
        if let Hold::Queued(id) = self.claim.hold()
            && self.compartment().give_up(id)
        {
            // Granted, and never told: the permit goes on to the next in line.
            self.compartment().leave();
        }
    }

    #[inline]
    fn compartment(&self) -> &Compartment {
        self.compartments.of(self.claim.class())
    }
}

impl Drop for Place {
    #[inline]
    fn drop(&mut self) {
        if self.is_permit() {
            self.compartment().leave();
        } else {
            self.drop_queued();
        }
    }
}
