//! The settings of a memory store.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cachex_core::{Key, Ttl};

use super::store::MemoryStore;

/// Works out what a value weighs.
type Weigher<V> = Arc<dyn Fn(&Key, &V) -> u64 + Send + Sync>;

/// Makes a [`MemoryStore`] of given size and habits.
///
/// ```
/// use std::time::Duration;
///
/// use cachex::store::memory::MemoryStore;
///
/// let store: MemoryStore<Vec<u8>> = MemoryStore::builder()
///     .max_weight(64 << 20, |_key, bytes: &Vec<u8>| bytes.len() as u64)
///     .default_ttl(Duration::from_secs(600))
///     .build();
/// assert!(store.max_entry_weight() < 64 << 20);
/// ```
#[must_use]
pub struct MemoryStoreBuilder<V> {
    pub(super) settings: Settings<V>,
}

pub(super) struct Settings<V> {
    pub(super) max_entries: usize,
    pub(super) max_weight: Option<(u64, Weigher<V>)>,
    pub(super) default_ttl: Option<Duration>,
    pub(super) cleanup_interval: Duration,
}

impl<V> Default for MemoryStoreBuilder<V> {
    fn default() -> Self {
        let settings = Settings {
            max_entries: 10_000,
            max_weight: None,
            default_ttl: None,
            cleanup_interval: Duration::from_secs(60),
        };
        Self { settings }
    }
}

impl<V: Send + Sync + 'static> MemoryStoreBuilder<V> {
    /// Keeps at most about this many entries. Default: 10,000; at least 1.
    ///
    /// The bound is divided among shards and rounded up in each, so up to one entry per shard (four per processor) more
    /// can be kept. Next to [`max_weight`](Self::max_weight) this number is no bound, only the number of entries to
    /// expect: say it, too, where there are many, since a store that is made for many fetches entries ahead (see the
    /// [module](crate::store::memory)).
    pub fn max_entries(mut self, entries: usize) -> Self {
        self.settings.max_entries = entries.max(1);
        self
    }

    /// Keeps entries up to a total weight, in whatever unit `weigher` uses. Default: entries are counted instead.
    ///
    /// `weigher` is asked once for each value stored, and a weight of zero counts as one. Counters weigh one each. The
    /// bound is divided among shards: what weighs more than [`MemoryStore::max_entry_weight`] is never kept.
    pub fn max_weight(
        mut self,
        weight: u64,
        weigher: impl Fn(&Key, &V) -> u64 + Send + Sync + 'static,
    ) -> Self {
        self.settings.max_weight = Some((weight.max(1), Arc::new(weigher)));
        self
    }

    /// How long entries live that are stored with [`Ttl::Default`]. Default: for ever.
    ///
    /// Rounded up to whole milliseconds, and kept between 1 ms and [`Ttl::MAX`].
    pub fn default_ttl(mut self, ttl: Duration) -> Self {
        self.settings.default_ttl = bounded(Ttl::After(ttl)).resolve(None);
        self
    }

    /// How long the memory of an expired entry is kept at most while nobody asks for it. Default: 60 s; at least 1 ms.
    ///
    /// Each interval costs one look at 16 buckets, and as much more as has expired.
    pub fn cleanup_interval(mut self, interval: Duration) -> Self {
        self.settings.cleanup_interval = interval.clamp(Duration::from_millis(1), Ttl::MAX);
        self
    }

    /// Makes the store.
    #[must_use]
    pub fn build(self) -> MemoryStore<V> {
        MemoryStore::with_settings(self.settings)
    }
}

/// A lifetime within its bounds, for callers that cannot be told that it is not.
pub(super) fn bounded(ttl: Ttl) -> Ttl {
    let ttl = match ttl {
        Ttl::After(ttl) => Ttl::After(ttl.clamp(Duration::from_millis(1), Ttl::MAX)),
        other => other,
    };
    ttl.validated().unwrap_or(ttl)
}

impl<V> fmt::Debug for Settings<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { max_entries, max_weight, default_ttl, cleanup_interval } = self;
        let max_weight = max_weight.as_ref().map(|(weight, _)| weight);
        f.debug_struct("Settings")
            .field("max_entries", max_entries)
            .field("max_weight", &max_weight)
            .field("default_ttl", default_ttl)
            .field("cleanup_interval", cleanup_interval)
            .finish()
    }
}

impl<V> fmt::Debug for MemoryStoreBuilder<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStoreBuilder").field("settings", &self.settings).finish()
    }
}
