use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cachex_core::{CacheError, ErrorKind, Key};

/// What a read answers when the stored bytes cannot be read: altered or truncated, of an unknown version, of another type or
/// codec, sealed with an unknown key, or no envelope at all (a counter, say).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unreadable {
    /// A miss, which is counted (the default): what a cache cannot read it does not have, and a loader brings it again. A
    /// rolling deployment that changes a type then costs loads, not errors.
    #[default]
    Miss,
    /// A typed error, which fails the whole read, that of several keys included.
    Error,
}

/// How many stored values a layer could not read, and why. A handle: it stays live, and clones see the same numbers.
///
/// Values are counted under either [`Unreadable`] policy.
#[derive(Clone, Default)]
pub struct UnreadableStats(Arc<Counts>);

#[derive(Default)]
struct Counts {
    decode: AtomicU64,
    unknown_version: AtomicU64,
    schema_mismatch: AtomicU64,
    decrypt: AtomicU64,
    too_large: AtomicU64,
}

impl UnreadableStats {
    /// How many in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        let kinds = [
            ErrorKind::Decode,
            ErrorKind::UnknownVersion,
            ErrorKind::SchemaMismatch,
            ErrorKind::Decrypt,
            ErrorKind::TooLarge,
        ];
        kinds.into_iter().map(|kind| self.count(kind)).sum()
    }

    /// How many for this reason: `Decode`, `UnknownVersion`, `SchemaMismatch`, `Decrypt` or `TooLarge`; 0 for others.
    #[must_use]
    pub fn count(&self, kind: ErrorKind) -> u64 {
        self.counter(kind).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    fn counter(&self, kind: ErrorKind) -> Option<&AtomicU64> {
        Some(match kind {
            ErrorKind::Decode => &self.0.decode,
            ErrorKind::UnknownVersion => &self.0.unknown_version,
            ErrorKind::SchemaMismatch => &self.0.schema_mismatch,
            ErrorKind::Decrypt => &self.0.decrypt,
            ErrorKind::TooLarge => &self.0.too_large,
            _ => return None,
        })
    }
}

impl fmt::Debug for UnreadableStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnreadableStats")
            .field("decode", &self.count(ErrorKind::Decode))
            .field("unknown_version", &self.count(ErrorKind::UnknownVersion))
            .field("schema_mismatch", &self.count(ErrorKind::SchemaMismatch))
            .field("decrypt", &self.count(ErrorKind::Decrypt))
            .field("too_large", &self.count(ErrorKind::TooLarge))
            .finish()
    }
}

/// A layer's policy and its counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unreadables {
    pub(crate) policy: Unreadable,
    pub(crate) stats: UnreadableStats,
}

impl Unreadables {
    /// Counts a value that could not be read, tells of it, and answers as the policy says.
    #[cold]
    pub(crate) fn judge<V>(
        &self,
        layer: &'static str,
        key: &Key,
        error: CacheError,
    ) -> Result<Option<V>, CacheError> {
        if let Some(counter) = self.stats.counter(error.kind()) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        tell(layer, key, &error);
        match self.policy {
            Unreadable::Error => Err(error),
            Unreadable::Miss => {
                // Under the other policy the error itself reaches a metrics layer, and is counted there.
                #[cfg(feature = "metrics")]
                metrics::counter!("cache_errors_total", "type" => error.kind().as_str()).increment(1);
                Ok(None)
            }
        }
    }
}

/// Another version or type is what a deployment leaves behind, for every value there is: not worth a warning each.
#[cfg(feature = "trace")]
fn tell(layer: &'static str, key: &Key, error: &CacheError) {
    if matches!(error.kind(), ErrorKind::UnknownVersion | ErrorKind::SchemaMismatch) {
        tracing::debug!(component = "cache", layer, ?key, error.kind = error.kind().as_str(), %error, "unreadable value");
    } else {
        tracing::warn!(component = "cache", layer, ?key, error.kind = error.kind().as_str(), %error, "unreadable value");
    }
}

#[cfg(not(feature = "trace"))]
fn tell(_: &'static str, _: &Key, _: &CacheError) {}
