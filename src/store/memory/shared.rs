//! The operations.

use std::cell::{Cell, RefCell};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use cachex_core::{
    CacheError, CacheResponse, Condition, Effect, Entry, ErrorKind, FillToken, Intent, Key, KeyHashBuilder,
    KeyTtl, Op, Tags, Ttl, clock, foresight,
};
use quick_cache::sync::Cache;
use quick_cache::{Equivalent, OptionsBuilder};
use tokio::time::Instant;

use super::builder::Settings;
use super::channel::Channel;
use super::expiry::Expiries;
use super::fence::Fence;
use super::locks::LockTable;
use super::slot::{Content, Displaced, Housekeeper, Slot, SlotWeight, entry};
use super::store::MemoryStats;
use super::sweeper::{Sweeper, tend};
use super::tags::{Registry, Stamp};

/// The part of a shard that long-lived entries may fill: quick_cache's own default, named because
/// [`Shared::max_entry_weight`] follows from it.
const HOT_PART: f64 = 0.97;

/// A store that is made for no more entries than this is found in the processor's caches: some three megabytes.
const FITS_CACHES: usize = 1 << 14;

/// What all handles of a store share.
#[derive(Debug)]
pub(super) struct Shared<V> {
    pub(super) cache: Cache<Key, Slot<V>, SlotWeight, KeyHashBuilder, Housekeeper>,
    pub(super) closed: AtomicBool,
    pub(super) fence: Fence,
    pub(super) expiries: Arc<Expiries>,
    pub(super) sweeper: Sweeper,
    pub(super) locks: LockTable,
    pub(super) channel: Channel,
    pub(super) settings: Settings<V>,
    pub(super) max_entry_weight: u64,
    /// Whether it is worth while to look for an entry before it is asked for.
    foresees: bool,
    tags: Registry,
    evicted: Arc<AtomicU64>,
    expired: AtomicU64,
}

/// A key by another type. A search is compiled for the type it is given: so the one for a `Get`, which is
/// given a [`Key`], has one caller and becomes part of it.
#[derive(Hash)]
struct Apart<'a>(&'a Key);

/// Stands for a key of which no more is known.
struct HashOf(u64);

impl Hash for HashOf {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
    }
}

impl Equivalent<Key> for HashOf {
    #[inline]
    fn equivalent(&self, key: &Key) -> bool {
        key.hash_code() == self.0
    }
}

impl Equivalent<Key> for Apart<'_> {
    #[inline]
    fn equivalent(&self, key: &Key) -> bool {
        self.0 == key
    }
}

/// A value on its way in.
pub(super) struct Incoming<V> {
    pub(super) value: Arc<V>,
    pub(super) ttl: Ttl,
    pub(super) intent: Intent,
    pub(super) condition: Condition,
}

impl<V> Drop for Shared<V> {
    fn drop(&mut self) {
        self.sweeper.stop();
    }
}

impl<V> Shared<V> {
    pub(super) fn new(settings: Settings<V>) -> Self {
        let max_weight =
            settings.max_weight.as_ref().map_or(settings.max_entries as u64, |(weight, _)| *weight);
        let foresees = settings.max_entries > FITS_CACHES;
        let options = OptionsBuilder::new()
            .estimated_items_capacity(settings.max_entries)
            .weight_capacity(max_weight)
            .hot_allocation(HOT_PART)
            .build()
            .expect("both capacities are set");
        let expiries = Arc::new(Expiries::new(clock::now(), settings.cleanup_interval));
        let evicted = Arc::new(AtomicU64::new(0));
        let housekeeper = Housekeeper { expiries: Arc::clone(&expiries), evicted: Arc::clone(&evicted) };
        let cache = Cache::with_options(options, SlotWeight, KeyHashBuilder, housekeeper);
        let max_entry_weight = ((cache.shard_capacity() as f64 * HOT_PART) as u64).max(1);
        Self {
            cache,
            closed: AtomicBool::new(false),
            fence: Fence::new(settings.max_entries),
            expiries,
            sweeper: Sweeper::default(),
            locks: LockTable::default(),
            channel: Channel::default(),
            settings,
            max_entry_weight,
            foresees,
            tags: Registry::default(),
            evicted,
            expired: AtomicU64::new(0),
        }
    }

    pub(super) fn stats(&self) -> MemoryStats {
        MemoryStats {
            entries: self.cache.len(),
            weight: self.cache.weight(),
            evicted: self.evicted.load(Ordering::Relaxed),
            expired: self.expired.load(Ordering::Relaxed),
        }
    }

    /// The live entry of this key, counted as a use.
    pub(super) fn read(&self, key: &Key) -> Result<Option<Entry<V>>, CacheError> {
        match self.look_up(&Apart(key), key, || FillToken::UNFENCED)? {
            CacheResponse::Hit(entry) => Ok(Some(entry)),
            _ => Ok(None),
        }
    }

    /// As [`read`](Self::read), in the form of an answer. `sought` is `key`, perhaps by another type; `token` goes with a miss.
    #[inline(always)]
    pub(super) fn look_up<Q>(
        &self,
        sought: &Q,
        key: &Key,
        token: impl FnOnce() -> FillToken,
    ) -> Result<CacheResponse<V>, CacheError>
    where
        Q: Hash + Equivalent<Key>,
    {
        let Some(slot) = self.cache.get(sought) else {
            return Ok(CacheResponse::Miss(token()));
        };
        if !slot.is_live() {
            self.remove_dead(key);
            return Ok(CacheResponse::Miss(token()));
        }
        match slot.content {
            Content::Value(value) => Ok(CacheResponse::Hit(entry(value, slot.created_at, slot.expires_at))),
            Content::Counter(_) => {
                let message = "the key holds a counter, not a value";
                Err(CacheError::new(ErrorKind::WrongType, message).with_op(Op::Get))
            }
        }
    }

    /// If one can know what will be read soon, and the store is large, has the processor fetch the entry. Not counted as a use.
    #[inline]
    pub(super) fn foresee(&self) {
        if self.foresees
            && let Some(hash) = foresight::next_read()
        {
            self.fetch(hash);
        }
    }

    /// Looks for an entry and lets it be, unless a writer has its shard. Nobody waits for what is found: until the processor has it, it
    /// goes on with what comes after.
    #[inline(never)]
    fn fetch(&self, hash: u64) {
        let found = std::hint::black_box(self.cache.try_contains_key(&HashOf(hash)).ok());
        #[cfg(test)]
        tests::FETCHED.set(found);
        #[cfg(not(test))]
        let _ = found;
    }

    /// The live slot of this key, not counted as a use.
    fn peek(&self, key: &Key) -> Option<Slot<V>> {
        self.cache.peek(key).filter(Slot::is_live)
    }

    pub(super) fn exists(&self, key: &Key) -> bool {
        self.peek(key).is_some()
    }

    pub(super) fn ttl(&self, key: &Key) -> KeyTtl {
        match self.peek(key).map(|slot| slot.expires_at) {
            None => KeyTtl::Missing,
            Some(None) => KeyTtl::Never,
            Some(Some(at)) => KeyTtl::After(at.saturating_duration_since(clock::now())),
        }
    }

    /// When the slot of this key expires, be it live or not.
    pub(super) fn expires_at(&self, key: &Key) -> Option<Instant> {
        self.cache.peek(key)?.expires_at
    }

    /// Removes a slot that may not be served any more.
    #[cold]
    fn remove_dead(&self, key: &Key) {
        let removed = self.cache.remove_if(key, |slot| self.let_go_if(key, slot, !slot.is_live()));
        self.count_expired(removed.map(|(_, slot)| slot).as_ref());
    }

    pub(super) fn remove_expired(&self, key: &Key) -> bool {
        let removed = self.cache.remove_if(key, |slot| self.let_go_if(key, slot, slot.is_expired()));
        self.count_expired(removed.as_ref().map(|(_, slot)| slot));
        removed.is_some()
    }

    fn count_expired(&self, slot: Option<&Slot<V>>) {
        if slot.is_some_and(Slot::is_expired) {
            self.expired.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Called under the shard's lock, so that the note goes before another entry of this key can come.
    fn let_go_if(&self, key: &Key, slot: &Slot<V>, condition: bool) -> bool {
        if condition {
            self.expiries.forget(key, slot.expires_at);
        }
        condition
    }

    /// Stores a slot. The caller holds the key's stripe, and drops `displaced` after releasing it.
    fn put(&self, key: Key, slot: Slot<V>, displaced: &mut Displaced<V>) {
        let to = slot.expires_at;
        displaced.writing = Some(key.clone());
        self.cache.insert_with_lifecycle(key.clone(), slot, displaced);
        let from = displaced.replaced.as_ref().and_then(|slot| slot.expires_at);
        if from.is_some() || to.is_some() {
            self.expiries.change(key, from, to);
        }
    }

    /// Removes a live entry, and refuses every load of the key that is under way in any case.
    pub(super) fn delete(&self, key: &Key) -> bool {
        let was_live = Cell::new(false);
        let removed;
        {
            let writing = self.fence.write(key);
            removed = self.cache.remove_if(key, |slot| {
                was_live.set(slot.is_live());
                self.let_go_if(key, slot, true)
            });
            writing.end_generation();
        }
        drop(removed);
        was_live.get()
    }

    pub(super) fn clear(&self) {
        let removed = RefCell::new(Vec::new());
        self.fence.end_epoch(|| {
            self.cache.retain(|key, slot| {
                // Values are dropped when no lock is held.
                removed.borrow_mut().push(slot.clone());
                !self.let_go_if(key, slot, true)
            });
        });
    }

    pub(super) fn invalidate(&self, tags: &Tags) {
        self.fence.end_epoch(|| self.tags.end(tags));
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.sweeper.stop();
        self.channel.close();
        self.locks.clear();
        self.clear();
    }

    fn expiry(&self, ttl: Ttl, now: Instant) -> Option<Instant> {
        ttl.resolve(self.settings.default_ttl).map(|ttl| now + ttl)
    }
}

impl<V: Send + Sync + 'static> Shared<V> {
    /// Stores a value, unless its condition or its fence refuses it. `ttl` is within its bounds.
    pub(super) fn set(
        self: &Arc<Self>,
        key: Key,
        incoming: Incoming<V>,
        tags: &Tags,
    ) -> Result<bool, CacheError> {
        let Incoming { value, ttl, intent, condition } = incoming;
        let weight = self.settings.max_weight.as_ref().map_or(1, |(_, weigher)| weigher(&key, &value).max(1));
        if weight > self.max_entry_weight {
            return self.refuse_heavy(&key, weight, intent);
        }
        let now = clock::now();
        let expires_at = self.expiry(ttl, now);
        let mut displaced = Displaced::default();
        let mut seen = None;
        {
            let _same_epoch = matches!(intent, Intent::Fill(_)).then(|| self.fence.hold_epoch());
            let writing = self.fence.write(&key);
            if condition != Condition::Always || intent == Intent::Fill(FillToken::UNFENCED) {
                seen = self.peek(&key);
            }
            let admitted = match intent {
                Intent::Write => true,
                Intent::Fill(FillToken::UNFENCED) => seen.is_none(),
                Intent::Fill(token) => token == self.fence.token(&key),
            };
            let wanted = match condition {
                Condition::Always => true,
                Condition::IfAbsent => seen.is_none(),
                Condition::IfPresent => seen.is_some(),
                _ => return Err(CacheError::unsupported(Op::Set, NAME)),
            };
            if !(admitted && wanted) {
                return Ok(false);
            }
            let stamp = self.tags.stamp(tags);
            let slot = Slot { content: Content::Value(value), created_at: now, expires_at, stamp, weight };
            self.put(key, slot, &mut displaced);
            if intent == Intent::Write {
                writing.end_generation();
            }
        }
        drop((displaced, seen));
        tend(self, expires_at.is_some(), now);
        Ok(true)
    }

    #[cold]
    fn refuse_heavy(&self, key: &Key, weight: u64, intent: Intent) -> Result<bool, CacheError> {
        if intent != Intent::Write {
            return Ok(false);
        }
        self.delete(key);
        let message = format!("an entry of weight {weight}, {} at most", self.max_entry_weight);
        Err(CacheError::new(ErrorKind::TooLarge, message).with_effect(Effect::Unknown))
    }

    /// Changes the live slot of a key. `change` answers with the slot to store, if any, and a result; it runs under the
    /// key's stripe.
    fn update<R>(
        self: &Arc<Self>,
        key: Key,
        change: impl FnOnce(Option<&Slot<V>>, Instant) -> (Option<Slot<V>>, R),
    ) -> R {
        let now = clock::now();
        let mut displaced = Displaced::default();
        let mut expires = false;
        // Outlives the lock: it may be the last to hold the value, if the entry is evicted meanwhile.
        let seen;
        let result;
        {
            let writing = self.fence.write(&key);
            seen = self.peek(&key);
            let (slot, answer) = change(seen.as_ref(), now);
            result = answer;
            if let Some(slot) = slot {
                expires = slot.expires_at.is_some();
                self.put(key, slot, &mut displaced);
                writing.end_generation();
            }
        }
        drop((displaced, seen));
        tend(self, expires, now);
        result
    }

    pub(super) fn expire(self: &Arc<Self>, key: Key, ttl: Ttl) -> bool {
        self.update(key, |slot, now| {
            let slot = slot.map(|slot| Slot { expires_at: self.expiry(ttl, now), ..slot.clone() });
            let found = slot.is_some();
            (slot, found)
        })
    }

    pub(super) fn increment(self: &Arc<Self>, key: Key, delta: i64, ttl: Ttl) -> Result<i64, CacheError> {
        self.update(key, |slot, now| match slot {
            None => {
                let content = Content::Counter(delta);
                let expires_at = self.expiry(ttl, now);
                (
                    Some(Slot { content, created_at: now, expires_at, stamp: Stamp::default(), weight: 1 }),
                    Ok(delta),
                )
            }
            Some(slot @ Slot { content: Content::Counter(n), .. }) => {
                let Some(sum) = n.checked_add(delta) else {
                    let message = "the increment would leave the range of i64";
                    return (None, Err(CacheError::new(ErrorKind::Overflow, message)));
                };
                (Some(Slot { content: Content::Counter(sum), ..slot.clone() }), Ok(sum))
            }
            Some(_) => {
                let message = "the key holds a value, not a counter";
                (None, Err(CacheError::new(ErrorKind::WrongType, message)))
            }
        })
    }

    pub(super) fn add_tags(self: &Arc<Self>, key: Key, tags: &Tags) -> Result<bool, CacheError> {
        self.update(key, |slot, _| {
            let Some(slot) = slot else { return (None, Ok(false)) };
            let stamp = slot.stamp.and(&self.tags.stamp(tags));
            if stamp.len() > Tags::MAX_COUNT {
                let message = format!("{} tags on one entry, {} at most", stamp.len(), Tags::MAX_COUNT);
                return (None, Err(CacheError::new(ErrorKind::InvalidTag, message)));
            }
            (Some(Slot { stamp, ..slot.clone() }), Ok(true))
        })
    }
}

/// The name of the store in errors.
pub(super) const NAME: &str = "memory store";

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};
    use std::time::Duration;

    use cachex_core::{CacheRequest, LocalStore};
    use tower_service::Service;

    use crate::store::memory::MemoryStore;

    use super::*;

    thread_local! {
        /// What the last search ahead of a request found.
        pub(super) static FETCHED: Cell<Option<bool>> = const { Cell::new(None) };
    }

    #[test]
    fn a_large_store_looks_for_what_will_be_read() {
        let readied_for = |max_entries, request: &CacheRequest<u32>| {
            let mut store = MemoryStore::new(max_entries);
            store.insert(Key::new("there").unwrap(), Arc::new(1), Ttl::Never);
            let mut cx = Context::from_waker(Waker::noop());
            assert!(foresight::announce(request, || store.poll_ready(&mut cx)).is_ready());
            FETCHED.take()
        };
        let get = |name| CacheRequest::get(Key::new(name).unwrap());
        let large = FITS_CACHES + 1;
        assert_eq!(readied_for(large, &get("there")), Some(true));
        assert_eq!(readied_for(large, &get("not there")), Some(false));
        assert_eq!(readied_for(large, &CacheRequest::Ping), None);
        assert_eq!(readied_for(FITS_CACHES, &get("there")), None);
    }

    #[test]
    fn what_leaves_before_its_time_leaves_no_note() {
        let store = MemoryStore::<usize>::new(256);
        let ttl = |n| Ttl::After(Duration::from_secs(3600 + n as u64 % 7 * 60));
        for n in 0..20_000 {
            let key = Key::new(format!("k{}", n % 3000)).unwrap();
            store.insert(key.clone(), Arc::new(n), ttl(n));
            store.insert(key.clone(), Arc::new(n), ttl(n + 1));
            if n % 3 == 0 {
                store.remove(&key);
            }
        }
        assert_eq!(store.shared.expiries.len(), store.len());
        LocalStore::clear(&store);
        assert!(store.shared.expiries.is_empty());
    }
}
