//! What the cache beneath holds, and what it does when it lets go of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cachex_core::{Entry, EntryMeta, Key, Origin, clock};
use quick_cache::{Lifecycle, Weighter};
use tokio::time::Instant;

use super::expiry::Expiries;
use super::tags::Stamp;

/// One entry.
#[derive(Debug)]
pub(super) struct Slot<V> {
    pub(super) content: Content<V>,
    pub(super) created_at: Instant,
    pub(super) expires_at: Option<Instant>,
    pub(super) stamp: Stamp,
    /// Asked for at every eviction, so it is worked out once.
    pub(super) weight: u64,
}

#[derive(Debug)]
pub(super) enum Content<V> {
    Value(Arc<V>),
    Counter(i64),
}

impl<V> Clone for Slot<V> {
    #[inline]
    fn clone(&self) -> Self {
        let content = match &self.content {
            Content::Value(value) => Content::Value(Arc::clone(value)),
            Content::Counter(n) => Content::Counter(*n),
        };
        let Self { created_at, expires_at, weight, .. } = *self;
        Self { content, created_at, expires_at, stamp: self.stamp.clone(), weight }
    }
}

impl<V> Slot<V> {
    /// Whether it may be served. The clock is read only if it expires at all.
    #[inline]
    pub(super) fn is_live(&self) -> bool {
        !self.is_expired() && self.stamp.is_valid()
    }

    #[inline]
    pub(super) fn is_expired(&self) -> bool {
        self.expires_at.is_some_and(|at| at <= clock::now())
    }
}

/// The value with what is known of it.
#[inline]
pub(super) fn entry<V>(value: Arc<V>, created_at: Instant, expires_at: Option<Instant>) -> Entry<V> {
    let meta = EntryMeta::from_origin(Origin::Memory).created_at(Some(created_at)).expires_at(expires_at);
    Entry::new(value).with_meta(meta)
}

/// Tells the cache beneath what an entry weighs.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlotWeight;

impl<V> Weighter<Key, Slot<V>> for SlotWeight {
    #[inline]
    fn weight(&self, _: &Key, slot: &Slot<V>) -> u64 {
        slot.weight
    }
}

/// Keeps the buckets free of what was evicted, and counts.
#[derive(Clone, Debug)]
pub(super) struct Housekeeper {
    pub(super) expiries: Arc<Expiries>,
    pub(super) evicted: Arc<AtomicU64>,
}

/// What one insertion pushed out. Dropped by whoever inserted, once all locks are released.
#[derive(Debug)]
pub(super) struct Displaced<V> {
    /// The key that is being written: the cache beneath reports its former entry as evicted, too.
    pub(super) writing: Option<Key>,
    pub(super) replaced: Option<Slot<V>>,
    evicted: Option<Slot<V>>,
    /// One heavy entry can push out many light ones.
    more: Vec<Slot<V>>,
}

impl<V> Default for Displaced<V> {
    fn default() -> Self {
        Self { writing: None, replaced: None, evicted: None, more: Vec::new() }
    }
}

impl<V> Lifecycle<Key, Slot<V>> for Housekeeper {
    type RequestState = Displaced<V>;

    /// Runs under the shard's lock: a writer that stores the key again comes later, and so does the note it makes of its
    /// expiry.
    fn on_evict(&self, displaced: &mut Displaced<V>, key: Key, slot: Slot<V>) {
        if displaced.writing.as_ref() == Some(&key) {
            displaced.replaced = Some(slot);
            return;
        }
        self.expiries.forget(&key, slot.expires_at);
        self.evicted.fetch_add(1, Ordering::Relaxed);
        if displaced.evicted.is_none() {
            displaced.evicted = Some(slot);
        } else {
            displaced.more.push(slot);
        }
    }
}
