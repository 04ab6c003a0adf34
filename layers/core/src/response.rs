//! What comes back.

use std::num::NonZeroU64;
use std::time::Duration;

use crate::entry::Entry;
use crate::error::CacheError;
use crate::key::Key;
use crate::local::FillToken;
use crate::request::Op;
use crate::subscription::Subscription;

/// The answer to a [`CacheRequest`](crate::CacheRequest). A miss is an answer, not an error.
#[derive(Debug)]
#[non_exhaustive]
pub enum CacheResponse<V> {
    /// There is a value.
    Hit(Entry<V>),
    /// There is none. A load that follows shows the token when it stores its result.
    Miss(FillToken),
    /// Values in the order of the keys; `None` for those that are missing.
    Many(Vec<Option<Entry<V>>>),
    /// Done, and there is nothing to tell.
    Done,
    /// Whether it took effect.
    Applied(bool),
    /// How many.
    Count(u64),
    /// A counter's value.
    Integer(i64),
    /// A key's lifetime.
    Ttl(KeyTtl),
    /// The fencing token of a lock that was taken, or `None` when someone else holds it.
    Locked(Option<FencingToken>),
    /// Messages from other nodes.
    Subscribed(Subscription),
}

/// How long a key will live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyTtl {
    /// There is no such key.
    Missing,
    /// Until it is deleted or evicted.
    Never,
    /// For this long.
    After(Duration),
}

/// A number that grows with every acquisition of a lock. What the lock protects refuses a smaller one than it has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FencingToken(pub NonZeroU64);

impl<V> CacheResponse<V> {
    /// The answer to a `Get`.
    ///
    /// # Errors
    ///
    /// `Internal` when this answers another operation.
    #[inline]
    pub fn into_get(self) -> Result<Result<Entry<V>, FillToken>, CacheError> {
        match self {
            Self::Hit(entry) => Ok(Ok(entry)),
            Self::Miss(token) => Ok(Err(token)),
            _ => Err(CacheError::unexpected_response(Op::Get)),
        }
    }

    /// The answer to a `GetMany` of `count` keys.
    ///
    /// # Errors
    ///
    /// `Internal` when this answers another operation, or another number of keys.
    pub fn into_many(self, count: usize) -> Result<Vec<Option<Entry<V>>>, CacheError> {
        match self {
            Self::Many(entries) if entries.len() == count => Ok(entries),
            _ => Err(CacheError::unexpected_response(Op::GetMany)),
        }
    }

    /// The answer to an operation that has nothing to tell.
    ///
    /// # Errors
    ///
    /// `Internal` when this answers another operation.
    pub fn into_done(self, op: Op) -> Result<(), CacheError> {
        match self {
            Self::Done => Ok(()),
            _ => Err(CacheError::unexpected_response(op)),
        }
    }

    /// Whether the operation took effect.
    ///
    /// # Errors
    ///
    /// `Internal` when this answers another operation.
    pub fn into_applied(self, op: Op) -> Result<bool, CacheError> {
        match self {
            Self::Applied(applied) => Ok(applied),
            _ => Err(CacheError::unexpected_response(op)),
        }
    }

    /// How many.
    ///
    /// # Errors
    ///
    /// `Internal` when this answers another operation.
    pub fn into_count(self, op: Op) -> Result<u64, CacheError> {
        match self {
            Self::Count(count) => Ok(count),
            _ => Err(CacheError::unexpected_response(op)),
        }
    }

    /// The value of a counter.
    ///
    /// # Errors
    ///
    /// `Internal` when this answers another operation.
    pub fn into_integer(self) -> Result<i64, CacheError> {
        match self {
            Self::Integer(value) => Ok(value),
            _ => Err(CacheError::unexpected_response(Op::Increment)),
        }
    }

    /// The lifetime of a key.
    ///
    /// # Errors
    ///
    /// `Internal` when this answers another operation.
    pub fn into_ttl(self) -> Result<KeyTtl, CacheError> {
        match self {
            Self::Ttl(ttl) => Ok(ttl),
            _ => Err(CacheError::unexpected_response(Op::Ttl)),
        }
    }

    /// A subscription to invalidation messages.
    ///
    /// # Errors
    ///
    /// `Internal` when this answers another operation.
    pub fn into_subscription(self) -> Result<Subscription, CacheError> {
        match self {
            Self::Subscribed(subscription) => Ok(subscription),
            _ => Err(CacheError::unexpected_response(Op::Subscribe)),
        }
    }

    /// Whether a read found anything; `None` when this does not answer a read of values.
    #[must_use]
    pub fn is_hit(&self) -> Option<bool> {
        match self {
            Self::Hit(_) => Some(true),
            Self::Miss(_) => Some(false),
            Self::Many(entries) => Some(entries.iter().any(Option::is_some)),
            _ => None,
        }
    }

    /// The same answer with every entry turned into another type; `keys` are those of the request, in order
    /// ([`CacheRequest::read_keys`](crate::CacheRequest::read_keys)). Where `map` answers `None`, the entry becomes a miss.
    ///
    /// # Errors
    ///
    /// The first error of `map`; `Internal` when the answer has not as many entries as there are keys.
    pub fn try_map_entries<W>(
        self,
        keys: &[Key],
        mut map: impl FnMut(&Key, Entry<V>) -> Result<Option<Entry<W>>, CacheError>,
    ) -> Result<CacheResponse<W>, CacheError> {
        Ok(match self {
            Self::Hit(entry) => {
                let [key] = keys else { return Err(CacheError::unexpected_response(Op::Get)) };
                map(key, entry)?.map_or(CacheResponse::Miss(FillToken::UNFENCED), CacheResponse::Hit)
            }
            Self::Many(entries) => {
                if entries.len() != keys.len() {
                    return Err(CacheError::unexpected_response(Op::GetMany));
                }
                let mapped = keys
                    .iter()
                    .zip(entries)
                    .map(|(key, entry)| entry.map_or(Ok(None), |entry| map(key, entry)))
                    .collect::<Result<Vec<_>, _>>()?;
                CacheResponse::Many(mapped)
            }
            Self::Miss(token) => CacheResponse::Miss(token),
            Self::Done => CacheResponse::Done,
            Self::Applied(applied) => CacheResponse::Applied(applied),
            Self::Count(count) => CacheResponse::Count(count),
            Self::Integer(value) => CacheResponse::Integer(value),
            Self::Ttl(ttl) => CacheResponse::Ttl(ttl),
            Self::Locked(token) => CacheResponse::Locked(token),
            Self::Subscribed(subscription) => CacheResponse::Subscribed(subscription),
        })
    }
}
