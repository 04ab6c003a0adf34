//! What a breaker is told, checked once.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cachex_core::{CacheError, ErrorKind};

use super::event::StateChange;

/// Which calls the rates are taken over.
#[derive(Clone, Copy, Debug)]
pub(super) enum WindowSize {
    Calls(u32),
    Time(Duration),
}

/// From when on a call is slow, and which share of slow calls is too much.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlowCalls {
    pub(super) duration: Duration,
    pub(super) rate: f64,
}

type Predicate = Arc<dyn Fn(&CacheError) -> bool + Send + Sync>;
pub(super) type Listener = Arc<dyn Fn(&StateChange) + Send + Sync>;

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) name: Cow<'static, str>,
    pub(super) per_class: bool,
    pub(super) window: WindowSize,
    pub(super) failure_rate: f64,
    pub(super) slow_calls: Option<SlowCalls>,
    pub(super) minimum_calls: u32,
    pub(super) consecutive_failures: Option<u32>,
    pub(super) open_duration: Duration,
    pub(super) max_open_duration: Duration,
    pub(super) open_jitter: f64,
    pub(super) half_open_probes: u32,
    pub(super) probe_lease: Duration,
    pub(super) predicate: Option<Predicate>,
    pub(super) listener: Option<Listener>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: Cow::Borrowed("cache"),
            per_class: true,
            window: WindowSize::Time(Duration::from_secs(10)),
            failure_rate: 0.5,
            slow_calls: None,
            minimum_calls: 20,
            consecutive_failures: None,
            open_duration: Duration::from_secs(5),
            max_open_duration: Duration::from_secs(30),
            open_jitter: 0.1,
            half_open_probes: 3,
            probe_lease: Duration::from_secs(10),
            predicate: None,
            listener: None,
        }
    }
}

/// What the result of one call says about the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Success,
    Failure,
    /// Nothing: the store was not asked, or the caller did not wait for the answer.
    Neither,
}

impl Settings {
    pub(super) fn judge(&self, error: &CacheError) -> Verdict {
        let kind = error.kind();
        let failed = match &self.predicate {
            Some(predicate) => predicate(error),
            None => kind.is_store_failure(),
        };
        if failed {
            Verdict::Failure
        } else if kind.is_rejection() || is_callers_fault(kind) {
            Verdict::Neither
        } else {
            Verdict::Success
        }
    }

    /// Whether this many calls are enough to judge by. A window cannot hold more than its size.
    pub(super) fn enough(&self, calls: u64) -> bool {
        let minimum = match self.window {
            WindowSize::Calls(size) => self.minimum_calls.min(size),
            WindowSize::Time(_) => self.minimum_calls,
        };
        calls >= u64::from(minimum)
    }

    /// Whether suspended calls have to be timed.
    pub(super) fn needs_time(&self) -> bool {
        self.slow_calls.is_some() || matches!(self.window, WindowSize::Time(_))
    }

    /// How long to stay open after this many probe rounds have failed in a row.
    pub(super) fn open_for(&self, reopened: u32) -> Duration {
        let most = self.max_open_duration.max(self.open_duration);
        let grown = self.open_duration.saturating_mul(1 << reopened.min(16)).min(most);
        if self.open_jitter > 0.0 { grown.mul_f64(1.0 + self.open_jitter * random_fraction()) } else { grown }
    }
}

/// Whether the request was refused for what it is, most likely before it reached a store.
fn is_callers_fault(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::InvalidKey
            | ErrorKind::InvalidTag
            | ErrorKind::InvalidTtl
            | ErrorKind::InvalidInput
            | ErrorKind::TooLarge
            | ErrorKind::Unsupported
            | ErrorKind::Closed
    )
}

/// Good enough to spread the probes of many processes, and no dependency.
fn random_fraction() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    let bits = RandomState::new().hash_one(0_u8);
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

/// A share from 1 % to 100 %.
pub(super) fn rate(rate: f64) -> f64 {
    if rate.is_nan() { 1.0 } else { rate.clamp(0.01, 1.0) }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreakerLayer")
            .field("name", &self.name)
            .field("per_class", &self.per_class)
            .field("window", &self.window)
            .field("failure_rate", &self.failure_rate)
            .field("slow_calls", &self.slow_calls)
            .field("minimum_calls", &self.minimum_calls)
            .field("consecutive_failures", &self.consecutive_failures)
            .field("open_duration", &self.open_duration)
            .field("max_open_duration", &self.max_open_duration)
            .field("open_jitter", &self.open_jitter)
            .field("half_open_probes", &self.half_open_probes)
            .field("probe_lease", &self.probe_lease)
            .field("custom_failure_predicate", &self.predicate.is_some())
            .field("listener", &self.listener.is_some())
            .finish()
    }
}
