//! Every cache operation, as a value.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

mod op;
mod payload;

pub use op::{Op, OpClass};
pub use payload::{
    AddTags, Condition, Delete, Exists, Expire, ExtendLock, Get, GetMany, Increment, Intent, InvalidateTags,
    Lock, LockOwner, Publish, ReadTtl, Set, SetMany, Unlock,
};

use crate::key::{Key, Keys};
use crate::local::FillToken;
use crate::tag::Tags;
use crate::ttl::Ttl;

/// One cache operation on its way through a stack.
///
/// Layers do not match on it: they ask [`op`](Self::op), [`class`](Self::class), [`keys`](Self::keys) and
/// [`is_idempotent`](Self::is_idempotent). Codecs use [`try_map_values`](Self::try_map_values). Stores match, and answer
/// what they cannot serve with [`CacheError::unsupported`](crate::CacheError::unsupported).
///
/// It is four words wide, since it is moved through every layer of a stack: reads are held inline, what is larger is behind
/// a reference count. A clone is reference counts only, whatever `V` is. `Debug` shows neither keys' text nor values.
#[non_exhaustive]
pub enum CacheRequest<V> {
    /// Read one value. Answered by `Hit` or `Miss`.
    Get(Get),
    /// Read several values. Answered by `Many`, in the order of the keys.
    GetMany(GetMany),
    /// Store one value. Answered by `Applied`: `false` when its condition or fence refused it.
    Set(Arc<Set<V>>),
    /// Store several values under one lifetime. Answered by `Done`.
    SetMany(Arc<SetMany<V>>),
    /// Remove keys. Answered by `Count`: how many there were.
    Delete(Delete),
    /// Count which of these keys exist. Answered by `Count`; a key named twice counts twice.
    Exists(Exists),
    /// Ask how long a key will live. Answered by `Ttl`.
    Ttl(ReadTtl),
    /// Change how long a key will live. Answered by `Applied`: `false` when there is no such key.
    Expire(Arc<Expire>),
    /// Add to a counter. Answered by `Integer`: the value after.
    Increment(Arc<Increment>),
    /// Attach tags to a key. Answered by `Applied`: `false` when there is no such key.
    AddTags(Arc<AddTags>),
    /// Invalidate every entry that carries one of these tags. Answered by `Done`.
    InvalidateTags(InvalidateTags),
    /// Take a lock. Answered by `Locked`: `None` when someone else holds it. An owner that holds it already is told the same
    /// token again, and holds it for at least as long as it asks now.
    Lock(Arc<Lock>),
    /// Hold a lock for longer. Answered by `Applied`: `false` when it is not, or no longer, this owner's.
    ExtendLock(Arc<ExtendLock>),
    /// Give a lock up. Answered by `Applied`: `false` when it was not, or no longer, this owner's.
    Unlock(Arc<Unlock>),
    /// Tell other nodes that keys changed. Answered by `Count`: how many subscribers were reached, where known.
    Publish(Publish),
    /// Hear what other nodes tell. Answered by `Subscribed`.
    Subscribe,
    /// Ask whether the store answers. Answered by `Done`.
    Ping,
    /// Flush what is pending and release connections. Answered by `Done`; later requests fail with `Closed`.
    Close,
}

impl<V> CacheRequest<V> {
    /// Reads one value.
    #[inline]
    #[must_use]
    pub fn get(key: Key) -> Self {
        Self::Get(Get { key })
    }

    /// Reads several values.
    pub fn get_many(keys: impl Into<Keys>) -> Self {
        Self::GetMany(GetMany { keys: keys.into() })
    }

    /// Stores a value, whatever is there, without tags.
    pub fn set(key: Key, value: impl Into<Arc<V>>, ttl: impl Into<Ttl>) -> Self {
        Set::new(key, value, ttl).into()
    }

    /// Stores what a loader found.
    pub fn fill(key: Key, value: impl Into<Arc<V>>, ttl: impl Into<Ttl>, token: FillToken) -> Self {
        Set::new(key, value, ttl).intent(Intent::Fill(token)).into()
    }

    /// Stores several values under one lifetime.
    pub fn set_many(entries: impl Into<Arc<[(Key, Arc<V>)]>>, ttl: impl Into<Ttl>) -> Self {
        Self::SetMany(Arc::new(SetMany { entries: entries.into(), ttl: ttl.into(), tags: Tags::NONE }))
    }

    /// Removes keys.
    pub fn delete(keys: impl Into<Keys>) -> Self {
        Self::Delete(Delete { keys: keys.into() })
    }

    /// Counts which keys exist.
    pub fn exists(keys: impl Into<Keys>) -> Self {
        Self::Exists(Exists { keys: keys.into() })
    }

    /// Asks how long a key will live.
    #[must_use]
    pub fn ttl(key: Key) -> Self {
        Self::Ttl(ReadTtl { key })
    }

    /// Changes how long a key will live.
    pub fn expire(key: Key, ttl: impl Into<Ttl>) -> Self {
        Self::Expire(Arc::new(Expire { key, ttl: ttl.into() }))
    }

    /// Adds to a counter.
    pub fn increment(key: Key, delta: i64, ttl: impl Into<Ttl>) -> Self {
        Self::Increment(Arc::new(Increment { key, delta, ttl: ttl.into() }))
    }

    /// Attaches tags to a key.
    #[must_use]
    pub fn add_tags(key: Key, tags: Tags) -> Self {
        Self::AddTags(Arc::new(AddTags { key, tags }))
    }

    /// Invalidates by tag.
    #[must_use]
    pub fn invalidate_tags(tags: Tags) -> Self {
        Self::InvalidateTags(InvalidateTags { tags })
    }

    /// Takes a lock.
    #[must_use]
    pub fn lock(key: Key, owner: LockOwner, ttl: Duration) -> Self {
        Self::Lock(Arc::new(Lock { key, owner, ttl }))
    }

    /// Holds a lock for longer.
    #[must_use]
    pub fn extend_lock(key: Key, owner: LockOwner, ttl: Duration) -> Self {
        Self::ExtendLock(Arc::new(ExtendLock { key, owner, ttl }))
    }

    /// Gives a lock up.
    #[must_use]
    pub fn unlock(key: Key, owner: LockOwner) -> Self {
        Self::Unlock(Arc::new(Unlock { key, owner }))
    }

    /// Tells other nodes that keys changed.
    pub fn publish(keys: impl Into<Keys>) -> Self {
        Self::Publish(Publish { keys: keys.into() })
    }

    /// The name of the operation.
    #[must_use]
    #[inline]
    pub fn op(&self) -> Op {
        match self {
            Self::Get(_) => Op::Get,
            Self::GetMany(_) => Op::GetMany,
            Self::Set(_) => Op::Set,
            Self::SetMany(_) => Op::SetMany,
            Self::Delete(_) => Op::Delete,
            Self::Exists(_) => Op::Exists,
            Self::Ttl(_) => Op::Ttl,
            Self::Expire(_) => Op::Expire,
            Self::Increment(_) => Op::Increment,
            Self::AddTags(_) => Op::AddTags,
            Self::InvalidateTags(_) => Op::InvalidateTags,
            Self::Lock(_) => Op::Lock,
            Self::ExtendLock(_) => Op::ExtendLock,
            Self::Unlock(_) => Op::Unlock,
            Self::Publish(_) => Op::Publish,
            Self::Subscribe => Op::Subscribe,
            Self::Ping => Op::Ping,
            Self::Close => Op::Close,
        }
    }

    /// What kind of work it is.
    #[must_use]
    #[inline]
    pub fn class(&self) -> OpClass {
        self.op().class()
    }

    /// The keys it touches, in order; none for tags, subscriptions, ping and close.
    #[must_use]
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &Key> {
        match self {
            Self::Get(Get { key }) | Self::Ttl(ReadTtl { key }) => one(key),
            Self::Set(set) => one(&set.key),
            Self::Expire(expire) => one(&expire.key),
            Self::Increment(increment) => one(&increment.key),
            Self::AddTags(add) => one(&add.key),
            Self::Lock(lock) => one(&lock.key),
            Self::ExtendLock(lock) => one(&lock.key),
            Self::Unlock(lock) => one(&lock.key),
            Self::GetMany(GetMany { keys })
            | Self::Delete(Delete { keys })
            | Self::Exists(Exists { keys })
            | Self::Publish(Publish { keys }) => KeyIter::Keys(keys.as_slice().iter()),
            Self::SetMany(many) => KeyIter::Entries(many.entries.iter()),
            Self::InvalidateTags(_) | Self::Subscribe | Self::Ping | Self::Close => KeyIter::Keys([].iter()),
        }
    }

    /// The lifetime it asks for, if it is an operation that has one.
    #[must_use]
    pub fn requested_ttl(&self) -> Option<Ttl> {
        match self {
            Self::Set(set) => Some(set.ttl),
            Self::SetMany(many) => Some(many.ttl),
            Self::Expire(expire) => Some(expire.ttl),
            Self::Increment(increment) => Some(increment.ttl),
            Self::Lock(lock) => Some(Ttl::After(lock.ttl)),
            Self::ExtendLock(lock) => Some(Ttl::After(lock.ttl)),
            _ => None,
        }
    }

    /// Whether doing it twice leaves the store as doing it once does. The answer may differ: a delete that is repeated finds
    /// nothing left.
    ///
    /// Increments are not, nor is a conditional write: done twice, it refuses itself. Locks are: an owner that takes one again
    /// is told the same token, and extending and releasing compare the owner.
    #[must_use]
    pub fn is_idempotent(&self) -> bool {
        match self {
            Self::Increment(_) => false,
            Self::Set(set) => set.condition == Condition::Always,
            _ => true,
        }
    }

    /// The keys whose values the answer will hold, in order: what a codec needs to read the answer.
    #[must_use]
    #[inline]
    pub fn read_keys(&self) -> Option<Keys> {
        match self {
            Self::Get(Get { key }) => Some(Keys::One(key.clone())),
            Self::GetMany(GetMany { keys }) => Some(keys.clone()),
            _ => None,
        }
    }

    /// The values it would store, with their keys.
    pub fn values(&self) -> impl Iterator<Item = (&Key, &Arc<V>)> {
        let (one, many) = match self {
            Self::Set(set) => (Some((&set.key, &set.value)), [].iter()),
            Self::SetMany(many) => (None, many.entries.iter()),
            _ => (None, [].iter()),
        };
        one.into_iter().chain(many.map(|(key, value)| (key, value)))
    }

    /// The same request with every value it carries turned into another type.
    ///
    /// # Errors
    ///
    /// The first error of `map`; no request is made then.
    pub fn try_map_values<W, E>(
        self,
        mut map: impl FnMut(&Key, Arc<V>) -> Result<Arc<W>, E>,
    ) -> Result<CacheRequest<W>, E> {
        Ok(match self {
            Self::Get(get) => CacheRequest::Get(get),
            Self::GetMany(get) => CacheRequest::GetMany(get),
            Self::Set(set) => {
                let Set { key, value, ttl, intent, condition, tags } = Arc::unwrap_or_clone(set);
                let value = map(&key, value)?;
                Set { key, value, ttl, intent, condition, tags }.into()
            }
            Self::SetMany(many) => {
                let entries = many
                    .entries
                    .iter()
                    .map(|(key, value)| Ok((key.clone(), map(key, Arc::clone(value))?)))
                    .collect::<Result<Arc<[_]>, E>>()?;
                CacheRequest::SetMany(Arc::new(SetMany { entries, ttl: many.ttl, tags: many.tags.clone() }))
            }
            Self::Delete(delete) => CacheRequest::Delete(delete),
            Self::Exists(exists) => CacheRequest::Exists(exists),
            Self::Ttl(ttl) => CacheRequest::Ttl(ttl),
            Self::Expire(expire) => CacheRequest::Expire(expire),
            Self::Increment(increment) => CacheRequest::Increment(increment),
            Self::AddTags(tags) => CacheRequest::AddTags(tags),
            Self::InvalidateTags(tags) => CacheRequest::InvalidateTags(tags),
            Self::Lock(lock) => CacheRequest::Lock(lock),
            Self::ExtendLock(lock) => CacheRequest::ExtendLock(lock),
            Self::Unlock(lock) => CacheRequest::Unlock(lock),
            Self::Publish(publish) => CacheRequest::Publish(publish),
            Self::Subscribe => CacheRequest::Subscribe,
            Self::Ping => CacheRequest::Ping,
            Self::Close => CacheRequest::Close,
        })
    }
}

/// Reference counts, whatever `V` is.
impl<V> Clone for CacheRequest<V> {
    fn clone(&self) -> Self {
        match self {
            Self::Get(get) => Self::Get(get.clone()),
            Self::GetMany(get) => Self::GetMany(get.clone()),
            Self::Set(set) => Self::Set(set.clone()),
            Self::SetMany(set) => Self::SetMany(set.clone()),
            Self::Delete(delete) => Self::Delete(delete.clone()),
            Self::Exists(exists) => Self::Exists(exists.clone()),
            Self::Ttl(ttl) => Self::Ttl(ttl.clone()),
            Self::Expire(expire) => Self::Expire(expire.clone()),
            Self::Increment(increment) => Self::Increment(increment.clone()),
            Self::AddTags(tags) => Self::AddTags(tags.clone()),
            Self::InvalidateTags(tags) => Self::InvalidateTags(tags.clone()),
            Self::Lock(lock) => Self::Lock(lock.clone()),
            Self::ExtendLock(lock) => Self::ExtendLock(lock.clone()),
            Self::Unlock(lock) => Self::Unlock(lock.clone()),
            Self::Publish(publish) => Self::Publish(publish.clone()),
            Self::Subscribe => Self::Subscribe,
            Self::Ping => Self::Ping,
            Self::Close => Self::Close,
        }
    }
}

impl<V> fmt::Debug for CacheRequest<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let payload: &dyn fmt::Debug = match self {
            Self::Get(get) => get,
            Self::GetMany(get) => get,
            Self::Set(set) => set,
            Self::SetMany(set) => set,
            Self::Delete(delete) => delete,
            Self::Exists(exists) => exists,
            Self::Ttl(ttl) => ttl,
            Self::Expire(expire) => expire,
            Self::Increment(increment) => increment,
            Self::AddTags(tags) => tags,
            Self::InvalidateTags(tags) => tags,
            Self::Lock(lock) => lock,
            Self::ExtendLock(lock) => lock,
            Self::Unlock(lock) => lock,
            Self::Publish(publish) => publish,
            Self::Subscribe | Self::Ping | Self::Close => return f.write_str(self.op().as_str()),
        };
        f.debug_tuple(self.op().as_str()).field(payload).finish()
    }
}

fn one<V>(key: &Key) -> KeyIter<'_, V> {
    KeyIter::Keys(std::slice::from_ref(key).iter())
}

/// Keys come as a slice or inside the entries of a `SetMany`.
enum KeyIter<'a, V> {
    Keys(std::slice::Iter<'a, Key>),
    Entries(std::slice::Iter<'a, (Key, Arc<V>)>),
}

impl<'a, V> Iterator for KeyIter<'a, V> {
    type Item = &'a Key;

    fn next(&mut self) -> Option<&'a Key> {
        match self {
            Self::Keys(keys) => keys.next(),
            Self::Entries(entries) => entries.next().map(|(key, _)| key),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let len = match self {
            Self::Keys(keys) => keys.len(),
            Self::Entries(entries) => entries.len(),
        };
        (len, Some(len))
    }
}

impl<V> ExactSizeIterator for KeyIter<'_, V> {}
