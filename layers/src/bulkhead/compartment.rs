//! A compartment: a counting semaphore with a bounded, first-come-first-served queue.
//!
//! One atomic word holds both counts, so that the common case, nobody waiting, is one compare-and-swap to enter and one
//! to leave. Whatever touches the queue happens under a mutex.
//!
//! ```text
//!   word = (queued, in_use)                                       needs the lock
//!   enter     (0, n < max)  => (0, n + 1)                         no
//!   enter     (q, max)      => (q + 1, max)      waits            yes
//!   enter     (bound, max)  => unchanged         refused          no
//!   leave     (0, n)        => (0, n - 1)                         no
//!   leave     (q > 0, max)  => (q - 1, max)      handed over      yes
//!   give up   (q > 0, max)  => (q - 1, max)      was waiting      yes
//!   give up   as leave                           was granted
//! ```
//!
//! Somebody queues only in the same step that sees every permit in use, and a permit that is given back while somebody
//! queues goes to the first in line without ever being free. Hence **`queued > 0` implies `in_use == max`**: there is
//! never a free permit that a waiter sleeps beside, and nobody who comes later can overtake the line.
//!
//! No wake-up is lost: a waiter asks whether it was granted and leaves its waker in one critical section, and granting
//! takes the waker in another. Either the waiter sees the grant, or the granter sees the waker; a waiter that was never
//! polled has no waker and sees the grant in its first poll.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use super::queue::{WaitQueue, WaiterId};

/// The largest number of permits, and of waiters, of a compartment: both counts fit in half a word with room to spare.
pub(super) const MAX: u32 = u32::MAX >> 1;

const ONE_IN_USE: u64 = 1;
const ONE_QUEUED: u64 = 1 << 32;

/// On cache lines of its own: reads and writes then do not slow each other down.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Compartment {
    word: AtomicU64,
    max: u32,
    max_queued: u32,
    rejected: AtomicU64,
    queue: Mutex<WaitQueue>,
}

/// What became of an attempt to enter.
pub(super) enum Entry {
    /// A permit was free.
    Granted,
    /// All are in use; this is the place in the queue.
    Queued(WaiterId),
    /// All are in use and the queue is full.
    Full,
}

const fn in_use(word: u64) -> u32 {
    word as u32
}

const fn queued(word: u64) -> u32 {
    (word >> 32) as u32
}

impl Compartment {
    pub(super) fn new(max: u32, max_queued: u32) -> Self {
        Self {
            word: AtomicU64::new(0),
            max,
            max_queued,
            rejected: AtomicU64::new(0),
            queue: Mutex::new(WaitQueue::new()),
        }
    }

    /// Takes a permit, if one is free. Else it answers what it saw. It never panics.
    #[inline]
    pub(super) fn enter_at_once(&self) -> Result<(), u64> {
        let mut word = self.word.load(Ordering::Relaxed);
        while in_use(word) < self.max {
            // Acquire: what ran under the permit before is over for us, too.
            match self.word.compare_exchange_weak(
                word,
                word + ONE_IN_USE,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(()),
                Err(now) => word = now,
            }
        }
        Err(word)
    }

    /// Takes a permit, or a place in the queue.
    pub(super) fn enter(&self) -> Entry {
        match self.enter_at_once() {
            Ok(()) => Entry::Granted,
            Err(seen) => self.enter_queue(seen),
        }
    }

    fn enter_queue(&self, seen: u64) -> Entry {
        // A storm of refusals never touches the lock.
        if queued(seen) >= self.max_queued {
            return self.refuse();
        }
        let mut queue = self.lock();
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            // Permits may have come back before the lock was ours, and may still do while nobody queues. Only the
            // exchange that sees them all in use may queue.
            let (next, entry) = if in_use(word) < self.max {
                (word + ONE_IN_USE, Entry::Granted)
            } else if queued(word) < self.max_queued {
                (word + ONE_QUEUED, Entry::Queued(0))
            } else {
                drop(queue);
                return self.refuse();
            };
            match self.word.compare_exchange_weak(word, next, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) if matches!(entry, Entry::Granted) => return Entry::Granted,
                Ok(_) => return Entry::Queued(queue.push()),
                Err(now) => word = now,
            }
        }
    }

    /// Gives a permit back: to the first in line, if anybody waits.
    #[inline]
    pub(super) fn leave(&self) {
        let mut word = self.word.load(Ordering::Relaxed);
        while queued(word) == 0 {
            match self.word.compare_exchange_weak(
                word,
                word - ONE_IN_USE,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => word = now,
            }
        }
        self.hand_over();
    }

    #[cold]
    fn hand_over(&self) {
        let mut queue = self.lock();
        // The line may have been given up since; under the lock it cannot form again before the permit is back.
        let Some(waker) = queue.grant_first() else {
            self.word.fetch_sub(ONE_IN_USE, Ordering::Release);
            return;
        };
        // The permit stays in use: it is the waiter's now. The lock orders our work before the waiter's.
        self.word.fetch_sub(ONE_QUEUED, Ordering::Relaxed);
        drop(queue);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether the waiter has been granted a permit; it then has left the queue. Else `waker` is woken when it is.
    pub(super) fn poll_granted(&self, id: WaiterId, waker: &Waker) -> bool {
        let mut queue = self.lock();
        let (granted, unused) =
            if queue.is_granted(id) { queue.remove(id) } else { (false, queue.register(id, waker)) };
        drop(queue);
        drop(unused);
        granted
    }

    /// Leaves the queue. `true` when a permit had been granted already, which is the waiter's to give back.
    pub(super) fn give_up(&self, id: WaiterId) -> bool {
        let mut queue = self.lock();
        let (granted, unused) = queue.remove(id);
        if !granted {
            self.word.fetch_sub(ONE_QUEUED, Ordering::Relaxed);
        }
        drop(queue);
        drop(unused);
        granted
    }

    /// Counts a waiter whose time was up.
    pub(super) fn count_rejected(&self) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
    }

    /// Both counts of one moment, and the refusals so far: `(in_use, queued, rejected)`.
    pub(super) fn read(&self) -> (u32, u32, u64) {
        let word = self.word.load(Ordering::Relaxed);
        (in_use(word), queued(word), self.rejected.load(Ordering::Relaxed))
    }

    fn refuse(&self) -> Entry {
        self.count_rejected();
        Entry::Full
    }

    fn lock(&self) -> MutexGuard<'_, WaitQueue> {
        // Nothing is left half done where a panic could strike (cloning a foreign waker), so poison means nothing.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(compartment: &Compartment) -> (u32, u32) {
        let (in_use, queued, _) = compartment.read();
        (in_use, queued)
    }

    // The slow paths, entered as a thread would that looked and was then overtaken.

    #[test]
    fn a_permit_that_came_back_before_the_lock_is_taken() {
        let compartment = Compartment::new(1, 1);
        assert!(matches!(compartment.enter(), Entry::Granted));
        let seen = compartment.word.load(Ordering::Relaxed);
        compartment.leave();
        assert!(matches!(compartment.enter_queue(seen), Entry::Granted));
        assert_eq!(counts(&compartment), (1, 0));
    }

    #[test]
    fn a_queue_that_filled_up_before_the_lock_refuses() {
        let compartment = Compartment::new(1, 1);
        assert!(matches!(compartment.enter(), Entry::Granted));
        let seen = compartment.word.load(Ordering::Relaxed);
        assert!(matches!(compartment.enter(), Entry::Queued(_)));
        assert!(matches!(compartment.enter_queue(seen), Entry::Full));
        assert_eq!(compartment.read(), (1, 1, 1));
    }

    #[test]
    fn a_line_that_was_given_up_before_the_lock_leaves_the_permit_free() {
        let compartment = Compartment::new(1, 1);
        assert!(matches!(compartment.enter(), Entry::Granted));
        let Entry::Queued(waiter) = compartment.enter() else { panic!("one permit, two calls") };
        assert!(!compartment.give_up(waiter));
        compartment.hand_over();
        assert_eq!(counts(&compartment), (0, 0));
    }

    #[test]
    fn slots_are_used_again() {
        let compartment = Compartment::new(1, 3);
        assert!(matches!(compartment.enter(), Entry::Granted));
        for _ in 0..100 {
            let waiters = [(); 3].map(|()| match compartment.enter() {
                Entry::Queued(id) => id,
                _ => panic!("there is room for three"),
            });
            compartment.leave();
            assert!(compartment.poll_granted(waiters[0], Waker::noop()));
            assert!(!compartment.give_up(waiters[2]) && !compartment.give_up(waiters[1]));
            assert_eq!(counts(&compartment), (1, 0));
        }
        assert!(format!("{:?}", compartment.queue).matches("Slot {").count() <= 3);
    }
}
