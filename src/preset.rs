//! Recommended stacks in one line.
//!
//! Presets are nothing but the layers of [`cachex_layers`] in the recommended order with settings that are safe for
//! production. When a service needs another order or another layer, write the `ServiceBuilder` chain out: the types are
//! the same.

use std::time::Duration;

use cachex_core::OpClass;
use cachex_layers::circuit_breaker::CircuitBreakerHandle;
#[cfg(feature = "serialize")]
use cachex_layers::{Batch, BatchLayer};
use cachex_layers::{
    Bulkhead, BulkheadLayer, CircuitBreaker, CircuitBreakerLayer, Metrics, MetricsLayer, RateLimit,
    RateLimitLayer, Retry, RetryLayer, Timeout, TimeoutLayer, Trace, TraceLayer,
};
use tower_layer::Layer;

/// Retry, outside the circuit breaker, outside the timeout of one attempt.
pub type Resilient<S> = Retry<CircuitBreaker<Timeout<S>>>;

/// Trace, metrics, rate limit, bulkhead: what stands before the codecs.
pub type Admitted<S> = Trace<Metrics<RateLimit<Bulkhead<S>>>>;

/// The seven layers that do not look at values and are of use over any store.
pub type Guarded<S> = Admitted<Resilient<S>>;

/// The recommended stack over a store of bytes: [`Guarded`], with a serialize layer between bulkhead and retry, and a batch
/// layer above the store.
#[cfg(feature = "serialize")]
pub type Typed<S, C> = Admitted<cachex_layers::Serialize<Resilient<Batch<S>>, C>>;

/// The recommended stack over a store of sealed bytes: [`Typed`], with an encrypt layer beneath the serialize layer.
#[cfg(all(feature = "serialize", feature = "encrypt"))]
pub type SealedTyped<S, C> =
    Admitted<cachex_layers::Serialize<cachex_layers::Encrypt<Resilient<Batch<S>>>, C>>;

/// The settings of a recommended stack.
///
/// | setting | default |
/// |---|---|
/// | [`rate_limit`](Self::rate_limit) | 50,000 requests per second |
/// | [`max_concurrent`](Self::max_concurrent) | 1,024 requests at a time, reads and writes each |
/// | [`timeout`](Self::timeout) | 250 ms per attempt |
/// | [`redact_keys`](Self::redact_keys) | off |
/// | [`retry`](Self::retry) | that layer's own defaults |
/// | [`circuit_breaker`](Self::circuit_breaker) | its own defaults, but it opens after 20 failures in a row, for 500 ms at first and then for 1 s |
/// | `batch` (over a store of bytes) | that layer's own defaults |
///
/// ```
/// use cachex::{Cache, preset::Recommended, store::memory::MemoryStore};
///
/// let stack = Recommended::new().rate_limit(5_000).guard(MemoryStore::new(10_000));
/// let users: Cache<String, _> = Cache::new(stack);
/// ```
#[derive(Clone, Debug)]
pub struct Recommended {
    rate_limit: u32,
    max_concurrent: u32,
    timeout: Duration,
    redact_keys: bool,
    retry: RetryLayer,
    circuit_breaker: CircuitBreakerLayer,
    #[cfg(feature = "serialize")]
    batch: BatchLayer,
}

impl Default for Recommended {
    fn default() -> Self {
        Self {
            rate_limit: 50_000,
            max_concurrent: 1_024,
            timeout: Duration::from_millis(250),
            redact_keys: false,
            retry: RetryLayer::default(),
            // In a time window a total outage needs half a window to show; a run of failures shows it at once. While it is
            // open, requests fail although the server may be back, or a replica promoted, and two rounds of probes can be
            // needed to find that out: a few requests per second are a small price for being well again within 5 s.
            circuit_breaker: CircuitBreakerLayer::default()
                .consecutive_failures(20)
                .open_duration(Duration::from_millis(500))
                .max_open_duration(Duration::from_secs(1)),
            #[cfg(feature = "serialize")]
            batch: BatchLayer::default(),
        }
    }
}

impl Recommended {
    /// The default settings.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many requests per second pass. At least 1.
    #[must_use]
    pub fn rate_limit(mut self, per_second: u32) -> Self {
        self.rate_limit = per_second.max(1);
        self
    }

    /// How many reads, and how many writes, are under way at a time. At least 1.
    #[must_use]
    pub fn max_concurrent(mut self, requests: u32) -> Self {
        self.max_concurrent = requests.max(1);
        self
    }

    /// How long one attempt may take.
    #[must_use]
    pub fn timeout(mut self, per_attempt: Duration) -> Self {
        self.timeout = per_attempt;
        self
    }

    /// Whether traces and logs show a hash in place of every key.
    #[must_use]
    pub fn redact_keys(mut self, redact: bool) -> Self {
        self.redact_keys = redact;
        self
    }

    /// The retry layer to use.
    #[must_use]
    pub fn retry(mut self, layer: RetryLayer) -> Self {
        self.retry = layer;
        self
    }

    /// The circuit breaker layer to use. Keep its handle to read, or change, the breaker's state. Every stack built with
    /// these settings shares the breaker.
    #[must_use]
    pub fn circuit_breaker(mut self, layer: CircuitBreakerLayer) -> Self {
        self.circuit_breaker = layer;
        self
    }

    /// The live state of the breaker that all stacks built with these settings share.
    #[must_use]
    pub fn circuit_breaker_handle(&self) -> CircuitBreakerHandle {
        self.circuit_breaker.handle()
    }

    /// The batch layer to use above stores of bytes. Keep its handle to see what it does. [`guard`](Self::guard) has none:
    /// a store in memory has nothing to gain from it.
    #[cfg(feature = "serialize")]
    #[must_use]
    pub fn batch(mut self, layer: BatchLayer) -> Self {
        self.batch = layer;
        self
    }

    /// The recommended stack over a store that holds values as they are: no codec.
    pub fn guard<S>(&self, store: S) -> Guarded<S>
    where
        S: Clone,
    {
        self.admit(self.make_resilient(store))
    }

    /// The recommended stack over a store of bytes.
    #[cfg(feature = "serialize")]
    pub fn typed<S, C>(&self, codec: C, store: S) -> Typed<S, C>
    where
        S: Clone,
        C: Clone,
    {
        let stack = self.make_resilient(self.batch.layer(store));
        self.admit(cachex_layers::SerializeLayer::new(codec).layer(stack))
    }

    /// The recommended stack over a store of sealed bytes.
    #[cfg(all(feature = "serialize", feature = "encrypt"))]
    pub fn sealed<S, C>(&self, codec: C, keys: cachex_layers::KeyRing, store: S) -> SealedTyped<S, C>
    where
        S: Clone,
        C: Clone,
    {
        let stack =
            cachex_layers::EncryptLayer::new(keys).layer(self.make_resilient(self.batch.layer(store)));
        self.admit(cachex_layers::SerializeLayer::new(codec).layer(stack))
    }

    fn make_resilient<S: Clone>(&self, store: S) -> Resilient<S> {
        // Taking part in coordination is worth more patience than a read that a loader can replace.
        let timeout = TimeoutLayer::new(self.timeout).class(OpClass::Control, self.timeout.saturating_mul(4));
        self.retry.layer(self.circuit_breaker.layer(timeout.layer(store)))
    }

    fn admit<S>(&self, stack: S) -> Admitted<S> {
        let stack = BulkheadLayer::new(self.max_concurrent).layer(stack);
        let stack = RateLimitLayer::per_second(self.rate_limit).layer(stack);
        TraceLayer::new().redact_keys(self.redact_keys).layer(MetricsLayer::new().layer(stack))
    }
}
