//! Reading what the stack answered.

use std::sync::Arc;

use cachex_core::{CacheError, CacheResponse, Entry, EntryMeta, KeyTtl, Op, Subscription};

/// What an operation of the handle answers with, read from the answer of the stack.
///
/// Sealed: it names what [`Answer`](super::Answer) can answer with. By type, and not through a function pointer, so that
/// reading a hit is compiled as one piece with the call that was awaited.
pub trait FromResponse<V>: Sized + Sealed<V> {
    #[doc(hidden)]
    /// Reads a hit. Apart from all other answers, and in its parts, so that only what is wanted of it is moved.
    #[inline]
    fn from_hit(_: Arc<V>, _: EntryMeta, op: Op) -> Result<Self, CacheError> {
        Err(CacheError::unexpected_response(op))
    }

    #[doc(hidden)]
    /// Reads any other answer to an `op` that named so many keys.
    fn from_other(
        answer: Result<CacheResponse<V>, CacheError>,
        op: Op,
        keys: usize,
    ) -> Result<Self, CacheError>;
}

impl<V> FromResponse<V> for Option<Arc<V>> {
    #[inline(always)]
    fn from_hit(value: Arc<V>, _: EntryMeta, _: Op) -> Result<Self, CacheError> {
        Ok(Some(value))
    }

    fn from_other(answer: Result<CacheResponse<V>, CacheError>, _: Op, _: usize) -> Result<Self, CacheError> {
        Ok(answer?.into_get()?.ok().map(|entry| entry.value))
    }
}

impl<V> FromResponse<V> for Option<Entry<V>> {
    #[inline(always)]
    fn from_hit(value: Arc<V>, meta: EntryMeta, _: Op) -> Result<Self, CacheError> {
        Ok(Some(Entry { value, meta }))
    }

    fn from_other(answer: Result<CacheResponse<V>, CacheError>, _: Op, _: usize) -> Result<Self, CacheError> {
        Ok(answer?.into_get()?.ok())
    }
}

impl<V> FromResponse<V> for Vec<Option<Arc<V>>> {
    fn from_other(
        answer: Result<CacheResponse<V>, CacheError>,
        _: Op,
        keys: usize,
    ) -> Result<Self, CacheError> {
        let entries = answer?.into_many(keys)?;
        Ok(entries.into_iter().map(|entry| entry.map(|entry| entry.value)).collect())
    }
}

impl<V> FromResponse<V> for () {
    fn from_other(
        answer: Result<CacheResponse<V>, CacheError>,
        op: Op,
        _: usize,
    ) -> Result<Self, CacheError> {
        match op {
            // A plain write is stored or fails.
            Op::Set => answer?.into_applied(op).map(|_| ()),
            op => answer?.into_done(op),
        }
    }
}

impl<V> FromResponse<V> for bool {
    fn from_other(
        answer: Result<CacheResponse<V>, CacheError>,
        op: Op,
        _: usize,
    ) -> Result<Self, CacheError> {
        match op {
            Op::Delete | Op::Exists => Ok(answer?.into_count(op)? > 0),
            op => answer?.into_applied(op),
        }
    }
}

impl<V> FromResponse<V> for u64 {
    fn from_other(
        answer: Result<CacheResponse<V>, CacheError>,
        op: Op,
        _: usize,
    ) -> Result<Self, CacheError> {
        answer?.into_count(op)
    }
}

impl<V> FromResponse<V> for i64 {
    fn from_other(answer: Result<CacheResponse<V>, CacheError>, _: Op, _: usize) -> Result<Self, CacheError> {
        answer?.into_integer()
    }
}

impl<V> FromResponse<V> for KeyTtl {
    fn from_other(answer: Result<CacheResponse<V>, CacheError>, _: Op, _: usize) -> Result<Self, CacheError> {
        answer?.into_ttl()
    }
}

impl<V> FromResponse<V> for Subscription {
    fn from_other(answer: Result<CacheResponse<V>, CacheError>, _: Op, _: usize) -> Result<Self, CacheError> {
        answer?.into_subscription()
    }
}

impl<V> FromResponse<V> for CacheResponse<V> {
    fn from_hit(value: Arc<V>, meta: EntryMeta, _: Op) -> Result<Self, CacheError> {
        Ok(Self::Hit(Entry { value, meta }))
    }

    fn from_other(answer: Result<CacheResponse<V>, CacheError>, _: Op, _: usize) -> Result<Self, CacheError> {
        answer
    }
}

/// Keeps others from implementing [`FromResponse`].
pub trait Sealed<V> {}

macro_rules! sealed {
    ($($answer:ty),*) => { $(impl<V> Sealed<V> for $answer {})* };
}

sealed!(
    Option<Arc<V>>,
    Option<Entry<V>>,
    Vec<Option<Arc<V>>>,
    (),
    bool,
    u64,
    i64,
    KeyTtl,
    Subscription,
    CacheResponse<V>
);
