//! How much is let through.

use std::num::NonZeroU32;
use std::time::Duration;

/// The longest time any setting of a rate limit stands for: 2⁶² ns, 146 years. Sums of a few never overflow.
pub(super) const LONGEST: u64 = 1 << 62;

/// So many operations in a time, and so many of them at once.
///
/// Operations are let through one per [`interval`](Self::interval) on average. What was not used accumulates, up to the
/// burst: after a pause, that many may pass in one moment.
///
/// ```
/// use std::time::Duration;
/// use cachex_layers::rate_limit::Rate;
///
/// let rate = Rate::per_second(200).burst(20);
/// assert_eq!(rate.interval(), Duration::from_millis(5));
/// assert_eq!(Rate::from(200), Rate::per_second(200));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    interval: Duration,
    burst: NonZeroU32,
}

impl Rate {
    /// So many a second, in a burst of as many unless [told otherwise](Self::burst).
    ///
    /// 0 is taken as 1. The interval is a whole number of nanoseconds, so that large rates are rounded up; the highest is
    /// one thousand million a second.
    #[must_use]
    pub fn per_second(operations: u32) -> Self {
        Self::over(Duration::from_secs(1), operations)
    }

    /// So many a minute, in a burst of as many unless [told otherwise](Self::burst). 0 is taken as 1.
    #[must_use]
    pub fn per_minute(operations: u32) -> Self {
        Self::over(Duration::from_secs(60), operations)
    }

    /// One each time the interval has passed, and never two at once unless [told otherwise](Self::burst).
    ///
    /// The interval is at least a nanosecond and at most 146 years.
    #[must_use]
    pub fn every(interval: Duration) -> Self {
        let interval = interval.clamp(Duration::from_nanos(1), Duration::from_nanos(LONGEST));
        Self { interval, burst: NonZeroU32::MIN }
    }

    /// So many may pass at once after a pause; 0 is taken as 1.
    #[must_use]
    pub fn burst(self, operations: u32) -> Self {
        // The time a burst stands for has to be bounded, too.
        let most = u32::try_from(LONGEST / self.interval_nanos()).unwrap_or(u32::MAX);
        let burst = NonZeroU32::new(operations.min(most)).unwrap_or(NonZeroU32::MIN);
        Self { burst, ..self }
    }

    /// The time between two operations at the full rate.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// How many may pass at once after a pause.
    #[must_use]
    pub fn burst_size(&self) -> NonZeroU32 {
        self.burst
    }

    fn over(period: Duration, operations: u32) -> Self {
        let operations = operations.max(1);
        Self::every(period / operations).burst(operations)
    }

    pub(super) fn interval_nanos(&self) -> u64 {
        self.interval.as_nanos() as u64
    }
}

/// So many a second.
impl From<u32> for Rate {
    fn from(per_second: u32) -> Self {
        Self::per_second(per_second)
    }
}
