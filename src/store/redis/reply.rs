//! From the server's reply to a response.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cachex_core::{
    CacheError, CacheResponse, Entry, EntryMeta, FencingToken, FillToken, KeyTtl, Origin, StoredBytes,
};
use redis::Value;

use super::error;

/// What a command is answered with when all goes well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// A value or nothing.
    Value,
    /// This many of them.
    Values(usize),
    /// `OK`, or nothing when a condition was not met.
    Stored,
    /// `OK`, once or for each command of a transaction; or `PONG`.
    Done,
    /// How many keys.
    Count,
    /// 1 or 0.
    Flag,
    /// 1 or 0, by the last command of a transaction.
    LastFlag,
    /// Milliseconds, or a negative number with a meaning.
    Ttl,
    /// A counter.
    Integer,
    /// A counter, by the last command of a transaction.
    LastInteger,
    /// How many subscribers, for each of several messages.
    Reached,
    /// A fencing token, or nothing when someone else holds the lock.
    Locked,
}

impl Expected {
    pub(super) fn decode<P: StoredBytes>(self, reply: Value) -> Result<CacheResponse<P>, CacheError> {
        match (self, reply) {
            (_, Value::ServerError(error)) => Err(error::from_server(&error)),
            (Self::Value, Value::Nil) => Ok(CacheResponse::Miss(FillToken::UNFENCED)),
            (Self::Value, Value::BulkString(bytes)) => Ok(CacheResponse::Hit(entry(bytes.into()))),
            (Self::Values(count), Value::Array(values)) if values.len() == count => {
                let mut slabs = Slabs::for_all(&values);
                let entries = values.into_iter().map(|value| optional_entry(value, &mut slabs));
                entries.collect::<Result<_, _>>().map(CacheResponse::Many)
            }
            (Self::Stored, Value::Okay) => Ok(CacheResponse::Applied(true)),
            (Self::Stored, Value::Nil) => Ok(CacheResponse::Applied(false)),
            (Self::Done, Value::Okay | Value::SimpleString(_)) => Ok(CacheResponse::Done),
            (Self::Done, Value::Array(values)) => {
                values.into_iter().try_for_each(okay).map(|()| CacheResponse::Done)
            }
            (Self::Count, Value::Int(count)) => {
                u64::try_from(count).map(CacheResponse::Count).map_err(|_| error::unexpected_reply())
            }
            (Self::Flag, Value::Int(flag)) => Ok(CacheResponse::Applied(flag == 1)),
            (Self::Ttl, Value::Int(millis)) => ttl(millis).map(CacheResponse::Ttl),
            (Self::Integer, Value::Int(value)) => Ok(CacheResponse::Integer(value)),
            (Self::Locked, Value::Nil) => Ok(CacheResponse::Locked(None)),
            (Self::Locked, Value::Int(token)) => {
                fencing_token(token).map(|token| CacheResponse::Locked(Some(token)))
            }
            (Self::LastFlag, Value::Array(values)) => Self::Flag.decode(last(values)?),
            (Self::LastInteger, Value::Array(values)) => Self::Integer.decode(last(values)?),
            (Self::Reached, Value::Array(counts)) => reached(counts).map(CacheResponse::Count),
            _ => Err(error::unexpected_reply()),
        }
    }
}

/// How many subscribers were sent every one of several messages: as many as the one that reached the fewest.
fn reached(counts: Vec<Value>) -> Result<u64, CacheError> {
    let mut least = None;
    for count in counts {
        let count = match count {
            Value::Int(count) => u64::try_from(count).map_err(|_| error::unexpected_reply())?,
            Value::ServerError(error) => return Err(error::from_server(&error)),
            _ => return Err(error::unexpected_reply()),
        };
        least = Some(least.map_or(count, |least: u64| least.min(count)));
    }
    least.ok_or_else(error::unexpected_reply)
}

/// The replies to the commands between MULTI and EXEC, as one array.
///
/// `replies` are those to MULTI, to every command that was queued, and to EXEC. Why a command was not queued is told in
/// its own reply; EXEC then only says that it did nothing.
pub(super) fn transaction(replies: Vec<Value>) -> Value {
    let mut replies = replies;
    let refused = replies.iter().position(|reply| matches!(reply, Value::ServerError(_)));
    match refused {
        Some(at) => replies.swap_remove(at),
        None => replies.pop().unwrap_or(Value::Nil),
    }
}

/// The values of a reply that is read piece by piece.
pub(super) struct Values<P> {
    entries: Vec<Option<Entry<P>>>,
    slabs: Slabs,
}

impl<P: StoredBytes> Values<P> {
    pub(super) fn with_capacity(values: usize) -> Self {
        Self { entries: Vec::with_capacity(values), slabs: Slabs { open: BytesMut::new(), left: 0 } }
    }

    /// The next value, after which so many come.
    pub(super) fn push(&mut self, value: Option<&[u8]>, after: usize) {
        let entry = value.map(|bytes| entry(self.slabs.copy(bytes, after)));
        self.entries.push(entry);
    }

    /// The answer to a read of many keys, or of one.
    pub(super) fn into_response(mut self, many: bool) -> Result<CacheResponse<P>, CacheError> {
        if many {
            return Ok(CacheResponse::Many(self.entries));
        }
        match self.entries.pop() {
            Some(Some(entry)) => Ok(CacheResponse::Hit(entry)),
            Some(None) => Ok(CacheResponse::Miss(FillToken::UNFENCED)),
            None => Err(error::unexpected_reply()),
        }
    }
}

/// Where small values that came in one reply are put side by side.
///
/// Each of them would else be a block of memory of its own, allocated by the task that reads the connection and most often
/// freed by another, on another thread, where the allocator's locks meet. The price is that a value which is kept keeps
/// its neighbours' bytes too: [`Slabs::SLAB`] at most.
struct Slabs {
    open: BytesMut,
    /// The bytes of small values that are still to come.
    left: usize,
}

impl Slabs {
    /// In bytes. Larger values stay where they are.
    const SMALL: usize = 512;
    /// In bytes.
    const SLAB: usize = 4096;

    fn for_all(values: &[Value]) -> Self {
        let small = |value: &Value| match value {
            Value::BulkString(bytes) if bytes.len() <= Self::SMALL => bytes.len(),
            _ => 0,
        };
        Self { open: BytesMut::new(), left: values.iter().map(small).sum() }
    }

    fn take(&mut self, bytes: Vec<u8>) -> Bytes {
        if bytes.len() > Self::SMALL || bytes.is_empty() {
            return bytes.into();
        }
        self.put(&bytes)
    }

    /// Copies a value out of a buffer that is used again. Those to come are taken to be as long as this one.
    fn copy(&mut self, bytes: &[u8], after: usize) -> Bytes {
        if bytes.len() > Self::SMALL || bytes.is_empty() || after == 0 && self.open.capacity() == 0 {
            return Bytes::copy_from_slice(bytes);
        }
        self.left = bytes.len().saturating_mul(after + 1);
        self.put(bytes)
    }

    fn put(&mut self, bytes: &[u8]) -> Bytes {
        if self.open.capacity() < bytes.len() {
            self.open = BytesMut::with_capacity(self.left.min(Self::SLAB));
        }
        self.left -= bytes.len();
        self.open.extend_from_slice(bytes);
        self.open.split().freeze()
    }
}

/// The answer to a read of one key.
pub(super) fn found<P: StoredBytes>(value: Option<Bytes>) -> CacheResponse<P> {
    value.map_or(CacheResponse::Miss(FillToken::UNFENCED), |bytes| CacheResponse::Hit(entry(bytes)))
}

fn entry<P: StoredBytes>(bytes: Bytes) -> Entry<P> {
    Entry::new(Arc::new(P::from_bytes(bytes))).with_meta(EntryMeta::from_origin(Origin::Remote))
}

fn optional_entry<P: StoredBytes>(value: Value, slabs: &mut Slabs) -> Result<Option<Entry<P>>, CacheError> {
    match value {
        Value::BulkString(bytes) => Ok(Some(entry(slabs.take(bytes)))),
        Value::Nil => Ok(None),
        Value::ServerError(error) => Err(error::from_server(&error)),
        _ => Err(error::unexpected_reply()),
    }
}

fn okay(value: Value) -> Result<(), CacheError> {
    match value {
        Value::Okay => Ok(()),
        Value::ServerError(error) => Err(error::from_server(&error)),
        _ => Err(error::unexpected_reply()),
    }
}

fn last(mut values: Vec<Value>) -> Result<Value, CacheError> {
    values.pop().ok_or_else(error::unexpected_reply)
}

fn fencing_token(token: i64) -> Result<FencingToken, CacheError> {
    let token = u64::try_from(token).ok().and_then(NonZeroU64::new);
    token.map(FencingToken).ok_or_else(error::unexpected_reply)
}

fn ttl(millis: i64) -> Result<KeyTtl, CacheError> {
    match millis {
        -2 => Ok(KeyTtl::Missing),
        -1 => Ok(KeyTtl::Never),
        _ => u64::try_from(millis)
            .map(|millis| KeyTtl::After(Duration::from_millis(millis)))
            .map_err(|_| error::unexpected_reply()),
    }
}

#[cfg(test)]
mod tests {
    use cachex_core::{Encoded, ErrorKind};
    use redis::parse_redis_value;

    use super::*;

    fn parsed(lines: &str) -> Value {
        parse_redis_value(lines.replace('|', "\r\n").as_bytes()).unwrap()
    }

    fn decode(expected: Expected, lines: &str) -> Result<CacheResponse<Encoded>, CacheError> {
        expected.decode(parsed(lines))
    }

    #[test]
    fn values_keep_their_place() {
        let many = decode(Expected::Values(3), "*3|$1|a|$-1|$0|||").unwrap().into_many(3).unwrap();
        let bytes: Vec<_> =
            many.iter().map(|entry| entry.as_ref().map(|e| e.value.as_bytes().as_ref())).collect();
        assert_eq!(bytes, [Some(b"a".as_ref()), None, Some(b"".as_ref())]);
        assert!(many[0].as_ref().is_some_and(|entry| entry.meta.origin == Origin::Remote));
    }

    /// The bytes of a reply that holds values of these lengths, each filled with its number.
    fn values_of(lens: &[usize]) -> Vec<Bytes> {
        let values = lens.iter().enumerate().map(|(n, &len)| Value::BulkString(vec![n as u8; len]));
        let answer = Expected::Values(lens.len()).decode::<Encoded>(Value::Array(values.collect())).unwrap();
        let entries = answer.into_many(lens.len()).unwrap().into_iter().map(Option::unwrap);
        entries.map(|entry| entry.value.as_bytes().clone()).collect()
    }

    fn is_next_to(a: &Bytes, b: &Bytes) -> bool {
        a.as_ptr_range().end == b.as_ptr()
    }

    #[test]
    fn small_values_are_put_side_by_side_and_large_ones_are_not() {
        let values = values_of(&[3, Slabs::SMALL, 0, Slabs::SMALL + 1, 5]);
        for (n, (value, len)) in values.iter().zip([3, 512, 0, 513, 5]).enumerate() {
            assert_eq!(value.len(), len);
            assert!(value.iter().all(|byte| usize::from(*byte) == n), "{n}");
        }
        assert!(is_next_to(&values[0], &values[1]) && is_next_to(&values[1], &values[4]));
        let large = values[3].as_ptr_range();
        assert!(!values.iter().any(|value| large.start == value.as_ptr_range().end));
    }

    #[test]
    fn a_kept_value_keeps_no_more_than_one_slab() {
        let lens = [Slabs::SMALL - 1; 50];
        let values = values_of(&lens);
        let mut together = 0;
        for pair in values.windows(2) {
            together = if is_next_to(&pair[0], &pair[1]) { together + pair[1].len() } else { 0 };
            assert!(together < Slabs::SLAB, "{together} bytes in one piece, and more");
        }
        assert_eq!(values.iter().map(Bytes::len).sum::<usize>(), lens.iter().sum::<usize>());
    }

    #[test]
    fn another_number_or_type_of_values_is_an_error() {
        for (expected, lines) in [
            (Expected::Values(2), "*1|$1|a|"),
            (Expected::Value, ":1|"),
            (Expected::Count, ":-1|"),
            (Expected::Ttl, ":-3|"),
            (Expected::Stored, ":1|"),
            (Expected::LastFlag, "*0|"),
            (Expected::Locked, ":0|"),
            (Expected::Locked, "$1|7|"),
        ] {
            assert_eq!(decode(expected, lines).unwrap_err().kind(), ErrorKind::Server, "{expected:?}");
        }
    }

    #[test]
    fn lifetimes() {
        for (lines, ttl) in [
            (":-2|", KeyTtl::Missing),
            (":-1|", KeyTtl::Never),
            (":0|", KeyTtl::After(Duration::ZERO)),
            (":1500|", KeyTtl::After(Duration::from_millis(1500))),
        ] {
            assert_eq!(decode(Expected::Ttl, lines).unwrap().into_ttl().unwrap(), ttl);
        }
    }

    #[test]
    fn a_refused_command_explains_an_aborted_transaction() {
        let replies = ["+OK|", "-OOM no memory|", "-EXECABORT Transaction discarded|"].map(parsed);
        let error = Expected::Done.decode::<Encoded>(transaction(replies.into())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfMemory);
    }

    #[test]
    fn a_command_that_failed_in_a_transaction_is_an_error() {
        let replies = ["+OK|", "+QUEUED|", "+QUEUED|", "*2|$-1|-WRONGTYPE no|"].map(parsed);
        let error = Expected::LastInteger.decode::<Encoded>(transaction(replies.into())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WrongType);
    }
}
