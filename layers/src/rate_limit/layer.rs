use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use cachex_core::OpClass;
use tower_layer::Layer;

use super::limits::{Limits, Rate};
use super::service::RateLimit;

/// Makes [`RateLimit`] services.
///
/// | setting | default |
/// |---|---|
/// | [`burst`](Self::burst) | as many as come in one period |
/// | [`class`](Self::class) | reads and writes have no limits of their own; control requests have none at all |
/// | [`wait`](Self::wait) | refuse at once |
///
/// All services that one layer value (or a clone of it) makes share its tokens. A setter fills the buckets anew: set first,
/// then hand out.
#[derive(Clone)]
pub struct RateLimitLayer {
    stack: Rate,
    classes: [Option<Rate>; 3],
    max_wait: Option<Duration>,
    limits: Arc<Limits>,
}

impl RateLimitLayer {
    /// `count` requests per second. At least 1; above a thousand million it is a thousand million.
    #[must_use]
    pub fn per_second(count: u32) -> Self {
        Self::per(count, Duration::from_secs(1))
    }

    /// `count` requests per `period`. At least 1; intervals between two of them are whole nanoseconds, at least 1.
    #[must_use]
    pub fn per(count: u32, period: Duration) -> Self {
        let stack = Rate::new(count, period);
        Self {
            stack,
            classes: [None; 3],
            max_wait: None,
            limits: Arc::new(Limits::new(stack, [None; 3], None)),
        }
    }

    /// How many requests may pass at once after a quiet time. At least 1.
    #[must_use]
    pub fn burst(mut self, requests: u32) -> Self {
        self.stack.burst = NonZeroU32::new(requests).unwrap_or(NonZeroU32::MIN);
        self.renewed()
    }

    /// A limit for one class of operations, in addition to the stack's: `per_second` of them (at least 1), and as many at
    /// once.
    #[must_use]
    pub fn class(mut self, class: OpClass, per_second: u32) -> Self {
        self.classes[class as usize] = Some(Rate::new(per_second, Duration::from_secs(1)));
        self.renewed()
    }

    /// Lets a request wait for its token, at most this long. One whose token comes later is refused at once.
    ///
    /// Those who wait are not served in order: whoever asks first after a token has come gets it.
    #[must_use]
    pub fn wait(mut self, at_most: Duration) -> Self {
        self.max_wait = Some(at_most);
        self.renewed()
    }

    /// The live counters.
    #[must_use]
    pub fn handle(&self) -> RateLimitHandle {
        RateLimitHandle { limits: Arc::clone(&self.limits) }
    }

    /// The same settings with full buckets of its own.
    fn renewed(mut self) -> Self {
        self.limits = Arc::new(Limits::new(self.stack, self.classes, self.max_wait));
        self
    }
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimit<S>;

    fn layer(&self, inner: S) -> RateLimit<S> {
        RateLimit::new(inner, Arc::clone(&self.limits))
    }
}

impl fmt::Debug for RateLimitLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("RateLimitLayer");
        out.field("interval", &self.stack.interval).field("burst", &self.stack.burst);
        for (class, rate) in OpClass::ALL.into_iter().zip(&self.classes) {
            if let Some(rate) = rate {
                out.field(class.as_str(), rate);
            }
        }
        out.field("max_wait", &self.max_wait).finish()
    }
}

/// Reads the counters of a [`RateLimitLayer`] while it runs.
#[derive(Clone, Debug)]
pub struct RateLimitHandle {
    limits: Arc<Limits>,
}

impl RateLimitHandle {
    /// How many requests were refused.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.limits.rejected()
    }

    /// How many requests are waiting for a token.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.limits.waiting()
    }
}
