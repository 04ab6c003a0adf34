//! The layer and its settings.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cachex_core::OpClass;
use tower_layer::Layer;

use super::handle::RateLimitHandle;
use super::limits::{Limits, Settings};
use super::rate::Rate;
use super::service::RateLimit;

/// Applies [`RateLimit`]: at most so many operations in a time.
///
/// What was let through is counted in the layer: every service it makes, all their clones and all clones of the layer
/// share one count. Make a new layer for a separate one. Each setting starts afresh, so finish the settings before
/// asking for a [`handle`](Self::handle).
#[derive(Clone)]
pub struct RateLimitLayer {
    limits: Arc<Limits>,
}

impl RateLimitLayer {
    /// At most this rate, over all operations of the stack; what is beyond is refused at once.
    #[must_use]
    pub fn new(rate: impl Into<Rate>) -> Self {
        Self::with(Settings { rate: rate.into(), classes: [None; 3], max_wait: Duration::ZERO })
    }

    /// At most so many operations a second, all of which may come at once: see [`Rate::per_second`].
    #[must_use]
    pub fn per_second(operations: u32) -> Self {
        Self::new(Rate::per_second(operations))
    }

    /// At most so many operations a minute, all of which may come at once: see [`Rate::per_minute`].
    #[must_use]
    pub fn per_minute(operations: u32) -> Self {
        Self::new(Rate::per_minute(operations))
    }

    /// So many operations may pass at once after a pause; 0 is taken as 1.
    #[must_use]
    pub fn burst(self, operations: u32) -> Self {
        let settings = self.limits.settings;
        Self::with(Settings { rate: settings.rate.burst(operations), ..settings })
    }

    /// Operations of this class are limited to this rate, too. A plain number is a rate per second.
    #[must_use]
    pub fn class(self, class: OpClass, rate: impl Into<Rate>) -> Self {
        let mut settings = self.limits.settings;
        settings.classes[class as usize] = Some(rate.into());
        Self::with(settings)
    }

    /// An operation beyond the rate waits for its turn, if that comes within `max_wait`; else it is refused at once.
    ///
    /// Zero, the default, refuses all of them. Waiting needs a tokio runtime with its timer enabled.
    #[must_use]
    pub fn wait(self, max_wait: Duration) -> Self {
        Self::with(Settings { max_wait, ..self.limits.settings })
    }

    /// A view of the limits while they are in use.
    #[must_use]
    pub fn handle(&self) -> RateLimitHandle {
        RateLimitHandle::new(Arc::clone(&self.limits))
    }

    fn with(settings: Settings) -> Self {
        Self { limits: Arc::new(Limits::new(settings)) }
    }
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimit<S>;

    fn layer(&self, inner: S) -> RateLimit<S> {
        RateLimit::new(inner, Arc::clone(&self.limits))
    }
}

impl Settings {
    /// The settings as fields of whoever has them.
    pub(super) fn debug<'a, 'b>(
        &self,
        out: &'a mut fmt::DebugStruct<'a, 'b>,
    ) -> &'a mut fmt::DebugStruct<'a, 'b> {
        out.field("rate", &self.rate);
        for (class, rate) in OpClass::ALL.iter().zip(&self.classes) {
            if let Some(rate) = rate {
                out.field(class.as_str(), rate);
            }
        }
        out.field("max_wait", &self.max_wait)
    }
}

impl fmt::Debug for RateLimitLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.limits.settings.debug(&mut f.debug_struct("RateLimitLayer")).finish()
    }
}
