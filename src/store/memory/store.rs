//! The handle.

use std::fmt;
use std::sync::Arc;

use super::builder::{MemoryStoreBuilder, Settings};
use super::shared::Shared;

/// A bounded store in this process. The [module](crate::store::memory) documentation tells what it keeps and for how
/// long, and what its fences promise.
///
/// A clone is one reference count and the same store. Always ready.
pub struct MemoryStore<V> {
    pub(super) shared: Arc<Shared<V>>,
}

/// What a [`MemoryStore`] holds, and what it has let go. Hits and misses are counted by a metrics layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryStats {
    /// Entries held, expired ones included that have not been cleaned up yet.
    pub entries: usize,
    /// Their weight; the same number unless the store has a weigher.
    pub weight: u64,
    /// Entries evicted so far to make room.
    pub evicted: u64,
    /// Entries freed so far because their lifetime was over.
    pub expired: u64,
}

impl<V: Send + Sync + 'static> MemoryStore<V> {
    /// A store of at most about `max_entries` entries, with every other setting at its default.
    #[must_use]
    pub fn new(max_entries: usize) -> Self {
        Self::builder().max_entries(max_entries).build()
    }

    /// A store with settings of its own.
    pub fn builder() -> MemoryStoreBuilder<V> {
        MemoryStoreBuilder::default()
    }

    pub(super) fn with_settings(settings: Settings<V>) -> Self {
        Self { shared: Arc::new(Shared::new(settings)) }
    }

    /// What it holds, and what it has let go. Takes every shard's lock for an instant.
    #[must_use]
    pub fn stats(&self) -> MemoryStats {
        self.shared.stats()
    }

    /// The weight of the heaviest entry that fits: a shard's part of the bound, less what is reserved for newcomers.
    ///
    /// A write of a heavier one fails with [`ErrorKind::TooLarge`](cachex_core::ErrorKind::TooLarge) and removes what the
    /// key held, which is out of date by then; a fill of one does not apply.
    #[must_use]
    pub fn max_entry_weight(&self) -> u64 {
        self.shared.max_entry_weight
    }
}

/// One reference count, whatever `V` is.
impl<V> Clone for MemoryStore<V> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<V> fmt::Debug for MemoryStore<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("settings", &self.shared.settings)
            .field("entries", &self.shared.cache.len())
            .finish_non_exhaustive()
    }
}
