//! A connection that many reads of one key share.
//!
//! Whoever reads queues its key behind those of the others and waits for its own reply. One task, the [`Driver`], writes
//! what has come together with one system call, and hands out the replies in the order of the commands, each as soon as
//! it is there. Commands go out although earlier ones have no answer yet, up to [`WINDOW`] of them. What waits beyond that is not
//! sent when its caller leaves, so that a server which cannot keep up is not asked for what nobody wants.
//!
//! ```text
//!   Open    a read comes                => Open       it is queued, and the driver woken if it sleeps
//!   Open    the pipe is dropped         => Closing    no more reads come; who waits is still answered
//!   Closing nobody waits any more       => Over
//!   Open, Closing   the connection ends => Over       who was sent fails; who was not can go another way
//! ```
//!
//! A connection that the server closed while nobody used it is not always seen before something is written. So when one ends
//! and not a byte has come since it was last idle, those who were sent can go another way as well: they only read.
//!
//! Wakers leave the lock before they are woken or dropped: that may run whatever code a runtime likes.

mod driver;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use cachex_core::{CacheError, Key};
use redis::ServerError;
use tokio::time::Instant;

pub(in super::super) use self::driver::Driver;
use super::Socket;
use crate::store::redis::connection::SILENCE;
use crate::store::redis::error;

/// How many commands may be without a reply. What the driver that serves all other requests has as the length of its queue,
/// and a batch of the batch layer as its size.
pub(super) const WINDOW: usize = 256;

/// Places beyond so many are given back when nobody needs any.
const PLACES: usize = 1024;

/// The way into a pipe. Dropping it closes the pipe, once nobody waits for an answer any more.
pub(in super::super) struct Pipe(Arc<Shared>);

/// What callers and driver share.
pub(in super::super) struct Shared {
    state: Mutex<State>,
    /// Set once, with the phase.
    over: AtomicBool,
}

#[derive(Default)]
struct State {
    phase: Phase,
    /// What nobody has begun to write.
    queued: VecDeque<(u32, Key)>,
    /// How many of those have left.
    withdrawn: usize,
    /// Whose replies are to come, in the order of their commands.
    owed: VecDeque<u32>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// How many callers wait.
    live: usize,
    /// The driver, while it sleeps, and whether it is to be woken for a read.
    driver: Option<Waker>,
    is_hungry: bool,
    /// Since when nothing has come, if a read was given up meanwhile.
    silent_since: Option<Instant>,
    /// When anything came last.
    heard_at: Option<Instant>,
    /// Whether somebody has been told that the connection is taken for half open.
    is_suspect: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Open,
    Closing,
    Over,
}

/// One caller's place.
enum Slot {
    Free,
    Queued(Waker),
    Sent(Waker),
    /// The caller is gone; what it asked is still queued, or its reply is to come.
    Left,
    Told(Told),
}

/// What became of a read.
#[derive(Debug)]
pub(in super::super) enum Told {
    Found(Option<Bytes>),
    Refused(ServerError),
    /// The connection was lost after the command had been sent.
    Failed(CacheError),
    /// It was not sent, or over a connection that had been closed before: the read can go another way.
    Unsent,
}

impl Pipe {
    /// A pipe over a connection that is ready for commands, and the task that serves it.
    pub(in super::super) fn open(socket: Box<dyn Socket>, gives_way: bool) -> (Self, Driver) {
        let shared = Arc::new(Shared { state: Mutex::default(), over: AtomicBool::new(false) });
        (Self(Arc::clone(&shared)), Driver::new(shared, socket, gives_way))
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.0
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        if state.phase == Phase::Open {
            state.phase = Phase::Closing;
        }
        let driver = state.driver.take();
        drop(state);
        wake(driver);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // What could panic under it is the cloning of a foreign waker, before anything has changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether no command is taken any more, because the connection has ended.
    #[inline]
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Whether every place is free.
    #[cfg(test)]
    pub(super) fn is_tidy(&self) -> bool {
        let state = self.lock();
        state.live == 0 && state.slots.iter().all(|slot| matches!(slot, Slot::Free))
    }

    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        self.lock().slots.len()
    }

    /// A read of this key: nothing happens until it is polled.
    pub(in super::super) fn ask(self: Arc<Self>, key: Key, now: Instant) -> Asking {
        Asking { shared: self, key: Some(key), slot: None, asked_at: now }
    }

    /// Queues a read; `None` when no more are taken.
    fn push(&self, key: Key, waker: &Waker) -> Option<u32> {
        let waker = waker.clone();
        let mut state = self.lock();
        if state.phase != Phase::Open {
            drop(state);
            return None;
        }
        let slot = state.seat(Slot::Queued(waker));
        state.queued.push_back((slot, key));
        state.live += 1;
        let driver = if state.is_hungry { state.driver.take() } else { None };
        drop(state);
        wake(driver);
        Some(slot)
    }

    /// What the caller in this slot is told, which then is nobody's. Else `waker` is woken when there is something to tell.
    fn look(&self, slot: u32, waker: &Waker) -> Poll<Told> {
        let mut state = self.lock();
        let place = &mut state.slots[slot as usize];
        match place {
            Slot::Queued(known) | Slot::Sent(known) => {
                let unused = (!known.will_wake(waker)).then(|| std::mem::replace(known, waker.clone()));
                drop(state);
                drop(unused);
                Poll::Pending
            }
            _ => {
                let told = std::mem::replace(place, Slot::Free);
                state.vacate(slot);
                drop(state);
                match told {
                    Slot::Told(told) => Poll::Ready(told),
                    _ => Poll::Ready(Told::Failed(error::unexpected_reply())),
                }
            }
        }
    }

    /// The caller in this slot goes. Whether the connection is to be taken for half open, which is told once: reads were
    /// given up on it, and for [`SILENCE`] not a byte came, or a second one in a row ran into its time limit.
    fn leave(&self, slot: u32, asked_at: Instant, timed_out: bool) -> bool {
        let mut guard = self.lock();
        let state = &mut *guard;
        let place = &mut state.slots[slot as usize];
        let left = match std::mem::replace(place, Slot::Left) {
            Slot::Queued(waker) => {
                state.withdrawn += 1;
                waker
            }
            Slot::Sent(waker) => waker,
            told => {
                *place = Slot::Free;
                state.vacate(slot);
                drop(guard);
                drop(told);
                return false;
            }
        };
        state.live -= 1;
        if state.withdrawn > WINDOW && 2 * state.withdrawn > state.queued.len() {
            state.forget_withdrawn();
        }
        let before = state.silent_since;
        if before.is_none() {
            state.silent_since = Some(state.heard_at.map_or(asked_at, |heard| heard.max(asked_at)));
        }
        let is_silent = before.is_some_and(|since| timed_out || since.elapsed() >= SILENCE);
        let is_news = is_silent && !std::mem::replace(&mut state.is_suspect, true);
        let driver = if state.is_done() { state.driver.take() } else { None };
        drop(guard);
        drop(left);
        wake(driver);
        is_news
    }
}

impl State {
    fn seat(&mut self, caller: Slot) -> u32 {
        match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = caller;
                slot
            }
            None => {
                self.slots.push(caller);
                (self.slots.len() - 1) as u32
            }
        }
    }

    fn vacate(&mut self, slot: u32) {
        self.free.push(slot);
        if self.slots.len() > PLACES && self.free.len() == self.slots.len() {
            (self.slots, self.free) = (Vec::new(), Vec::new());
        }
    }

    /// Takes a place, and leaves it free or with what its caller is told; whom to wake then.
    fn tell(&mut self, slot: u32, told: Told) -> Option<Waker> {
        let place = &mut self.slots[slot as usize];
        match std::mem::replace(place, Slot::Free) {
            Slot::Queued(waker) | Slot::Sent(waker) => {
                *place = Slot::Told(told);
                self.live -= 1;
                Some(waker)
            }
            _ => {
                self.vacate(slot);
                None
            }
        }
    }

    /// Takes those out of the queue whose callers have left.
    fn forget_withdrawn(&mut self) {
        let mut queued = std::mem::take(&mut self.queued);
        queued.retain(|&(slot, _)| {
            let stays = matches!(self.slots[slot as usize], Slot::Queued(_));
            if !stays {
                self.slots[slot as usize] = Slot::Free;
                self.vacate(slot);
            }
            stays
        });
        self.queued = queued;
        self.withdrawn = 0;
    }

    /// Something has come.
    fn hear(&mut self) {
        (self.silent_since, self.heard_at) = (None, Some(Instant::now()));
    }

    /// Whether something can be taken.
    fn has_more(&self) -> bool {
        !self.queued.is_empty() && self.owed.len() < WINDOW
    }

    /// Whether there is nothing left to do.
    fn is_done(&self) -> bool {
        self.phase != Phase::Open && self.live == 0
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// A read under way. Dropping it leaves its reply to be skipped.
pub(in super::super) struct Asking {
    shared: Arc<Shared>,
    /// Until it is queued.
    key: Option<Key>,
    /// While its caller waits.
    slot: Option<u32>,
    asked_at: Instant,
}

impl Asking {
    /// Gives the read up; see [`Shared::leave`].
    pub(in super::super) fn give_up(&mut self, timed_out: bool) -> bool {
        self.slot.take().is_some_and(|slot| self.shared.leave(slot, self.asked_at, timed_out))
    }
}

impl Future for Asking {
    type Output = Told;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Told> {
        if let Some(key) = self.key.take() {
            self.slot = self.shared.push(key, cx.waker());
            return if self.slot.is_some() { Poll::Pending } else { Poll::Ready(Told::Unsent) };
        }
        let Some(slot) = self.slot else { return Poll::Ready(Told::Failed(error::unexpected_reply())) };
        let told = ready!(self.shared.look(slot, cx.waker()));
        self.slot = None;
        Poll::Ready(told)
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.give_up(false);
    }
}
