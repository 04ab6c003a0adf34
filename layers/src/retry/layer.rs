use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cachex_core::{CacheError, Effect, Retry as Advice, clock};
use tokio::time::Instant;
use tower_layer::Layer;

use super::budget::Budget;
use super::service::Retry;

/// Makes [`Retry`] services.
///
/// | setting | default |
/// |---|---|
/// | [`attempts`](Self::attempts) | 3, the first one included |
/// | [`base`](Self::base) | 10 ms |
/// | [`max_backoff`](Self::max_backoff) | 1 s |
/// | [`max_elapsed`](Self::max_elapsed) | none |
/// | [`budget`](Self::budget) | 0.2 retries per request, 100 saved at most, 10 per second free |
/// | [`no_jitter`](Self::no_jitter), [`jitter_seed`](Self::jitter_seed) | full jitter, random |
///
/// All services that one layer value (or a clone of it) makes share its budget and counters. A setter makes them anew: set
/// first, then hand out.
#[derive(Clone)]
pub struct RetryLayer {
    policy: Policy,
    earned: (f64, u32, u32),
    seed: Option<u64>,
    state: Arc<State>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Policy {
    pub(super) attempts: u32,
    base: Duration,
    max_backoff: Duration,
    jitter: bool,
    pub(super) max_elapsed: Option<Duration>,
}

/// What has become of a request so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Past {
    /// How many attempts were made.
    pub(super) attempts: u32,
    /// Whether an attempt before the last one may have taken effect.
    pub(super) in_doubt: bool,
    /// When the first began; known only where time is limited: a reading is dear.
    pub(super) started: Option<Instant>,
}

impl Past {
    /// The last error as that of the whole request: it had no effect only if no attempt had any, and after more than one
    /// attempt nobody else is to try.
    pub(super) fn settle(self, error: CacheError) -> CacheError {
        let in_doubt = self.in_doubt && error.effect() == Effect::None;
        let error = if in_doubt { error.with_effect(Effect::Unknown) } else { error };
        if self.attempts > 1 { error.exhausted(self.attempts) } else { error }
    }
}

/// What the services of one layer share.
#[derive(Debug)]
pub(super) struct State {
    pub(super) budget: Budget,
    jitter: Option<Mutex<fastrand::Rng>>,
    retries: AtomicU64,
    exhausted: AtomicU64,
}

impl State {
    fn new((ratio, saved, free): (f64, u32, u32), seed: Option<u64>) -> Arc<Self> {
        Arc::new(Self {
            budget: Budget::new(ratio, saved, free),
            jitter: seed.map(|seed| Mutex::new(fastrand::Rng::with_seed(seed))),
            retries: AtomicU64::new(0),
            exhausted: AtomicU64::new(0),
        })
    }

    /// A random share, from zero to one.
    fn random(&self) -> f64 {
        match &self.jitter {
            Some(seeded) => seeded.lock().unwrap_or_else(PoisonError::into_inner).f64(),
            None => fastrand::f64(),
        }
    }
}

impl Policy {
    /// Decides on a failed attempt: how long to wait before the next one, or the error to give up with.
    pub(super) fn next(
        &self,
        state: &State,
        error: CacheError,
        is_idempotent: bool,
        past: Past,
    ) -> Result<Duration, CacheError> {
        let least = match error.retry() {
            Advice::Never => return Err(past.settle(error)),
            Advice::Now => Duration::ZERO,
            Advice::After(delay) => delay,
        };
        if !is_idempotent && error.effect() == Effect::Unknown {
            return Err(past.settle(error));
        }
        let bound = self.backoff(past.attempts);
        let delay = least.max(if self.jitter { bound.mul_f64(state.random()) } else { bound });
        let too_late = self.max_elapsed.zip(past.started).is_some_and(|(limit, started)| {
            clock::now().saturating_duration_since(started).saturating_add(delay) > limit
        });
        if past.attempts >= self.attempts || least > self.max_backoff || too_late || !state.budget.withdraw()
        {
            state.exhausted.fetch_add(1, Ordering::Relaxed);
            return Err(past.settle(error).exhausted(past.attempts));
        }
        state.retries.fetch_add(1, Ordering::Relaxed);
        Ok(delay)
    }

    /// The longest wait after this many attempts.
    fn backoff(&self, attempts: u32) -> Duration {
        let doublings = attempts.saturating_sub(1).min(31);
        self.base.saturating_mul(1 << doublings).min(self.max_backoff)
    }
}

impl Default for RetryLayer {
    fn default() -> Self {
        let earned = (0.2, 100, 10);
        let policy = Policy {
            attempts: 3,
            base: Duration::from_millis(10),
            max_backoff: Duration::from_secs(1),
            jitter: true,
            max_elapsed: None,
        };
        Self { policy, earned, seed: None, state: State::new(earned, None) }
    }
}

impl RetryLayer {
    /// The default settings.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How often a request is tried in all. At least 1, which means no retries.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.policy.attempts = attempts.max(1);
        self.renewed()
    }

    /// The longest wait before the first retry; it doubles with each further one.
    #[must_use]
    pub fn base(mut self, base: Duration) -> Self {
        self.policy.base = base;
        self.renewed()
    }

    /// The longest wait before any retry. An error that asks for a longer one is not retried.
    #[must_use]
    pub fn max_backoff(mut self, max: Duration) -> Self {
        self.policy.max_backoff = max;
        self.renewed()
    }

    /// How long after the call the last retry may begin. `None`: whenever the attempts allow.
    #[must_use]
    pub fn max_elapsed(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.policy.max_elapsed = limit.into();
        self.renewed()
    }

    /// The budget: retries earned per request (0 to 10), the most that can be saved, and retries per second that are free.
    #[must_use]
    pub fn budget(mut self, per_request: f64, max_saved: u32, free_per_second: u32) -> Self {
        self.earned = (per_request, max_saved, free_per_second);
        self.renewed()
    }

    /// Waits for the whole backoff, without jitter. Many clients that fail together then come back together.
    #[must_use]
    pub fn no_jitter(mut self) -> Self {
        self.policy.jitter = false;
        self.renewed()
    }

    /// Draws the jitter from a generator with this seed, so that a test can repeat it.
    #[must_use]
    pub fn jitter_seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self.renewed()
    }

    /// The live counters.
    #[must_use]
    pub fn handle(&self) -> RetryHandle {
        RetryHandle { state: Arc::clone(&self.state) }
    }

    /// The same settings with a state of its own: a changed layer must not spend another's budget.
    fn renewed(mut self) -> Self {
        self.state = State::new(self.earned, self.seed);
        self
    }
}

impl<S: Clone> Layer<S> for RetryLayer {
    type Service = Retry<S>;

    fn layer(&self, inner: S) -> Retry<S> {
        Retry::new(inner, self.policy, Arc::clone(&self.state))
    }
}

impl fmt::Debug for RetryLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (per_request, max_saved, free_per_second) = self.earned;
        f.debug_struct("RetryLayer")
            .field("attempts", &self.policy.attempts)
            .field("base", &self.policy.base)
            .field("max_backoff", &self.policy.max_backoff)
            .field("jitter", &self.policy.jitter)
            .field("max_elapsed", &self.policy.max_elapsed)
            .field("budget_per_request", &per_request)
            .field("budget_max_saved", &max_saved)
            .field("budget_free_per_second", &free_per_second)
            .finish()
    }
}

/// Reads the counters of a [`RetryLayer`] while it runs.
#[derive(Clone, Debug)]
pub struct RetryHandle {
    pub(super) state: Arc<State>,
}

impl RetryHandle {
    /// How many retries were begun.
    #[must_use]
    pub fn retries(&self) -> u64 {
        self.state.retries.load(Ordering::Relaxed)
    }

    /// How many requests failed although a retry might have helped: attempts, time or budget ran out.
    #[must_use]
    pub fn exhausted(&self) -> u64 {
        self.state.exhausted.load(Ordering::Relaxed)
    }

    /// How many retries the budget would pay for now.
    #[must_use]
    pub fn available(&self) -> u64 {
        self.state.budget.available()
    }
}
