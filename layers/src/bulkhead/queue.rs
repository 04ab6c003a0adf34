//! Who waits, in the order of arrival, with removal from anywhere in constant time.

use std::task::Waker;

/// A waiter's name in its queue, valid until [`WaitQueue::remove`].
pub(super) type WaiterId = u32;

const NIL: u32 = u32::MAX;

/// A doubly linked list threaded through a vector whose freed slots are used again: a queue that has been as long as it
/// gets does not allocate any more.
///
/// Wakers that leave are handed out, never dropped in here: dropping one may end a task, whose own place in the same
/// queue would then be given up under the lock that is already held.
#[derive(Debug)]
pub(super) struct WaitQueue {
    slots: Vec<Slot>,
    first_free: u32,
    head: u32,
    tail: u32,
}

#[derive(Debug)]
struct Slot {
    prev: u32,
    next: u32,
    granted: bool,
    waker: Option<Waker>,
}

impl WaitQueue {
    pub(super) fn new() -> Self {
        Self { slots: Vec::new(), first_free: NIL, head: NIL, tail: NIL }
    }

    /// Queues a waiter that nobody has polled yet.
    pub(super) fn push(&mut self) -> WaiterId {
        let slot = Slot { prev: self.tail, next: NIL, granted: false, waker: None };
        let id = if self.first_free == NIL {
            self.slots.push(slot);
            (self.slots.len() - 1) as WaiterId
        } else {
            let id = self.first_free;
            self.first_free = self.slots[id as usize].next;
            self.slots[id as usize] = slot;
            id
        };
        match self.tail {
            NIL => self.head = id,
            tail => self.slots[tail as usize].next = id,
        }
        self.tail = id;
        id
    }

    /// Takes the first waiter out of the line and marks it granted; it keeps its slot until it is removed.
    /// Answers `None` when nobody waits, else the waker to wake, which a waiter has once it was polled.
    pub(super) fn grant_first(&mut self) -> Option<Option<Waker>> {
        let id = self.head;
        if id == NIL {
            return None;
        }
        self.unlink(id);
        let slot = &mut self.slots[id as usize];
        slot.granted = true;
        Some(slot.waker.take())
    }

    pub(super) fn is_granted(&self, id: WaiterId) -> bool {
        self.slots[id as usize].granted
    }

    /// Has `waker` woken when the waiter is granted; answers the waker it replaces.
    pub(super) fn register(&mut self, id: WaiterId, waker: &Waker) -> Option<Waker> {
        let registered = &mut self.slots[id as usize].waker;
        match registered {
            Some(known) if known.will_wake(waker) => None,
            _ => registered.replace(waker.clone()),
        }
    }

    /// Forgets the waiter, wherever in line it stands; answers whether it had been granted, and its waker.
    pub(super) fn remove(&mut self, id: WaiterId) -> (bool, Option<Waker>) {
        let granted = self.slots[id as usize].granted;
        if !granted {
            self.unlink(id);
        }
        let slot = &mut self.slots[id as usize];
        slot.next = self.first_free;
        self.first_free = id;
        (granted, slot.waker.take())
    }

    fn unlink(&mut self, id: WaiterId) {
        let (prev, next) = (self.slots[id as usize].prev, self.slots[id as usize].next);
        match prev {
            NIL => self.head = next,
            prev => self.slots[prev as usize].next = next,
        }
        match next {
            NIL => self.tail = prev,
            next => self.slots[next as usize].prev = prev,
        }
    }
}
