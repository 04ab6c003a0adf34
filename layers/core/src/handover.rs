//! Where work went, told within one poll, and giving way to whoever has to do it.
//!
//! A store that hands work to a process on this very machine says so ([`to_this_machine`]). Whoever polled the store
//! ([`watch`]) may then give up its thread's core ([`give_way`]), once it has nothing more urgent to do with it. Otherwise,
//! where every core is busy with callers, the process that all of them wait for waits behind them.
//!
//! Both ends need the same version of this crate, and the same poll: a layer between them that spawns a task loses the note, and
//! nobody gives way.
//!
//! ```
//! use cachex_core::handover;
//!
//! let (_, noted) = handover::watch(|| handover::to_this_machine()); // A store, while it is polled.
//! if noted {
//!     handover::give_way();
//! }
//! ```

use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

/// Longer than a server takes for a batch, and shorter than a scheduler's time slice: somebody else had the core.
const TOO_LONG: Duration = Duration::from_millis(1);

/// How often nobody gives way after it took too long: at first, and at most.
const PAUSE: u32 = 16;
const LONGEST_PAUSE: u32 = 4096;

thread_local! {
    static NOTED: Cell<bool> = const { Cell::new(false) };
    static MANNERS: Cell<Manners> = const { Cell::new(Manners { left: 0, pause: PAUSE }) };
}

/// Notes that a process on this machine has something to do now. Costs nothing to speak of, whether anybody watches or not.
#[inline]
pub fn to_this_machine() {
    NOTED.set(true);
}

/// Runs `poll`, and tells whether work went to this machine meanwhile. What was noted before is neither seen nor lost.
#[inline]
pub fn watch<R>(poll: impl FnOnce() -> R) -> (R, bool) {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            NOTED.set(self.0);
        }
    }
    let _before = Restore(NOTED.replace(false));
    let result = poll();
    (result, NOTED.get())
}

/// Gives up this thread's core to whoever waits for it ([`std::thread::yield_now`]), and tells whether it did.
///
/// Where that took longer than a millisecond, something else than a server of small requests had the core: a thread that
/// computes, for a whole time slice. The calls that follow on this thread do nothing then, 16 at first, and up to 4,096 while it goes on.
#[expect(clippy::must_use_candidate, reason = "most give way without asking whether it came to that")]
pub fn give_way() -> bool {
    let mut gave_way = false;
    MANNERS.set(MANNERS.get().after(|| {
        gave_way = true;
        let began = Instant::now();
        thread::yield_now();
        began.elapsed()
    }));
    gave_way
}

/// How willing a thread is to give way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Manners {
    /// How often it does not.
    left: u32,
    /// How often it will not the next time that it takes too long.
    pause: u32,
}

impl Manners {
    fn after(self, give_way: impl FnOnce() -> Duration) -> Self {
        let Self { left, pause } = self;
        if left > 0 {
            return Self { left: left - 1, pause };
        }
        if give_way() > TOO_LONG {
            Self { left: pause, pause: (pause * 2).min(LONGEST_PAUSE) }
        } else {
            Self { left: 0, pause: (pause / 2).max(PAUSE) }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    #[test]
    fn what_is_noted_is_seen_by_the_innermost_who_watches() {
        to_this_machine();
        let (inner, outer) = watch(|| watch(to_this_machine).1);
        assert_eq!((inner, outer), (true, false));
        let ((_, inner), outer) = watch(|| {
            to_this_machine();
            watch(|| ())
        });
        assert_eq!((inner, outer), (false, true));
        let ((), other_thread) = watch(|| thread::spawn(to_this_machine).join().unwrap());
        assert!(!other_thread);
    }

    #[test]
    fn a_panic_loses_nothing() {
        let ((), noted) = watch(|| {
            to_this_machine();
            assert!(catch_unwind(|| watch(|| panic!("planted"))).is_err());
        });
        assert!(noted);
    }

    #[test]
    fn who_had_to_wait_long_gives_way_less_often_and_again_when_it_is_short() {
        let (short, long) = (Duration::from_micros(100), Duration::from_millis(4));
        // How many calls until the next that gives way, which takes so long.
        let mut manners = Manners { left: 0, pause: PAUSE };
        let mut until = |takes: Duration| {
            for skipped in 0.. {
                let mut gave_way = false;
                manners = manners.after(|| {
                    gave_way = true;
                    takes
                });
                if gave_way {
                    return skipped;
                }
            }
            unreachable!()
        };
        assert_eq!([short, short, long].map(&mut until), [0, 0, 0]);
        assert_eq!([long, long, short].map(&mut until), [16, 32, 64]);
        assert_eq!([short, long, short].map(&mut until), [0, 0, 32]);
        assert_eq!([long; 12].map(&mut until)[11], 4096);
        assert_eq!([short; 12].map(&mut until)[11], 0);
    }

    #[test]
    fn a_thread_that_never_waited_gives_way() {
        assert!(thread::spawn(give_way).join().unwrap());
    }
}
