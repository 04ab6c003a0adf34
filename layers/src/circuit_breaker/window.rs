//! The recent calls of a circuit, counted.
//!
//! Successes are the common case and cost one atomic addition: they are only counted. Failures and slow calls are rare
//! (or the circuit is about to open) and are kept one by one behind the circuit's lock, as [`Marks`].

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::settings::WindowSize;

/// A time window moves in steps of one of this many parts.
const BUCKETS: usize = 10;

/// Of the successes that did not read the clock, every so many-th does.
const UNTIMED_RUN: u64 = 64;

#[derive(Debug)]
pub(super) enum Window {
    /// The last `size` calls. Calls are numbered as they finish.
    Calls { size: u64, finished: AtomicU64 },
    /// The last `BUCKETS` stretches of `bucket` nanoseconds, the current one included.
    ///
    /// Each slot holds the low half of a stretch's number and, in its own low half, the calls that finished in it.
    Time { bucket: u64, latest: AtomicU64, slots: [AtomicU64; BUCKETS] },
}

/// The failures and slow calls within a window.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// The number of calls that had finished when the window was last emptied.
    base: u64,
    entries: VecDeque<Mark>,
    failed: u64,
    slow: u64,
}

#[derive(Debug)]
struct Mark {
    /// The number of the call, or of the stretch of time.
    at: u64,
    failed: u64,
    slow: u64,
}

/// What is in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) calls: u64,
    pub(super) failed: u64,
    pub(super) slow: u64,
}

impl Window {
    pub(super) fn new(size: WindowSize) -> Self {
        match size {
            WindowSize::Calls(size) => Self::Calls { size: u64::from(size), finished: AtomicU64::new(0) },
            WindowSize::Time(length) => Self::Time {
                bucket: (length.as_nanos() as u64 / BUCKETS as u64).max(1),
                latest: AtomicU64::new(0),
                slots: Default::default(),
            },
        }
    }

    /// Counts a success that finished at `now`, or, if it never suspended, at a time that was not looked up.
    ///
    /// The latter counts in the latest stretch anyone knows of; `read` is asked now and then. A store that fails
    /// suspends, so the stretch is up to date whenever it matters.
    #[inline]
    pub(super) fn success(&self, now: Option<u64>, read: impl FnOnce() -> u64) {
        match self {
            Self::Calls { finished, .. } => {
                finished.fetch_add(1, Relaxed);
            }
            Self::Time { bucket, latest, slots } => match now {
                Some(now) => {
                    count(slots, advance(latest, now / bucket));
                }
                None => {
                    if count(slots, latest.load(Relaxed)).is_multiple_of(UNTIMED_RUN) {
                        advance(latest, read() / bucket);
                    }
                }
            },
        }
    }

    /// Counts a call that failed or was slow, or both, and tells what is in the window then.
    pub(super) fn mark(&self, marks: &mut Marks, now: u64, failed: bool, slow: bool) -> Totals {
        let (failed, slow) = (u64::from(failed), u64::from(slow));
        let at = match self {
            Self::Calls { finished, .. } => finished.fetch_add(1, Relaxed) + 1,
            Self::Time { bucket, latest, slots } => {
                let at = advance(latest, now / bucket);
                count(slots, at);
                at
            }
        };
        match marks.entries.back_mut() {
            Some(last) if last.at == at => {
                last.failed += failed;
                last.slow += slow;
            }
            _ => marks.entries.push_back(Mark { at, failed, slow }),
        }
        marks.failed += failed;
        marks.slow += slow;
        self.totals(marks, now)
    }

    /// What is in the window, after forgetting what has left it.
    pub(super) fn totals(&self, marks: &mut Marks, now: u64) -> Totals {
        let (calls, first) = match self {
            Self::Calls { size, finished } => {
                let finished = finished.load(Relaxed);
                ((finished - marks.base).min(*size), finished.saturating_sub(*size) + 1)
            }
            Self::Time { bucket, latest, slots } => {
                let last = advance(latest, now / bucket);
                let first = (last + 1).saturating_sub(BUCKETS as u64);
                let calls = (first..=last).map(|at| {
                    let slot = slots[at as usize % BUCKETS].load(Relaxed);
                    if slot >> 32 == at & LOW { slot & LOW } else { 0 }
                });
                (calls.sum(), first)
            }
        };
        while marks.entries.front().is_some_and(|mark| mark.at < first) {
            marks.forget_first();
        }
        Totals { calls, failed: marks.failed, slow: marks.slow }
    }

    /// Forgets everything. Successes that finish at this very moment may still be counted.
    pub(super) fn clear(&self, marks: &mut Marks) {
        *marks = Marks::default();
        match self {
            Self::Calls { finished, .. } => marks.base = finished.load(Relaxed),
            Self::Time { slots, .. } => slots.iter().for_each(|slot| slot.store(0, Relaxed)),
        }
    }
}

impl Marks {
    fn forget_first(&mut self) {
        if let Some(mark) = self.entries.pop_front() {
            self.failed -= mark.failed;
            self.slow -= mark.slow;
        }
    }
}

const LOW: u64 = u32::MAX as u64;

/// The latest stretch anyone has seen, which time does not fall behind.
fn advance(latest: &AtomicU64, at: u64) -> u64 {
    let known = latest.load(Relaxed);
    if at > known { latest.fetch_max(at, Relaxed).max(at) } else { known }
}

/// Counts one call in a stretch and tells how many there are.
fn count(slots: &[AtomicU64; BUCKETS], at: u64) -> u64 {
    let slot = &slots[at as usize % BUCKETS];
    let mut seen = slot.load(Relaxed);
    loop {
        if seen >> 32 == at & LOW {
            return (slot.fetch_add(1, Relaxed) & LOW) + 1;
        }
        // The slot still holds a stretch that has left the window: whoever comes first takes it over.
        match slot.compare_exchange(seen, (at & LOW) << 32 | 1, Relaxed, Relaxed) {
            Ok(_) => return 1,
            Err(other) => seen = other,
        }
    }
}
