//! What each operation needs to know.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use super::CacheRequest;
use crate::key::{Key, Keys};
use crate::local::FillToken;
use crate::tag::Tags;
use crate::ttl::Ttl;

/// Reads one value.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Get {
    /// What to read.
    pub key: Key,
}

/// Reads several values.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GetMany {
    /// What to read, in the order of the answer.
    pub keys: Keys,
}

/// Stores one value. `Debug` does not show it.
#[non_exhaustive]
pub struct Set<V> {
    /// Where to store it.
    pub key: Key,
    /// What to store.
    pub value: Arc<V>,
    /// How long to keep it.
    pub ttl: Ttl,
    /// Whether someone wrote it or a loader found it.
    pub intent: Intent,
    /// When to store it at all.
    pub condition: Condition,
    /// Under which tags it can be invalidated.
    pub tags: Tags,
}

/// Stores several values under one lifetime. `Debug` does not show them.
#[non_exhaustive]
pub struct SetMany<V> {
    /// What to store; the last of several values for one key wins.
    pub entries: Arc<[(Key, Arc<V>)]>,
    /// How long to keep them.
    pub ttl: Ttl,
    /// Under which tags they can be invalidated.
    pub tags: Tags,
}

/// Removes keys.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Delete {
    /// What to remove.
    pub keys: Keys,
}

/// Counts which keys exist.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Exists {
    /// What to count.
    pub keys: Keys,
}

/// Asks how long a key will live.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReadTtl {
    /// The key in question.
    pub key: Key,
}

/// Changes how long a key will live.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Expire {
    /// The key in question.
    pub key: Key,
    /// Its lifetime from now on.
    pub ttl: Ttl,
}

/// Adds to a counter. Counters are their own kind of entry: reading one as a value is a `WrongType` or decoding error.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Increment {
    /// The counter; it starts at zero when there is none.
    pub key: Key,
    /// What to add; negative to subtract.
    pub delta: i64,
    /// How long the counter lives if this request creates it. An existing counter keeps its lifetime.
    pub ttl: Ttl,
}

/// Attaches tags to a key.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AddTags {
    /// The key in question.
    pub key: Key,
    /// The tags to add to those it carries.
    pub tags: Tags,
}

/// Invalidates by tag.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InvalidateTags {
    /// The tags to invalidate.
    pub tags: Tags,
}

/// Who holds a lock: 128 random bits, told to nobody.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LockOwner(pub u128);

impl LockOwner {
    /// An owner nobody else is: 128 bits that come from the randomness the operating system seeds hash maps with.
    #[must_use]
    pub fn random() -> Self {
        // A keyed pseudorandom function (SipHash) under a 128-bit key that std changes with each use. The process is part of
        // what is hashed, in case it was forked off another with the same key.
        let (state, process) = (RandomState::new(), std::process::id());
        let half = |n: u8| u128::from(state.hash_one((process, n)));
        Self((half(0) << 64) | half(1))
    }
}

impl fmt::Debug for LockOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LockOwner(…)")
    }
}

/// Takes a lock.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Lock {
    /// The name of the lock.
    pub key: Key,
    /// Who asks for it.
    pub owner: LockOwner,
    /// How long it is held unless it is extended.
    pub ttl: Duration,
}

/// Holds a lock for longer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ExtendLock {
    /// The name of the lock.
    pub key: Key,
    /// Who holds it.
    pub owner: LockOwner,
    /// How long it is held from now on.
    pub ttl: Duration,
}

/// Gives a lock up.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Unlock {
    /// The name of the lock.
    pub key: Key,
    /// Who holds it.
    pub owner: LockOwner,
}

/// Tells other nodes that keys changed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Publish {
    /// The keys that changed.
    pub keys: Keys,
}

/// Why a value is being stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Someone decided on a new value: it replaces what is there, and other nodes hear of it.
    Write,
    /// A loader found the value. It is told to nobody, and it never replaces what was written, nor revives what was
    /// invalidated, after the load began.
    Fill(FillToken),
}

/// When a value may be stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Condition {
    /// In any case.
    #[default]
    Always,
    /// Only if the key does not exist.
    IfAbsent,
    /// Only if the key exists.
    IfPresent,
}

impl<V> Set<V> {
    /// A plain write: stored whatever is there, without tags.
    pub fn new(key: Key, value: impl Into<Arc<V>>, ttl: impl Into<Ttl>) -> Self {
        Self {
            key,
            value: value.into(),
            ttl: ttl.into(),
            intent: Intent::Write,
            condition: Condition::Always,
            tags: Tags::NONE,
        }
    }

    /// The same write, under a condition.
    #[must_use]
    pub fn condition(mut self, condition: Condition) -> Self {
        self.condition = condition;
        self
    }

    /// The same write, with these tags instead of those it had.
    #[must_use]
    pub fn tags(mut self, tags: Tags) -> Self {
        self.tags = tags;
        self
    }

    /// The same write, with another intent.
    #[must_use]
    pub fn intent(mut self, intent: Intent) -> Self {
        self.intent = intent;
        self
    }
}

impl<V> From<Set<V>> for CacheRequest<V> {
    fn from(set: Set<V>) -> Self {
        Self::Set(Arc::new(set))
    }
}

/// Reference counts, whatever `V` is.
impl<V> Clone for Set<V> {
    fn clone(&self) -> Self {
        Self {
            key: self.key.clone(),
            value: Arc::clone(&self.value),
            ttl: self.ttl,
            intent: self.intent,
            condition: self.condition,
            tags: self.tags.clone(),
        }
    }
}

/// Reference counts, whatever `V` is.
impl<V> Clone for SetMany<V> {
    fn clone(&self) -> Self {
        Self { entries: Arc::clone(&self.entries), ttl: self.ttl, tags: self.tags.clone() }
    }
}

impl<V> fmt::Debug for Set<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Set")
            .field("key", &self.key)
            .field("ttl", &self.ttl)
            .field("intent", &self.intent)
            .field("condition", &self.condition)
            .field("tags", &self.tags)
            .finish_non_exhaustive()
    }
}

impl<V> fmt::Debug for SetMany<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&Key> = self.entries.iter().map(|(key, _)| key).collect();
        f.debug_struct("SetMany")
            .field("keys", &keys)
            .field("ttl", &self.ttl)
            .field("tags", &self.tags)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_four_words_wide() {
        assert_eq!(size_of::<CacheRequest<[u64; 100]>>(), 4 * size_of::<usize>());
    }

    #[test]
    fn owners_differ() {
        let owners: std::collections::HashSet<_> = (0..10_000).map(|_| LockOwner::random()).collect();
        assert_eq!(owners.len(), 10_000);
        let ones = owners.iter().fold([0_u32; 128], |mut ones, LockOwner(owner)| {
            (0..128).for_each(|bit| ones[bit] += u32::from(owner >> bit & 1 == 1));
            ones
        });
        assert!(ones.iter().all(|ones| (4_000..6_000).contains(ones)), "{ones:?}");
    }

    #[test]
    fn debug_shows_neither_keys_nor_values() {
        let key = Key::new("secret-key").unwrap();
        let set = CacheRequest::<String>::set(key.clone(), "secret-value".to_owned(), Ttl::Never);
        let many = CacheRequest::set_many(vec![(key, Arc::new("secret-value".to_owned()))], Ttl::Never);
        for shown in [format!("{set:?}"), format!("{many:?}")] {
            assert!(!shown.contains("secret"), "{shown}");
        }
    }
}
