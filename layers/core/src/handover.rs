//! Where a request went, told within one poll.
//!
//! A store that hands work to a process on this very machine says so, and whoever polled the store may then let that process
//! have the core, once it has nothing more urgent to do with it itself ([`std::thread::yield_now`]). Otherwise, where every
//! core is busy with callers, the process that all of them wait for waits behind them.
//!
//! What is noted holds for the current thread until it is taken. Whoever means to take it clears it before it polls: others may
//! have left a note that nobody was interested in.
//!
//! ```
//! use cachex_core::handover;
//!
//! handover::clear(); // Not from anybody else.
//! handover::to_this_machine(); // A store, while it is polled.
//! if handover::take() {
//!     std::thread::yield_now();
//! }
//! assert!(!handover::take());
//! ```

use std::cell::Cell;

thread_local! {
    static NOTED: Cell<bool> = const { Cell::new(false) };
}

/// Notes that a process on this machine has something to do now.
#[inline]
pub fn to_this_machine() {
    NOTED.set(true);
}

/// Forgets what was noted on this thread.
#[inline]
pub fn clear() {
    NOTED.set(false);
}

/// Whether that was noted on this thread; it no longer is then.
#[must_use]
#[inline]
pub fn take() -> bool {
    NOTED.replace(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_taken_once_and_by_its_own_thread() {
        assert!(!take());
        to_this_machine();
        to_this_machine();
        assert!(!std::thread::spawn(take).join().unwrap());
        assert!(take());
        assert!(!take());
    }
}
