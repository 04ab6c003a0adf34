//! The layer and its settings.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cachex_core::CacheError;
use tower_layer::Layer;

use super::event::StateChange;
use super::handle::CircuitBreakerHandle;
use super::service::CircuitBreaker;
use super::settings::{Settings, SlowCalls, WindowSize, rate};
use super::shared::Shared;

/// Stops asking a store that is failing. See the [module](super).
///
/// The state lives in the layer: all services it makes, and their clones, share their circuits, and so does a clone of
/// the layer. Every setter makes a layer with circuits of its own: set first, then take the
/// [`handle`](CircuitBreakerLayer::handle).
///
/// [`Default`]: a window of 10 s, opened by a failure rate of 50 % in at least 20 calls, for 5 s that double to at most
/// 30 s while probes fail, with 10 % of jitter; 3 probes close it.
#[derive(Clone)]
#[must_use]
pub struct CircuitBreakerLayer {
    shared: Arc<Shared>,
}

impl CircuitBreakerLayer {
    fn with(self, set: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = self.shared.settings.clone();
        set(&mut settings);
        Self { shared: Arc::new(Shared::new(settings)) }
    }

    /// The name of the breaker in metrics, logs and events. Default: `cache`.
    pub fn name(self, name: impl Into<Cow<'static, str>>) -> Self {
        self.with(|settings| settings.name = name.into())
    }

    /// Takes the rates over the last `calls` calls, instead of over a stretch of time. Clamped to 1 to 1,000,000.
    ///
    /// With a window of calls, one lost connection that many calls shared can open the circuit, although the next
    /// connection would have served: make it larger than the calls that are in flight at a time.
    pub fn count_window(self, calls: u32) -> Self {
        self.with(|settings| settings.window = WindowSize::Calls(calls.clamp(1, 1_000_000)))
    }

    /// Takes the rates over the last `length` of time, which moves on in steps of a tenth of it. Default: 10 s. Clamped
    /// to 100 ms to 1 h.
    pub fn time_window(self, length: Duration) -> Self {
        let length = length.clamp(Duration::from_millis(100), Duration::from_secs(3600));
        self.with(|settings| settings.window = WindowSize::Time(length))
    }

    /// Opens when at least this share of the calls in the window failed. Default: 0.5. Clamped to 0.01 to 1.
    pub fn failure_rate(self, share: f64) -> Self {
        self.with(|settings| settings.failure_rate = rate(share))
    }

    /// Opens when at least `share` of the calls in the window took `duration` or longer, failed or not. A slow probe is
    /// a failed one. Default: off. The share is clamped to 0.01 to 1.
    pub fn slow_calls(self, duration: Duration, share: f64) -> Self {
        self.with(|settings| settings.slow_calls = Some(SlowCalls { duration, rate: rate(share) }))
    }

    /// Leaves the circuit closed, whatever the rates, while there are fewer calls than this in the window. Default: 20.
    /// A window of fewer calls than that lowers it to its own size.
    pub fn minimum_calls(self, calls: u32) -> Self {
        self.with(|settings| settings.minimum_calls = calls)
    }

    /// Opens after this many failures without a success between them, whatever the rates. Default: off. At least 1.
    pub fn consecutive_failures(self, failures: u32) -> Self {
        self.with(|settings| settings.consecutive_failures = Some(failures.max(1)))
    }

    /// Stays open for this long before probing. Default: 5 s. Doubles each time a probe fails, up to
    /// [`max_open_duration`](Self::max_open_duration).
    pub fn open_duration(self, duration: Duration) -> Self {
        self.with(|settings| settings.open_duration = duration)
    }

    /// Stays open for no longer than this (and the jitter) before probing. Default: 30 s. A smaller value than
    /// [`open_duration`](Self::open_duration) means that one.
    pub fn max_open_duration(self, duration: Duration) -> Self {
        self.with(|settings| settings.max_open_duration = duration)
    }

    /// Stays open for up to this share longer, at random, so that many processes do not probe at once. Default: 0.1.
    /// Clamped to 0 to 1.
    pub fn open_jitter(self, share: f64) -> Self {
        let share = if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) };
        self.with(|settings| settings.open_jitter = share)
    }

    /// Closes after this many probes have succeeded, and never has more of them under way, over all clones. The first
    /// probe that fails opens the circuit again. Default: 3. At least 1.
    pub fn half_open_probes(self, probes: u32) -> Self {
        self.with(|settings| settings.half_open_probes = probes.max(1))
    }

    /// Gives a probe's place to another call when it has not finished after this long, so that a hanging one cannot
    /// hold the circuit half-open for ever. Default: 10 s. A timeout beneath that is shorter makes this a second net.
    pub fn probe_lease(self, lease: Duration) -> Self {
        self.with(|settings| settings.probe_lease = lease)
    }

    /// Decides which errors are failures of the store. Default:
    /// [`is_store_failure`](cachex_core::ErrorKind::is_store_failure) of the kind.
    pub fn failure_when(self, predicate: impl Fn(&CacheError) -> bool + Send + Sync + 'static) -> Self {
        self.with(|settings| settings.predicate = Some(Arc::new(predicate)))
    }

    /// Has one circuit for all operations instead of one for each kind of work: right for a store that fails as a whole.
    pub fn one_circuit(self) -> Self {
        self.with(|settings| settings.per_class = false)
    }

    /// Calls `listener` on every change of a circuit, in order, one at a time for each circuit. It runs on the task whose
    /// call changed the state, so it should be quick; it may use a handle.
    pub fn on_state_change(self, listener: impl Fn(&StateChange) + Send + Sync + 'static) -> Self {
        self.with(|settings| settings.listener = Some(Arc::new(listener)))
    }

    /// The live state of all services this layer makes.
    #[must_use]
    pub fn handle(&self) -> CircuitBreakerHandle {
        CircuitBreakerHandle::new(Arc::clone(&self.shared))
    }
}

impl Default for CircuitBreakerLayer {
    fn default() -> Self {
        Self { shared: Arc::new(Shared::new(Settings::default())) }
    }
}

impl fmt::Debug for CircuitBreakerLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.settings.fmt(f)
    }
}

impl<S> Layer<S> for CircuitBreakerLayer {
    type Service = CircuitBreaker<S>;

    fn layer(&self, inner: S) -> CircuitBreaker<S> {
        #[cfg(feature = "metrics")]
        self.shared.show();
        CircuitBreaker::new(inner, Arc::clone(&self.shared))
    }
}
