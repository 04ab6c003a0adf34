//! What a hit carries.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::clock;

/// A value from the cache, with what is known about it.
#[derive(Debug)]
pub struct Entry<V> {
    /// The value, shared with the cache.
    pub value: Arc<V>,
    /// Where it came from and how old it is.
    pub meta: EntryMeta,
}

/// A reference count, whatever `V` is.
impl<V> Clone for Entry<V> {
    fn clone(&self) -> Self {
        Self { value: Arc::clone(&self.value), meta: self.meta }
    }
}

impl<V> Entry<V> {
    /// An entry about which nothing is known but its value.
    pub fn new(value: impl Into<Arc<V>>) -> Self {
        Self { value: value.into(), meta: EntryMeta::default() }
    }

    /// The same entry with other metadata.
    #[must_use]
    pub fn with_meta(mut self, meta: EntryMeta) -> Self {
        self.meta = meta;
        self
    }

    /// How long ago the value was written, where the store knows.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        self.meta.created_at.map(|at| clock::now().saturating_duration_since(at))
    }

    /// How long the value will still live, where the store knows and it expires.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.meta.expires_at.map(|at| at.saturating_duration_since(clock::now()))
    }
}

/// What is known about an [`Entry`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntryMeta {
    /// Which tier answered.
    pub origin: Origin,
    /// Why the value is served although it is past its lifetime; `None` for a fresh one.
    pub stale: Option<StaleReason>,
    /// When it was written, on this process' clock.
    pub created_at: Option<Instant>,
    /// When it expires, on this process' clock; `None` when it does not or when that is not known.
    pub expires_at: Option<Instant>,
}

impl EntryMeta {
    /// Metadata that names the tier only.
    #[must_use]
    pub fn from_origin(origin: Origin) -> Self {
        Self { origin, ..Self::default() }
    }

    /// The same metadata with the time of writing.
    #[must_use]
    pub fn created_at(mut self, at: Option<Instant>) -> Self {
        self.created_at = at;
        self
    }

    /// The same metadata with the time of expiry.
    #[must_use]
    pub fn expires_at(mut self, at: Option<Instant>) -> Self {
        self.expires_at = at;
        self
    }

    /// The same metadata, marked as past its lifetime.
    #[must_use]
    pub fn stale(mut self, reason: StaleReason) -> Self {
        self.stale = Some(reason);
        self
    }
}

/// The tier that answered a read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Origin {
    /// Not told.
    #[default]
    Unknown,
    /// A store in this process that is the cache's only tier.
    Memory,
    /// A near cache in front of another tier.
    Near,
    /// A store on another machine.
    Remote,
    /// The loader: the value was not cached.
    Loader,
}

/// Why a value past its lifetime is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StaleReason {
    /// The caller allows it while a fresh value is being loaded.
    Revalidating,
    /// The store or the loader failed.
    Failure,
    /// Its own logical expiry has passed, though the store still had it.
    Expired,
}
