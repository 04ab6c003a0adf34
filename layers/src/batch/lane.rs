//! A lane: one read or batch at a time, and those who wait for it.
//!
//! ```text
//!   idle    join              => alone           the caller passes alone
//!   alone   join              => sending         the caller waits, and a sender takes the lane: a read that passes alone
//!                                                holds up nobody, since its task need not poll it
//!   alone   pass on           => idle            the read that passed alone is done, unless a sender took the lane
//!   sending join              => sending         the caller waits in the last group, or in a new one
//!   sending take, queue       => sending         the sender takes the first group
//!   sending take, no queue    => idle            the sender is done
//!   sending pass on, queue    => sending         the sender went down with its runtime: another takes the lane
//!   sending pass on, no queue => idle
//! ```
//!
//! A group can be joined until it is taken, which is before it is handed to the inner service: a read never joins what may
//! have been answered already.
//!
//! Wakers and values leave the lane's lock before they are dropped or woken: dropping one may end a task whose own place is
//! in the same lane.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use cachex_core::Key;
use tokio::runtime::{Handle, Id};

use super::counters::LaneCounters;
use super::group::{Answers, Group, Phase, Told};
use super::layer::Settings;

/// A caller's place in a lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    group: u32,
    slot: u32,
}

/// What became of an attempt to join.
pub(super) enum Join {
    /// The lane was idle and is the caller's until it is passed on, or somebody comes.
    Alone(Holder),
    /// The caller waits here. The first to do so behind a read that passes alone is told where to send from.
    Waiting(Place, Option<Handle>),
    /// There is no runtime that could send a batch: the caller passes without the lane.
    Apart,
    /// Too many wait.
    Full,
}

/// A group on its way to the inner service.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    pub(super) group: u32,
    /// How many callers are in it.
    pub(super) reads: usize,
}

/// Who has a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    Nobody,
    /// A read that passes alone, by its number.
    Alone(u64),
    Sender,
}

/// On cache lines of its own.
#[repr(align(128))]
pub(super) struct Lane<V> {
    state: Mutex<State<V>>,
}

struct State<V> {
    holder: Holder,
    /// How many reads passed alone.
    alone: u64,
    groups: Vec<Group<V>>,
    /// Groups nobody is in.
    free: Vec<u32>,
    /// Groups that gather, first come first; only the last can be joined.
    waiting: VecDeque<u32>,
    table: Vec<u32>,
}

impl<V> Lane<V> {
    pub(super) fn new() -> Self {
        let (groups, free, waiting, table) = (Vec::new(), Vec::new(), VecDeque::new(), Vec::new());
        Self { state: Mutex::new(State { holder: Holder::Nobody, alone: 0, groups, free, waiting, table }) }
    }

    fn lock(&self) -> MutexGuard<'_, State<V>> {
        // What could panic under it is the cloning of a foreign waker, before anything has changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the lane, or a place in it. The key is taken only by those who wait.
    #[inline]
    pub(super) fn join(
        &self,
        key: &Key,
        waker: &Waker,
        settings: &Settings,
        counters: &LaneCounters,
    ) -> Join {
        let mut state = self.lock();
        if state.holder == Holder::Nobody {
            state.alone += 1;
            state.holder = Holder::Alone(state.alone);
            return Join::Alone(state.holder);
        }
        let waker = waker.clone();
        let Some(group) = state.open_group(key.as_str().len(), settings) else {
            drop(state);
            return Join::Apart;
        };
        if !counters.enter(settings.queue) {
            // An open group has someone in it, unless it was just made.
            let unused = state.discard_if_empty(group);
            drop(state);
            drop((waker, unused));
            return Join::Full;
        }
        let slot = state.groups[group as usize].seat(key.clone(), waker);
        let mut runtime = None;
        if matches!(state.holder, Holder::Alone(_)) {
            state.holder = Holder::Sender;
            runtime = state.groups[group as usize].runtime.clone();
        }
        Join::Waiting(Place { group, slot }, runtime)
    }

    /// What the caller is told, who is then gone. Else `waker` is woken when there is something to tell.
    pub(super) fn poll(&self, place: Place, waker: &Waker, unfenced: bool) -> Poll<Told<V>> {
        let mut state = self.lock();
        let group = &mut state.groups[place.group as usize];
        let Some(told) = group.tell(place.slot, unfenced) else {
            let unused = group.register(place.slot, waker);
            drop(state);
            drop(unused);
            return Poll::Pending;
        };
        let unused = state.discard_if_empty(place.group);
        drop(state);
        drop(unused);
        Poll::Ready(told)
    }

    /// Gives a place up.
    pub(super) fn leave(&self, place: Place, counters: &LaneCounters) {
        let mut state = self.lock();
        let group = &mut state.groups[place.group as usize];
        let waker = group.vacate(place.slot);
        let (mut sender, mut unused) = (None, None);
        match group.phase {
            Phase::Gathering => {
                counters.withdraw();
                unused = state.discard_if_empty(place.group);
            }
            // Nobody wants it any more: the sender gives it up.
            Phase::Sent if group.live == 0 => sender = group.sender.take(),
            Phase::Sent => {}
            Phase::Answered(_) => unused = state.discard_if_empty(place.group),
        }
        drop(state);
        drop((waker, unused));
        if let Some(sender) = sender {
            sender.wake();
        }
    }

    /// Whoever had the lane is done with it. Answers where to send from if somebody waits: the lane is then the sender's.
    /// Else it is idle, unless somebody has it by now.
    pub(super) fn pass_on(&self, holder: Holder) -> Option<Handle> {
        let mut state = self.lock();
        if state.holder != holder {
            return None;
        }
        let next = state.waiting.front().map(|&group| state.groups[group as usize].runtime.clone());
        state.holder = if next.is_some() { Holder::Sender } else { Holder::Nobody };
        next.flatten()
    }

    /// Takes the first group that waits, and moves its keys into `keys`, each once. When there is none the lane is idle.
    pub(super) fn take(&self, keys: &mut Vec<Key>, counters: &LaneCounters) -> Option<Taken> {
        let mut state = self.lock();
        let taken = state.take(keys, counters);
        state.holder = if taken.is_some() { Holder::Sender } else { Holder::Nobody };
        taken
    }

    /// Takes the first group that waits if it is to be sent from this runtime. The lane stays busy.
    pub(super) fn take_of(&self, runtime: Id, keys: &mut Vec<Key>, counters: &LaneCounters) -> Option<Taken> {
        let mut state = self.lock();
        let first = &state.groups[*state.waiting.front()? as usize];
        let is_of = first.runtime.as_ref().is_some_and(|first| first.id() == runtime);
        if is_of { state.take(keys, counters) } else { None }
    }

    /// How many wait in the group that would be taken next.
    pub(super) fn waiting(&self) -> usize {
        let state = self.lock();
        state.waiting.front().map_or(0, |&group| state.groups[group as usize].live)
    }

    /// Whether nobody waits for the batch any more. Else `waker` is woken when that is so.
    pub(super) fn is_abandoned(&self, group: u32, waker: &Waker) -> bool {
        let mut state = self.lock();
        let group = &mut state.groups[group as usize];
        if group.live == 0 {
            return true;
        }
        let unused = match &group.sender {
            Some(known) if known.will_wake(waker) => None,
            _ => group.sender.replace(waker.clone()),
        };
        drop(state);
        drop(unused);
        false
    }

    /// Tells the callers of a group that was taken, and wakes them. `wakers` is scratch.
    pub(super) fn settle(&self, id: u32, answers: Answers<V>, wakers: &mut Vec<Waker>) {
        let mut state = self.lock();
        let group = &mut state.groups[id as usize];
        group.phase = Phase::Answered(answers);
        group.collect_wakers(wakers);
        let sender = group.sender.take();
        let unused = state.discard_if_empty(id);
        drop(state);
        drop((sender, unused));
        for waker in wakers.drain(..) {
            // One that panics is no reason to leave the others asleep.
            let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
    }
}

impl<V> State<V> {
    /// The group that can be joined by a key of so many bytes.
    #[inline]
    fn open_group(&mut self, bytes: usize, settings: &Settings) -> Option<u32> {
        if let Some(&last) = self.waiting.back()
            && self.groups[last as usize].has_room(bytes, settings.max_batch, settings.max_key_bytes)
        {
            return Some(last);
        }
        let runtime = Handle::try_current().ok()?;
        let id = self.free.pop().unwrap_or_else(|| {
            self.groups.push(Group::new());
            (self.groups.len() - 1) as u32
        });
        self.groups[id as usize].runtime = Some(runtime);
        self.waiting.push_back(id);
        Some(id)
    }

    /// The first group that waits, and its keys, each once.
    fn take(&mut self, keys: &mut Vec<Key>, counters: &LaneCounters) -> Option<Taken> {
        let id = self.waiting.pop_front()?;
        let group = &mut self.groups[id as usize];
        group.phase = Phase::Sent;
        group.collect_keys(keys, &mut self.table);
        counters.send(group.live, keys.len());
        Some(Taken { group: id, reads: group.live })
    }

    /// Frees the group if its last caller is gone; answers what must not be dropped under the lock.
    fn discard_if_empty(&mut self, id: u32) -> Option<(Phase<V>, Option<Handle>)> {
        let group = &mut self.groups[id as usize];
        if group.live > 0 {
            return None;
        }
        let runtime = group.runtime.take();
        let phase = group.reset();
        if matches!(phase, Phase::Gathering) {
            self.waiting.retain(|&waiting| waiting != id);
        }
        self.free.push(id);
        Some((phase, runtime))
    }
}
