//! A door that tests open by hand.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// A door, shut until [`open`](Gate::open)ed: what a scripted call or readiness waits at.
///
/// Clones are the same gate. It wakes the latest waker of whoever waits, as the `Future` contract asks, and no other.
#[derive(Clone, Default)]
pub struct Gate(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    open: bool,
    next: u64,
    waiting: HashMap<u64, Waker>,
}

impl Gate {
    /// A shut gate.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens it for good and wakes everyone who waits.
    pub fn open(&self) {
        let wakers: Vec<Waker> = {
            let mut state = self.lock();
            state.open = true;
            state.waiting.drain().map(|(_, waker)| waker).collect()
        };
        for waker in wakers {
            waker.wake();
        }
    }

    /// How many wait at it.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Gate").field("open", &state.open).field("waiting", &state.waiting.len()).finish()
    }
}

/// One who waits at a gate, and leaves the queue when dropped.
pub(super) struct Passage {
    gate: Gate,
    id: Option<u64>,
}

impl Passage {
    pub(super) fn new(gate: Gate) -> Self {
        Self { gate, id: None }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.gate.lock();
        if state.open {
            return Poll::Ready(());
        }
        let id = *self.id.get_or_insert_with(|| {
            state.next += 1;
            state.next
        });
        state.waiting.insert(id, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.gate.lock().waiting.remove(&id);
        }
    }
}
