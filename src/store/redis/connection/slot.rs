//! One shared connection's place, and what becomes of it.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use cachex_core::CacheError;
use tokio::sync::watch;
use tokio::time::Instant;

use super::source::Shared;
use super::{Connections, Lease};
use crate::store::redis::address::Endpoint;

/// What a slot holds. One connector task at a time is responsible for it in `Connecting` and `Down`, none otherwise.
pub(super) enum State {
    /// No connection was asked for.
    Idle,
    /// The first attempt since there was none, or since one was lost.
    Connecting,
    /// There is one.
    Ready { id: u64, shared: Shared },
    /// The last attempt failed; the connector goes on.
    Down(CacheError),
    /// For good.
    Closed,
}

/// A [`State`] without its connection.
pub(super) enum Phase {
    Idle,
    Connecting,
    Ready,
    Down(CacheError),
    Closed,
}

impl State {
    pub(super) fn phase(&self) -> Phase {
        match self {
            Self::Idle => Phase::Idle,
            Self::Connecting => Phase::Connecting,
            Self::Ready { .. } => Phase::Ready,
            Self::Down(error) => Phase::Down(error.clone()),
            Self::Closed => Phase::Closed,
        }
    }
}

pub(super) struct Slot {
    state: watch::Sender<State>,
    /// Timeouts since the last answer.
    timeouts: AtomicU32,
    /// When a request was first given up since the last answer, in nanoseconds since `born`; 0 when none was.
    silent_since: AtomicU64,
    born: Instant,
    replacing: AtomicBool,
}

impl Slot {
    pub(super) fn new() -> Self {
        Self {
            state: watch::Sender::new(State::Idle),
            timeouts: AtomicU32::new(0),
            silent_since: AtomicU64::new(0),
            born: Instant::now(),
            replacing: AtomicBool::new(false),
        }
    }

    #[inline]
    pub(super) fn lease(&self, moves: u64) -> Option<Lease> {
        match &*self.state.borrow() {
            State::Ready { id, shared } => {
                shared.handle(moves).map(|connection| Lease { connection, id: *id })
            }
            _ => None,
        }
    }

    /// The number of the connection that [`lease`](Self::lease) would lend.
    #[inline]
    pub(super) fn current(&self, moves: u64) -> Option<u64> {
        match &*self.state.borrow() {
            State::Ready { id, shared } if shared.leads_to_primary(moves) => Some(*id),
            _ => None,
        }
    }

    /// Where it leads, if it is still that connection.
    pub(super) fn endpoint(&self, id: u64) -> Option<Endpoint> {
        match &*self.state.borrow() {
            State::Ready { id: now, shared } if *now == id => Some(shared.endpoint.clone()),
            _ => None,
        }
    }

    pub(super) fn phase(&self) -> Phase {
        self.state.borrow().phase()
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// `Idle => Connecting`. Whoever is told `true` starts the connector.
    pub(super) fn begin(&self) -> bool {
        self.state.send_if_modified(|state| {
            let idle = matches!(state, State::Idle);
            if idle {
                *state = State::Connecting;
            }
            idle
        })
    }

    /// `Ready => Connecting`, if it is still that connection. Whoever is told `true` starts the connector.
    pub(super) fn lose(&self, lost: u64) -> bool {
        self.state.send_if_modified(|state| {
            let same = matches!(state, State::Ready { id, .. } if *id == lost);
            if same {
                *state = State::Connecting;
            }
            same
        })
    }

    /// `Ready => Connecting`, if the primary has changed since it was made. Whoever is told `true` starts the connector.
    pub(super) fn leave(&self, moves: u64) -> bool {
        self.state.send_if_modified(|state| {
            let outdated = matches!(state, State::Ready { shared, .. } if !shared.leads_to_primary(moves));
            if outdated {
                *state = State::Connecting;
            }
            outdated
        })
    }

    /// `Connecting | Down => Ready | Down`, by the connector. `false` when the slot was closed meanwhile.
    pub(super) fn settle(&self, next: State) -> bool {
        self.heard();
        self.state.send_if_modified(|state| {
            let open = !matches!(state, State::Closed);
            if open {
                *state = next;
            }
            open
        })
    }

    /// `Ready => Ready`, if it is still that connection.
    pub(super) fn replace(&self, old: u64, shared: Shared, id: u64) {
        self.state.send_if_modified(|state| {
            let same = matches!(state, State::Ready { id, .. } if *id == old);
            if same {
                *state = State::Ready { id, shared };
                self.heard();
            }
            same
        });
    }

    /// Any state `=> Closed`.
    pub(super) fn close(&self) {
        self.state.send_replace(State::Closed);
    }

    #[inline]
    pub(super) fn answered(&self) {
        // A store for each answer would pass the cache line between cores for nothing.
        if self.timeouts.load(Ordering::Relaxed) != 0 || self.silent_since.load(Ordering::Relaxed) != 0 {
            self.heard();
        }
    }

    fn heard(&self) {
        self.timeouts.store(0, Ordering::Relaxed);
        self.silent_since.store(0, Ordering::Relaxed);
    }

    /// Returns how many timeouts there were in a row.
    pub(super) fn timed_out(&self) -> u32 {
        self.timeouts.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    /// The caller of a request did not wait for its answer.
    pub(super) fn given_up(&self) {
        let now = self.age();
        let _ = self.silent_since.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// How long ago a request was first given up, if none was answered since.
    pub(super) fn silence(&self) -> Option<Duration> {
        match self.silent_since.load(Ordering::Relaxed) {
            0 => None,
            since => Some(Duration::from_nanos(self.age().saturating_sub(since))),
        }
    }

    /// Whether it is still that connection, and has left requests without an answer since the last one.
    pub(super) fn is_unheard(&self, id: u64) -> bool {
        matches!(&*self.state.borrow(), State::Ready { id: now, .. } if *now == id)
            && (self.timeouts.load(Ordering::Relaxed) != 0 || self.silent_since.load(Ordering::Relaxed) != 0)
    }

    /// Nanoseconds since this was made, and never 0.
    fn age(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1)
    }

    /// Whoever is told `true` replaces the connection.
    pub(super) fn begin_replacing(&self) -> bool {
        !self.replacing.swap(true, Ordering::Relaxed)
    }
}

/// Held by the connector of a slot: when the task is dropped before it has done its work, as by a runtime that shuts down,
/// the slot is free again.
pub(super) struct Connector(Weak<Connections>, usize);

impl Connector {
    pub(super) fn new(connections: Weak<Connections>, slot: usize) -> Self {
        Self(connections, slot)
    }

    pub(super) fn upgrade(&self) -> Option<Arc<Connections>> {
        self.0.upgrade()
    }

    /// The slot is `Ready` or `Closed`, and no longer this task's.
    pub(super) fn done(mut self) {
        self.0 = Weak::new();
    }
}

impl Drop for Connector {
    fn drop(&mut self) {
        // `Connecting | Down => Idle`.
        if let Some(connections) = self.0.upgrade() {
            connections.slots[self.1].state.send_if_modified(|state| {
                let unsettled = matches!(state, State::Connecting | State::Down(_));
                if unsettled {
                    *state = State::Idle;
                }
                unsettled
            });
        }
    }
}

/// Held by the task that replaces the connection of a slot, and for a pause after that.
pub(super) struct Replacement(Weak<Connections>, usize);

impl Replacement {
    pub(super) fn new(connections: Weak<Connections>, slot: usize) -> Self {
        Self(connections, slot)
    }

    pub(super) fn upgrade(&self) -> Option<Arc<Connections>> {
        self.0.upgrade()
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if let Some(connections) = self.0.upgrade() {
            connections.slots[self.1].replacing.store(false, Ordering::Relaxed);
        }
    }
}
