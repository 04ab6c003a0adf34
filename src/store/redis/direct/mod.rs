//! Reads beside the shared connections.
//!
//! A shared connection is made for many requests at a time: each goes to a task by way of a channel, and its answer comes
//! back by way of another, parsed into a tree of blocks of memory. A batch of reads needs none of that. It has a
//! connection to itself, [`Reader`], writes to it and reads from it in the task that waits for the answer, and takes the
//! values out of the one buffer they came in.
//!
//! A read takes the connection of its place if nobody has it, and never waits for it. The places divide the keys as the
//! lanes of a batch layer do. Who finds it taken goes another way: reads of many keys over the shared connection, a read of one
//! key through the [`Pipe`] that belongs to that one. A pipe is a shared connection for such reads alone: it writes what
//! meets with one system call, and knows of two kinds of reply. So where single reads meet, as they do without a batch
//! layer, it is the better way for all of them, and one that finds the place taken sends the next [`SHY`] there as well.
//!
//! A place belongs to a shared connection, and its reader goes when that one does, and so does a pipe: whatever is noticed
//! of the server (that it is lost, silent, no longer the primary, that the credentials have changed) is noticed once. Readers
//! and pipes are made in the background by the first who misses one; until then, the shared connection serves. They speak TLS
//! where the store does, unless it is to trust anybody. What one of them leaves without an answer counts against itself and not
//! against the shared connection, whose own answers say nothing of it either; only one that was silent for too long has the shared
//! connection replaced along with it.

mod open;
mod pipe;
mod pipes;
mod reader;
mod resp;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

pub(super) use self::open::say;
pub(super) use self::pipe::{Asking, Pipe, Shared, Told};
pub(super) use self::pipes::{Lookup, Pipes};
pub(super) use self::reader::{Condition, Reader};

/// A socket of any kind.
pub(super) trait Socket: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Socket for S {}

/// How many reads do not ask for a place that was found taken.
const SHY: u32 = 1024;

/// How long nobody tries to make a reader where the last attempt failed.
const REST: Duration = Duration::from_secs(1);

/// The places of a server.
pub(super) struct Readers {
    places: Box<[Place]>,
    /// How many belong to one shared connection.
    each: usize,
}

/// On cache lines of its own.
#[repr(align(128))]
struct Place {
    state: Mutex<State>,
    /// How many reads shall not ask.
    shy: AtomicU32,
}

enum State {
    /// No reader was asked for.
    Empty,
    /// One is being made.
    Making,
    Idle(Reader, Badge),
    /// A read has it.
    Taken,
    /// The last attempt failed.
    Resting(Instant),
    /// For good.
    Closed,
}

/// What a reader was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Badge {
    /// The number of the shared connection.
    pub(super) connection: u64,
    /// The version of the credentials.
    pub(super) credentials: u64,
}

/// What there is at a place.
pub(super) enum Found {
    /// It is the caller's, until it is put back.
    Reader(Reader),
    /// Nothing, and the caller shall see to it that there will be.
    Wanted,
    /// Another read has it, or has had it of late.
    Company,
    Nothing,
}

impl Readers {
    /// `each` places for each of `slots` shared connections.
    pub(super) fn new(slots: usize, each: usize) -> Self {
        let place = || Place { state: Mutex::new(State::Empty), shy: AtomicU32::new(0) };
        Self { places: (0..slots * each).map(|_| place()).collect(), each }
    }

    /// The place for a key with this hash; `None` when there are none. Those of a slot's keys are the slot's.
    #[inline]
    pub(super) fn place_of(&self, hash: u64) -> Option<usize> {
        let places = self.places.len() as u128;
        (places > 0).then(|| ((u128::from(hash) * places) >> 64) as usize)
    }

    /// What there is for a read of one key, or of many, over the connection that `badge` names.
    #[inline]
    pub(super) fn take(&self, at: usize, badge: Badge, many: bool) -> Found {
        let place = &self.places[at];
        let shy = if many { 0 } else { place.shy.load(Relaxed) };
        if shy > 0 {
            // Two at a time may count as one: it is a rule of thumb.
            place.shy.store(shy - 1, Relaxed);
            return Found::Company;
        }
        let mut state = place.lock();
        match &*state {
            State::Idle(_, worn) if *worn == badge => match std::mem::replace(&mut *state, State::Taken) {
                State::Idle(reader, _) => Found::Reader(reader),
                _ => Found::Nothing,
            },
            State::Taken => {
                if !many {
                    place.shy.store(SHY, Relaxed);
                }
                Found::Company
            }
            State::Resting(until) if Instant::now() < *until => Found::Nothing,
            State::Idle(..) | State::Empty | State::Resting(_) => {
                let old = std::mem::replace(&mut *state, State::Making);
                drop(state);
                drop(old);
                Found::Wanted
            }
            State::Making | State::Closed => Found::Nothing,
        }
    }

    /// A read is done with its reader.
    #[inline]
    pub(super) fn put_back(&self, at: usize, reader: Reader, badge: Badge) {
        self.leave(at, |state| matches!(state, State::Taken), State::Idle(reader, badge));
    }

    /// A reader broke.
    pub(super) fn lose(&self, at: usize) {
        self.leave(at, |state| matches!(state, State::Taken), State::Empty);
    }

    /// A reader was made, or could not be.
    pub(super) fn made(&self, at: usize, made: Option<(Reader, Badge)>) {
        let next = match made {
            Some((reader, badge)) => State::Idle(reader, badge),
            None => State::Resting(Instant::now() + REST),
        };
        self.leave(at, |state| matches!(state, State::Making), next);
    }

    /// Whoever was to make a reader did not get to it.
    pub(super) fn forget(&self, at: usize) {
        self.leave(at, |state| matches!(state, State::Making), State::Empty);
    }

    /// Lets go of the readers that belong to a slot and are not in use; those that are go when they come back and are
    /// asked for.
    pub(super) fn clear(&self, slot: usize) {
        for at in slot * self.each..(slot + 1) * self.each {
            self.leave(at, |state| matches!(state, State::Idle(..)), State::Empty);
        }
    }

    /// For good.
    pub(super) fn close(&self) {
        for at in 0..self.places.len() {
            self.leave(at, |_| true, State::Closed);
        }
    }

    /// How many readers there are, as far as they are not in use.
    #[cfg(test)]
    fn idle(&self) -> usize {
        self.places.iter().filter(|place| matches!(*place.lock(), State::Idle(..))).count()
    }

    #[inline]
    fn leave(&self, at: usize, is: impl FnOnce(&State) -> bool, next: State) {
        let mut state = self.places[at].lock();
        let old = if is(&state) { std::mem::replace(&mut *state, next) } else { next };
        // A socket is not closed under the lock.
        drop(state);
        drop(old);
    }
}

impl Place {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics under it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readers").field("places", &self.places.len()).finish_non_exhaustive()
    }
}
