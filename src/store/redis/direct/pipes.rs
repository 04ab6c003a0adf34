//! The pipes of a server.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::pipe::{Pipe, Shared};
use super::{Badge, REST};

/// One for each shared connection, made when it is first missed.
pub(in super::super) struct Pipes(Box<[Place]>);

/// On cache lines of its own.
#[repr(align(128))]
struct Place(Mutex<State>);

enum State {
    /// None was asked for, or it has ended.
    Empty,
    /// One is being made.
    Making,
    /// Since when.
    Open(Pipe, Badge, Instant),
    /// The last attempt failed, or what it made ended soon.
    Resting(Instant),
    /// For good.
    Closed,
}

/// What there is at a place.
pub(in super::super) enum Lookup {
    Pipe(Arc<Shared>),
    /// Nothing, and the caller shall see to it that there will be.
    Wanted,
    Nothing,
}

impl Pipes {
    pub(in super::super) fn new(count: usize) -> Self {
        Self((0..count).map(|_| Place(Mutex::new(State::Empty))).collect())
    }

    /// The pipe at a place, if it is one for this badge.
    #[inline]
    pub(in super::super) fn share(&self, at: usize, badge: Badge) -> Lookup {
        let Some(place) = self.0.get(at) else { return Lookup::Nothing };
        let mut state = place.lock();
        match &*state {
            State::Open(pipe, worn, _) if *worn == badge && !pipe.shared().is_over() => {
                Lookup::Pipe(Arc::clone(pipe.shared()))
            }
            // The caller has seen an older connection than whoever had it made.
            State::Open(_, worn, _) if *worn > badge => Lookup::Nothing,
            // It would be closed again.
            State::Open(pipe, _, since) if pipe.shared().is_over() && since.elapsed() < REST => {
                let until = *since + REST;
                let old = std::mem::replace(&mut *state, State::Resting(until));
                drop(state);
                drop(old);
                Lookup::Nothing
            }
            State::Resting(until) if Instant::now() < *until => Lookup::Nothing,
            State::Open(..) | State::Empty | State::Resting(_) => {
                let old = std::mem::replace(&mut *state, State::Making);
                drop(state);
                drop(old);
                Lookup::Wanted
            }
            State::Making | State::Closed => Lookup::Nothing,
        }
    }

    /// A pipe was made, or could not be.
    pub(in super::super) fn made(&self, at: usize, made: Option<(Pipe, Badge)>) {
        let next = match made {
            Some((pipe, badge)) => State::Open(pipe, badge, Instant::now()),
            None => State::Resting(Instant::now() + REST),
        };
        self.leave(at, |state| matches!(state, State::Making), next);
    }

    /// Whoever was to make a pipe did not get to it.
    pub(in super::super) fn forget(&self, at: usize) {
        self.leave(at, |state| matches!(state, State::Making), State::Empty);
    }

    /// Takes no more reads there; those under way are still answered.
    pub(in super::super) fn clear(&self, at: usize) {
        self.leave(at, |state| matches!(state, State::Open(..)), State::Empty);
    }

    /// The same, if it is still this pipe.
    pub(in super::super) fn clear_this(&self, at: usize, this: &Arc<Shared>) {
        let is_this =
            |state: &State| matches!(state, State::Open(pipe, ..) if Arc::ptr_eq(pipe.shared(), this));
        self.leave(at, is_this, State::Empty);
    }

    /// For good.
    pub(in super::super) fn close(&self) {
        for at in 0..self.0.len() {
            self.leave(at, |_| true, State::Closed);
        }
    }

    fn leave(&self, at: usize, is: impl FnOnce(&State) -> bool, next: State) {
        let Some(place) = self.0.get(at) else { return };
        let mut state = place.lock();
        let old = if is(&state) { std::mem::replace(&mut *state, next) } else { next };
        // What closes a pipe wakes its driver: not under the lock.
        drop(state);
        drop(old);
    }
}

impl Place {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics under it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Pipes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipes").field("places", &self.0.len()).finish_non_exhaustive()
    }
}
