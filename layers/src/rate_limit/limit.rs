//! One limit: governor's decision at a moment we name, and the line of those who wait.

use std::cell::Cell;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{NotKeyed, StateStore};
use governor::{Quota, RateLimiter};

use super::rate::Rate;

/// A limit, in nanoseconds since an epoch of its owner's choice.
///
/// The algorithm is GCRA (the generic cell rate algorithm of ITU-T I.371): one number, the *theoretical arrival time* of
/// the next cell if all came at the full rate. A cell conforms if it is not earlier than that by more than the tolerance,
/// which is what a burst amounts to.
pub(super) struct Limit {
    governor: RateLimiter<NotKeyed, Arrival, Moment, NoOpMiddleware<Nanos>>,
    arrival: Arrival,
    interval: u64,
    tolerance: u64,
    /// Cells that were taken ahead of need, or [`TAKING`]. They are part of the burst: what governor may give is less by so
    /// many.
    ahead: AtomicU32,
    /// How many to take at a time; 1 where the burst is too small to set some apart.
    handful: NonZeroU32,
    waiting: AtomicU64,
    rejected: AtomicU64,
}

/// Cells taken at a time, so that only one call in so many reads the clock.
const HANDFUL: NonZeroU32 = NonZeroU32::new(16).unwrap();

/// Somebody is taking a handful. Two at a time would be more than is set apart for them, and a burst too large by one of them.
const TAKING: u32 = u32::MAX;

/// The burst from which on a handful is taken at a time: it is then at most a 256th of it.
const LARGE_BURST: u32 = 256 * HANDFUL.get();

/// What a limit says to one who asks to pass.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Pass; a cell was taken.
    Pass,
    /// Come back at this moment. The asker is counted among those who wait until it says [`Limit::leave`].
    Wait(u64),
    /// Refused: the wait would be this long.
    Refuse(u64),
}

impl Limit {
    pub(super) fn new(rate: Rate) -> Self {
        let (interval, burst) = (rate.interval_nanos(), rate.burst_size());
        let handful = if burst.get() < LARGE_BURST { NonZeroU32::MIN } else { HANDFUL };
        let ahead = handful.get() - 1;
        let burst = NonZeroU32::new(burst.get() - ahead).unwrap_or(NonZeroU32::MIN);
        let quota =
            Quota::with_period(rate.interval()).expect("an interval is never zero").allow_burst(burst);
        let arrival = Arrival::default();
        MOMENT.set(0);
        Self {
            governor: RateLimiter::new(quota, arrival.clone(), Moment),
            arrival,
            interval,
            tolerance: interval * u64::from(burst.get() - 1),
            ahead: AtomicU32::new(ahead),
            handful,
            waiting: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
        }
    }

    /// Passes on a cell that was taken ahead of need, unless others wait: then the time need not be known.
    #[inline]
    pub(super) fn enter_at_once(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) == 0 && self.take_ahead()
    }

    #[inline]
    fn take_ahead(&self) -> bool {
        let mut ahead = self.ahead.load(Ordering::Relaxed);
        while ahead != 0 && ahead != TAKING {
            match self.ahead.compare_exchange_weak(ahead, ahead - 1, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => ahead = now,
            }
        }
        false
    }

    /// Asks to pass now, or else within `patience`.
    #[inline]
    pub(super) fn enter(&self, now: u64, patience: u64) -> Verdict {
        if self.enter_at_once() {
            return Verdict::Pass;
        }
        if self.waiting.load(Ordering::Relaxed) == 0 {
            if self.handful > NonZeroU32::MIN && self.take_handful(now) {
                return Verdict::Pass;
            }
            if self.check(now).is_ok() {
                return Verdict::Pass;
            }
        }
        self.enter_line(now, patience)
    }

    /// Those who wait have not taken their cells yet, so that nothing is lost when they give up; whoever comes later
    /// reckons as if they had, so that they keep their turn.
    #[cold]
    fn enter_line(&self, now: u64, patience: u64) -> Verdict {
        let ahead = self.waiting.fetch_add(1, Ordering::Relaxed);
        let mut wait = self.forecast(ahead, now);
        if wait == 0 {
            // More cells are free than there are in line.
            match self.take(now, now) {
                Ok(()) => {
                    self.leave();
                    return Verdict::Pass;
                }
                Err(longer) => wait = longer,
            }
        }
        if wait > patience {
            self.leave();
            self.count_rejected();
            return Verdict::Refuse(wait);
        }
        Verdict::Wait(now + wait)
    }

    /// Takes a cell that became free at any time between `since` and now, the earliest of them. Else: how long until the
    /// next one.
    ///
    /// Who has waited takes the cell that fell due meanwhile rather than one of this moment: timers are coarse, and
    /// several may come back in the same moment although their cells were an interval apart.
    pub(super) fn take(&self, since: u64, now: u64) -> Result<(), u64> {
        if self.take_ahead() {
            return Ok(());
        }
        let mut at = since;
        loop {
            match self.check(at) {
                Ok(()) => return Ok(()),
                Err(earliest) if earliest <= now => at = earliest,
                Err(earliest) => return Err(earliest - now),
            }
        }
    }

    /// Asks governor for a cell at this moment; if there is none: the earliest moment at which there is.
    #[inline]
    fn check(&self, at: u64) -> Result<(), u64> {
        MOMENT.set(at);
        self.governor.check().map_err(|not_until| not_until.earliest_possible().as_u64())
    }

    /// Takes a handful of cells, one of them to pass on at once, if there are as many, none is left ahead, and nobody else is
    /// about to.
    fn take_handful(&self, at: u64) -> bool {
        if self.ahead.compare_exchange(0, TAKING, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return false;
        }
        MOMENT.set(at);
        let taken = matches!(self.governor.check_n(self.handful), Ok(Ok(())));
        self.ahead.store(if taken { self.handful.get() - 1 } else { 0 }, Ordering::Relaxed);
        taken
    }

    fn ahead(&self) -> u32 {
        match self.ahead.load(Ordering::Relaxed) {
            TAKING => 0,
            ahead => ahead,
        }
    }

    /// How long a cell would be waited for behind `ahead` others.
    pub(super) fn forecast(&self, ahead: u64, now: u64) -> u64 {
        let Some(ahead) = ahead.checked_sub(self.ahead().into()) else { return 0 };
        let arrival = self.arrival.0.load(Ordering::Relaxed).max(now);
        arrival
            .saturating_add(ahead.saturating_mul(self.interval))
            .saturating_sub(self.tolerance)
            .saturating_sub(now)
    }

    /// How many cells are free, beyond those that others wait for.
    pub(super) fn available(&self, now: u64) -> u32 {
        let arrival = self.arrival.0.load(Ordering::Relaxed).max(now);
        let cells = (now + self.tolerance).checked_sub(arrival).map_or(0, |slack| slack / self.interval + 1);
        let free = (cells + u64::from(self.ahead())).saturating_sub(self.waiting());
        u32::try_from(free).unwrap_or(u32::MAX)
    }

    /// One who waited does not any more.
    pub(super) fn leave(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    pub(super) fn count_rejected(&self) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limit")
            .field("arrival", &self.arrival)
            .field("waiting", &self.waiting)
            .field("rejected", &self.rejected)
            .finish_non_exhaustive()
    }
}

thread_local! {
    static MOMENT: Cell<u64> = const { Cell::new(0) };
}

/// Tells governor the moment that is asked about.
///
/// Governor reads a clock by itself, of its own kind, on each decision. Ours is read once per poll for a whole stack, is
/// tokio's, and is asked about moments other than now, too.
struct Moment;

impl Clock for Moment {
    type Instant = Nanos;

    #[inline]
    fn now(&self) -> Nanos {
        Nanos::from(MOMENT.get())
    }
}

/// The theoretical arrival time: governor's state, which this can also look at without taking a cell.
#[derive(Clone, Debug, Default)]
struct Arrival(Arc<AtomicU64>);

impl StateStore for Arrival {
    type Key = NotKeyed;

    #[inline]
    fn measure_and_replace<T, F, E>(&self, _: &NotKeyed, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut arrival = self.0.load(Ordering::Relaxed);
        loop {
            let (outcome, next) = decide(Some(Nanos::from(arrival)))?;
            // Nothing but this number is passed on between threads.
            match self.0.compare_exchange_weak(arrival, next.as_u64(), Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(outcome),
                Err(now) => arrival = now,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    const BURST: u32 = LARGE_BURST;
    const PAUSE: u64 = 1 << 40;

    fn limit() -> Limit {
        Limit::new(Rate::per_second(BURST))
    }

    /// How many pass in one moment.
    fn pass_at(limit: &Limit, now: u64) -> u32 {
        (0..=2 * BURST).take_while(|_| limit.enter(now, 0) == Verdict::Pass).count() as u32
    }

    #[test]
    fn who_finds_another_at_taking_a_handful_takes_a_single_cell() {
        let limit = limit();
        assert_eq!(pass_at(&limit, PAUSE), BURST);
        let later = 2 * PAUSE;
        assert_eq!(limit.ahead.swap(TAKING, Ordering::Relaxed), 0);
        assert_eq!(limit.enter(later, 0), Verdict::Pass);
        assert_eq!((limit.ahead.load(Ordering::Relaxed), limit.ahead()), (TAKING, 0));
        limit.ahead.store(0, Ordering::Relaxed);
        assert_eq!(pass_at(&limit, later), BURST - HANDFUL.get());
    }

    #[test]
    fn no_more_than_the_burst_passes_after_threads_took_handfuls_at_once() {
        const THREADS: usize = 4;
        let (limit, meet, most_ahead) = (limit(), Barrier::new(THREADS), AtomicU32::new(0));
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for round in 1..2_000 {
                        meet.wait();
                        for _ in 0..20 {
                            limit.enter(round * PAUSE, 0);
                        }
                        most_ahead.fetch_max(limit.ahead(), Ordering::Relaxed);
                    }
                });
            }
        });
        assert!(most_ahead.into_inner() < HANDFUL.get());
        assert!(pass_at(&limit, 3_000 * PAUSE) <= BURST);
    }
}
