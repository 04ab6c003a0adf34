use tower_layer::Layer;
use tracing::Level;

use super::service::Trace;

/// Shows every operation to `tracing`; see the [module documentation](crate::trace).
///
/// By default spans are at `DEBUG` and keys are shown. It holds no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceLayer {
    settings: Settings,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) level: Level,
    pub(super) redact_keys: bool,
}

impl Settings {
    /// Of the event of a failure. The more severe level is the lesser one.
    pub(super) fn failure_level(self) -> Level {
        self.level.min(Level::WARN)
    }
}

impl TraceLayer {
    /// Spans at `DEBUG`, with keys.
    #[must_use]
    pub const fn new() -> Self {
        Self { settings: Settings { level: Level::DEBUG, redact_keys: false } }
    }

    /// Another level for spans and for the events of what went well. Failures are at `WARN`, or at this level when it is
    /// more severe.
    #[must_use]
    pub const fn level(mut self, level: Level) -> Self {
        self.settings.level = level;
        self
    }

    /// Whether to show a hash instead of each key, and no causes of errors, which may contain keys and values.
    #[must_use]
    pub const fn redact_keys(mut self, redact: bool) -> Self {
        self.settings.redact_keys = redact;
        self
    }

    #[cfg(test)]
    pub(super) fn settings(self) -> Settings {
        self.settings
    }
}

impl Default for TraceLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for TraceLayer {
    type Service = Trace<S>;

    fn layer(&self, inner: S) -> Trace<S> {
        Trace::new(inner, self.settings)
    }
}
