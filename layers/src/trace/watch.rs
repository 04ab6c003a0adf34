use std::error::Error;
use std::fmt;

use cachex_core::{CacheError, CacheRequest, CacheResponse, Key, Op, Ttl, clock};
use tokio::time::Instant;
use tracing::field::{DisplayValue, Empty, display};
use tracing::level_filters::LevelFilter;
use tracing::{Level, Span};

use super::layer::Settings;
use crate::observed::{Status, Told};

/// The value of the field `component`.
const COMPONENT: &str = "cachex";

/// A call site's level is part of its static metadata: so one call site per level.
macro_rules! at_level {
    ($level:expr, $tracing:ident!($($fields:tt)*)) => {
        match $level {
            Level::ERROR => tracing::$tracing!(target: "cachex", Level::ERROR, $($fields)*),
            Level::WARN => tracing::$tracing!(target: "cachex", Level::WARN, $($fields)*),
            Level::INFO => tracing::$tracing!(target: "cachex", Level::INFO, $($fields)*),
            Level::DEBUG => tracing::$tracing!(target: "cachex", Level::DEBUG, $($fields)*),
            Level::TRACE => tracing::$tracing!(target: "cachex", Level::TRACE, $($fields)*),
        }
    };
}

/// One call that somebody wants to hear of; dropped before its end, it is shown as cancelled.
pub(super) struct Watch {
    /// Disabled when only a failure would be heard of.
    span: Span,
    settings: Settings,
    op: Op,
    key: Option<Key>,
    key_count: usize,
    ttl_ms: Option<u64>,
    start: Instant,
    told: Told,
    ended: bool,
}

impl Watch {
    /// Begins to watch, if a subscriber wants the span, or the event should the call fail.
    #[inline]
    pub(super) fn begin<V>(settings: Settings, request: &CacheRequest<V>) -> Option<Box<Self>> {
        if LevelFilter::current() == LevelFilter::OFF {
            return None;
        }
        Self::begin_if_wanted(settings, request)
    }

    /// Out of line, so that a call nobody listens to carries none of it.
    #[inline(never)]
    fn begin_if_wanted<V>(settings: Settings, request: &CacheRequest<V>) -> Option<Box<Self>> {
        let op = request.op();
        let span = at_level!(
            settings.level,
            span!(
                "cache",
                otel.name = %format_args!("cache {op}"),
                component = COMPONENT,
                operation = op.as_str(),
                key = only_key(request).map(|key| shown_key(key, settings)),
                key_count = request.keys().len(),
                ttl_ms = ttl_ms(request),
                bytes = Empty,
                attempt = Empty,
                duration_ms = Empty,
                status = Empty,
                error = Empty,
                error.type = Empty,
                otel.status_code = Empty,
            )
        );
        if span.is_disabled() && !at_level!(settings.failure_level(), event_enabled!({})) {
            return None;
        }
        Some(Box::new(Self {
            span,
            settings,
            op,
            key: only_key(request).cloned(),
            key_count: request.keys().len(),
            ttl_ms: ttl_ms(request),
            start: clock::now(),
            told: Told::default(),
            ended: false,
        }))
    }

    #[cfg(test)]
    pub(super) fn has_span(&self) -> bool {
        !self.span.is_disabled()
    }

    /// Runs what is beneath inside the span and keeps what it tells of.
    pub(super) fn during<R>(&mut self, beneath: impl FnOnce() -> R) -> R {
        let Self { span, told, .. } = self;
        span.in_scope(|| told.during(beneath))
    }

    pub(super) fn end<V>(&mut self, answer: &Result<CacheResponse<V>, CacheError>) {
        self.ended = true;
        self.tell(Status::of(answer), answer.as_ref().err());
        // The span closes with the answer, however long the caller keeps the future.
        self.span = Span::none();
    }

    fn tell(&self, status: Status, error: Option<&CacheError>) {
        let Self { span, settings, op, .. } = self;
        if span.is_disabled() && error.is_none() {
            return;
        }
        let duration_ms = clock::fresh().saturating_duration_since(self.start).as_secs_f64() * 1000.0;
        let attempt = self.told.retries + 1;
        let bytes = Some(self.told.stored_bytes + self.told.loaded_bytes).filter(|bytes| *bytes > 0);
        let shown_error = error.map(|error| display(ShownError { error, settings }));
        let error_type = error.map(|error| error.kind().as_str());

        span.record("bytes", bytes);
        span.record("attempt", attempt);
        span.record("duration_ms", duration_ms);
        span.record("status", status.as_str());
        span.record("error", &shown_error);
        span.record("error.type", error_type);
        span.record("otel.status_code", error.map(|_| "ERROR"));

        let (level, message) = match status {
            Status::Error => (settings.failure_level(), "failed"),
            Status::Cancelled => (settings.level, "cancelled"),
            _ => (settings.level, "done"),
        };
        span.in_scope(|| {
            at_level!(
                level,
                event!(
                    component = COMPONENT,
                    operation = op.as_str(),
                    key = self.key.as_ref().map(|key| shown_key(key, *settings)),
                    key_count = self.key_count,
                    ttl_ms = self.ttl_ms,
                    bytes,
                    attempt,
                    duration_ms,
                    status = status.as_str(),
                    error = shown_error,
                    error.type = error_type,
                    "{message}"
                )
            );
        });
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.ended {
            self.tell(Status::Cancelled, None);
        }
    }
}

/// The key of a request that has exactly one.
fn only_key<V>(request: &CacheRequest<V>) -> Option<&Key> {
    let mut keys = request.keys();
    let first = keys.next();
    first.filter(|_| keys.len() == 0)
}

fn ttl_ms<V>(request: &CacheRequest<V>) -> Option<u64> {
    match request.requested_ttl() {
        Some(Ttl::After(ttl)) => Some(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)),
        _ => None,
    }
}

fn shown_key(key: &Key, settings: Settings) -> DisplayValue<ShownKey<'_>> {
    display(ShownKey { key, redacted: settings.redact_keys })
}

struct ShownKey<'a> {
    key: &'a Key,
    redacted: bool,
}

impl fmt::Display for ShownKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.redacted { fmt::Debug::fmt(self.key, f) } else { f.write_str(self.key.as_str()) }
    }
}

/// The cache's own message, and what caused it unless that might give away keys or values.
struct ShownError<'a> {
    error: &'a CacheError,
    settings: &'a Settings,
}

impl fmt::Display for ShownError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.error)?;
        if self.settings.redact_keys {
            return Ok(());
        }
        let mut cause = self.error.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
