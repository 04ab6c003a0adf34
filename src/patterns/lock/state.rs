//! Whether a lock is held, as far as its owner can know.

use std::sync::Arc;

use cachex_core::{CacheError, ErrorKind, clock};
use tokio::sync::watch;
use tokio::time::Instant;

/// What the guard, its keeper and everyone who waits for a loss share.
#[derive(Clone, Debug)]
pub(super) struct State(Arc<watch::Sender<Phase>>);

#[derive(Debug)]
enum Phase {
    /// Held, and for certain until then; why the last attempt to extend failed, if it did.
    Held { until: Instant, trouble: Option<CacheError> },
    /// Over, for good: for this reason.
    Ended(CacheError),
}

impl State {
    pub(super) fn held(until: Instant) -> Self {
        Self(Arc::new(watch::Sender::new(Phase::Held { until, trouble: None })))
    }

    /// Until when it is held for certain; `None` when it is over. Looks at the clock, not at what the keeper has got round
    /// to: a process that was stopped knows it with its first look.
    pub(super) fn until(&self) -> Option<Instant> {
        match *self.0.borrow() {
            Phase::Held { until, .. } if clock::fresh() < until => Some(until),
            _ => None,
        }
    }

    /// `Held => Held`, for longer. `false` when it was over already: what was lost once stays lost, since someone may have
    /// been told.
    pub(super) fn renew(&self, next: Instant) -> bool {
        let mut renewed = false;
        self.0.send_if_modified(|phase| {
            if let Phase::Held { until, trouble } = phase
                && clock::fresh() < *until
            {
                *until = next.max(*until);
                *trouble = None;
                renewed = true;
            }
            renewed
        });
        renewed
    }

    /// `Held => Held`, after an attempt to extend that failed. Nobody is woken for it.
    pub(super) fn trouble(&self, error: CacheError) {
        self.0.send_if_modified(|phase| {
            if let Phase::Held { trouble, .. } = phase {
                *trouble = Some(error);
            }
            false
        });
    }

    /// `Held => Ended`; the first reason stays.
    pub(super) fn end(&self, reason: CacheError) {
        self.end_with(|_| reason);
    }

    /// `Held => Ended`, because it was not extended in time.
    pub(super) fn expire(&self) {
        self.end_with(expired);
    }

    fn end_with(&self, reason: impl FnOnce(Option<CacheError>) -> CacheError) {
        self.0.send_if_modified(|phase| match phase {
            Phase::Held { trouble, .. } => {
                *phase = Phase::Ended(reason(trouble.take()));
                true
            }
            Phase::Ended(_) => false,
        });
    }

    /// Waits until it is over, and tells why. Cancel safe.
    pub(super) async fn ended(self) -> CacheError {
        let mut changes = self.0.subscribe();
        loop {
            let until = match &*changes.borrow_and_update() {
                Phase::Held { until, .. } => *until,
                Phase::Ended(reason) => return reason.clone(),
            };
            tokio::select! {
                biased;
                // The sender is in `self`.
                _ = changes.changed() => {}
                // Not left to the keeper alone, whose runtime may be gone.
                () = tokio::time::sleep_until(until) => self.expire(),
            }
        }
    }
}

fn expired(trouble: Option<CacheError>) -> CacheError {
    let message = "the lock was not extended in time";
    match trouble {
        Some(error) => CacheError::with_source(ErrorKind::LockLost, message, error),
        None => CacheError::new(ErrorKind::LockLost, message),
    }
}

pub(super) fn refused() -> CacheError {
    CacheError::new(ErrorKind::LockLost, "the store says that the lock is no longer this owner's")
}

pub(super) fn given_up() -> CacheError {
    CacheError::new(ErrorKind::LockLost, "the lock was given up")
}
