//! How many retries there are to spend.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cachex_core::clock;
use tokio::time::Instant;

/// The smallest part of a retry that is counted.
const RETRY: u64 = 1_000;

/// A purse that every request pays into and every retry is paid from, and a small allowance per second beside it.
#[derive(Debug)]
pub(super) struct Budget {
    /// What one request earns, in thousandths of a retry.
    earned: u64,
    /// The most that can be saved, in thousandths of a retry.
    most: u64,
    saved: AtomicU64,
    /// Free retries per second; as many can be taken at once.
    free: f64,
    allowance: Mutex<Allowance>,
}

#[derive(Debug)]
struct Allowance {
    left: f64,
    /// When `left` was last brought up to date; `None` before its first use.
    at: Option<Instant>,
}

impl Budget {
    /// `ratio` retries per request, at most `saved` of them set aside, and `free` retries per second in any case.
    pub(super) fn new(ratio: f64, saved: u32, free: u32) -> Self {
        Self {
            earned: (ratio.clamp(0.0, 10.0) * RETRY as f64).round() as u64,
            most: u64::from(saved) * RETRY,
            saved: AtomicU64::new(0),
            free: f64::from(free),
            allowance: Mutex::new(Allowance { left: f64::from(free), at: None }),
        }
    }

    /// A request came by. A load, and one addition unless the purse is full.
    #[inline]
    pub(super) fn deposit(&self) {
        // Requests at the same moment may overfill it by one deposit each: it is a bound, not an account.
        if self.saved.load(Ordering::Relaxed) < self.most {
            self.saved.fetch_add(self.earned, Ordering::Relaxed);
        }
    }

    /// Takes one retry; `false` when there is none.
    pub(super) fn withdraw(&self) -> bool {
        let taken = self
            .saved
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |saved| saved.checked_sub(RETRY))
            .is_ok();
        taken || self.allowance.lock().unwrap_or_else(PoisonError::into_inner).take(self.free, clock::now())
    }

    /// Whole retries that could be taken now.
    pub(super) fn available(&self) -> u64 {
        let mut allowance = self.allowance.lock().unwrap_or_else(PoisonError::into_inner);
        allowance.refill(self.free, clock::now());
        self.saved.load(Ordering::Relaxed) / RETRY + allowance.left as u64
    }
}

impl Allowance {
    fn refill(&mut self, per_second: f64, now: Instant) {
        let passed = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.left = (self.left + passed.as_secs_f64() * per_second).min(per_second);
        self.at = Some(now);
    }

    fn take(&mut self, per_second: f64, now: Instant) -> bool {
        self.refill(per_second, now);
        let has = self.left >= 1.0;
        if has {
            self.left -= 1.0;
        }
        has
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_allowance_comes_back_with_time_and_never_piles_up() {
        let budget = Budget::new(0.0, 0, 3);
        assert_eq!((0..10).filter(|_| budget.withdraw()).count(), 3);
        tokio::time::advance(Duration::from_millis(400)).await;
        assert_eq!((0..10).filter(|_| budget.withdraw()).count(), 1);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!((0..10).filter(|_| budget.withdraw()).count(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_earn_a_share_up_to_a_bound() {
        let budget = Budget::new(0.2, 5, 0);
        assert!(!budget.withdraw());
        (0..14).for_each(|_| budget.deposit());
        assert_eq!(budget.available(), 2);
        (0..1_000).for_each(|_| budget.deposit());
        assert_eq!((0..10).filter(|_| budget.withdraw()).count(), 5);
    }
}
