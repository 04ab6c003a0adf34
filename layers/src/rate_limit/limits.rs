//! The buckets of one layer, and what is counted of them.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use cachex_core::{CacheError, ErrorKind, OpClass, clock};
use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

/// The stack's clock, for governor: its own timers cannot be paused, and would read the time once more.
#[derive(Clone, Copy, Debug)]
struct StackClock;

impl Clock for StackClock {
    type Instant = std::time::Instant;

    #[inline]
    fn now(&self) -> std::time::Instant {
        clock::now().into_std()
    }
}

type Bucket = RateLimiter<NotKeyed, InMemoryState, StackClock, NoOpMiddleware<std::time::Instant>>;

/// So many tokens per time, so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    /// Between two tokens; at least a nanosecond.
    pub(super) interval: Duration,
    pub(super) burst: NonZeroU32,
}

impl Rate {
    pub(super) fn new(count: u32, period: Duration) -> Self {
        let count = count.max(1);
        Self {
            interval: (period / count).max(Duration::from_nanos(1)),
            burst: NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN),
        }
    }

    fn bucket(self) -> Bucket {
        // `None` for an interval of zero only, which a rate never has.
        let quota = Quota::with_period(self.interval).unwrap_or(Quota::per_second(NonZeroU32::MAX));
        RateLimiter::direct_with_clock(quota.allow_burst(self.burst), StackClock)
    }
}

/// What the services of one layer share.
#[derive(Debug)]
pub(super) struct Limits {
    stack: Bucket,
    classes: [Option<Bucket>; 3],
    /// The longest wait for a token; `None` refuses at once.
    pub(super) max_wait: Option<Duration>,
    rejected: AtomicU64,
    waiting: AtomicUsize,
}

impl Limits {
    pub(super) fn new(stack: Rate, classes: [Option<Rate>; 3], max_wait: Option<Duration>) -> Self {
        Self {
            stack: stack.bucket(),
            classes: classes.map(|rate| rate.map(Rate::bucket)),
            max_wait,
            rejected: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Takes the tokens of one request, or tells how long until there may be one.
    #[inline]
    pub(super) fn take(&self, class: OpClass) -> Result<(), Duration> {
        if let Some(bucket) = &self.classes[class as usize] {
            take(bucket)?;
        }
        if class == OpClass::Control { Ok(()) } else { take(&self.stack) }
    }

    /// A request is refused; its next token comes after `wait`.
    pub(super) fn refuse(&self, wait: Duration) -> CacheError {
        self.rejected.fetch_add(1, Ordering::Relaxed);
        CacheError::rejection(ErrorKind::RateLimited, Some(wait))
    }

    pub(super) fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    pub(super) fn count_waiting(&self, waits: bool) {
        if waits {
            self.waiting.fetch_add(1, Ordering::Relaxed);
        } else {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[inline]
fn take(bucket: &Bucket) -> Result<(), Duration> {
    bucket.check().map_err(|not_until| not_until.wait_time_from(StackClock.now()))
}
