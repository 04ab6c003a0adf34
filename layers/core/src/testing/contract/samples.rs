//! One request of every shape, an answer for each, and how to compare them without looking at values.

use std::convert::Infallible;
use std::num::NonZeroU64;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;

use super::KEY_MARKER;
use crate::entry::{Entry, EntryMeta, Origin};
use crate::error::ErrorKind;
use crate::key::{Key, Keys};
use crate::local::FillToken;
use crate::request::{CacheRequest, Condition, Intent, LockOwner, Op, Set};
use crate::response::{CacheResponse, FencingToken, KeyTtl};
use crate::subscription::{Invalidation, Subscription};
use crate::tag::{Tag, Tags};
use crate::ttl::Ttl;

pub(super) fn key(number: u32) -> Key {
    Key::new(format!("{KEY_MARKER}:{number}")).expect("a valid key")
}

/// At least one request of every operation, `Set` in each of its moods.
pub(super) fn requests<V>(value: impl Fn(u32) -> V) -> Vec<CacheRequest<V>> {
    let hour = Duration::from_secs(3600);
    let tags = || Tags::new([Tag::new("contract-tag").expect("a valid tag")]).expect("one tag");
    let keys = || Keys::from(vec![key(1), key(2)]);
    let owner = LockOwner(42);
    let pairs: Arc<[_]> = [(key(1), Arc::new(value(1))), (key(2), Arc::new(value(2)))].into();
    let requests = vec![
        CacheRequest::get(key(1)),
        CacheRequest::get_many(keys()),
        CacheRequest::set(key(1), value(1), hour),
        Set::new(key(1), value(1), Ttl::Never).condition(Condition::IfAbsent).tags(tags()).into(),
        Set::new(key(1), value(1), Ttl::Default).intent(Intent::Fill(FillToken::from_raw(7))).into(),
        CacheRequest::set_many(pairs, hour),
        CacheRequest::delete(keys()),
        CacheRequest::exists(keys()),
        CacheRequest::ttl(key(1)),
        CacheRequest::expire(key(1), hour),
        CacheRequest::increment(key(1), -3, hour),
        CacheRequest::add_tags(key(1), tags()),
        CacheRequest::invalidate_tags(tags()),
        CacheRequest::lock(key(1), owner, hour),
        CacheRequest::extend_lock(key(1), owner, hour),
        CacheRequest::unlock(key(1), owner),
        CacheRequest::publish(keys()),
        CacheRequest::Subscribe,
        CacheRequest::Ping,
        CacheRequest::Close,
    ];
    for op in Op::ALL {
        assert!(requests.iter().any(|request| request.op() == op), "no sample request for {op}");
    }
    requests
}

/// An answer that no default would give, with `stored` in it where the operation reads values.
pub(super) fn answer<W>(op: Op, stored: &Arc<W>) -> CacheResponse<W> {
    let entry = || Entry {
        value: Arc::clone(stored),
        meta: EntryMeta::from_origin(Origin::Remote).created_at(Some(crate::clock::fresh())),
    };
    match op {
        Op::Get => CacheResponse::Hit(entry()),
        Op::GetMany => CacheResponse::Many(vec![Some(entry()), None]),
        Op::Delete | Op::Exists | Op::Publish => CacheResponse::Count(2),
        Op::Ttl => CacheResponse::Ttl(KeyTtl::After(Duration::from_secs(9))),
        Op::Set | Op::ExtendLock | Op::Unlock => CacheResponse::Applied(false),
        Op::Expire | Op::AddTags => CacheResponse::Applied(true),
        Op::Increment => CacheResponse::Integer(-42),
        Op::Lock => CacheResponse::Locked(Some(FencingToken(NonZeroU64::MAX))),
        Op::Subscribe => CacheResponse::Subscribed(Subscription::new(OneMessage(false))),
        Op::SetMany | Op::InvalidateTags | Op::Ping | Op::Close => CacheResponse::Done,
    }
}

/// A request in words, all of it but the values.
pub(super) fn shape_of_request<V>(request: &CacheRequest<V>) -> String {
    let hollow = request.clone().try_map_values::<(), Infallible>(|_, _| Ok(Arc::new(())));
    match hollow {
        Ok(hollow) => format!("{hollow:?}"),
        Err(never) => match never {},
    }
}

/// A response in words, all of it but the values; metadata of entries only if `with_meta`.
pub(super) fn shape_of_response<V>(response: &CacheResponse<V>, with_meta: bool) -> String {
    let entry = |entry: &Entry<V>| if with_meta { format!("{:?}", entry.meta) } else { "entry".to_owned() };
    match response {
        CacheResponse::Hit(hit) => format!("Hit({})", entry(hit)),
        CacheResponse::Many(entries) => {
            let entries: Vec<_> = entries.iter().map(|found| found.as_ref().map(entry)).collect();
            format!("Many({entries:?})")
        }
        CacheResponse::Miss(token) => format!("Miss({token:?})"),
        CacheResponse::Done => "Done".to_owned(),
        CacheResponse::Applied(applied) => format!("Applied({applied})"),
        CacheResponse::Count(count) => format!("Count({count})"),
        CacheResponse::Integer(value) => format!("Integer({value})"),
        CacheResponse::Ttl(ttl) => format!("Ttl({ttl:?})"),
        CacheResponse::Locked(token) => format!("Locked({token:?})"),
        CacheResponse::Subscribed(_) => "Subscribed".to_owned(),
    }
}

/// The values in a response.
pub(super) fn values_of<V>(response: &CacheResponse<V>) -> Vec<&Arc<V>> {
    match response {
        CacheResponse::Hit(entry) => vec![&entry.value],
        CacheResponse::Many(entries) => entries.iter().flatten().map(|entry| &entry.value).collect(),
        _ => Vec::new(),
    }
}

/// Every kind of error there is.
pub(super) const KINDS: [ErrorKind; 40] = [
    ErrorKind::InvalidKey,
    ErrorKind::InvalidTag,
    ErrorKind::InvalidTtl,
    ErrorKind::InvalidInput,
    ErrorKind::TooLarge,
    ErrorKind::Unsupported,
    ErrorKind::Closed,
    ErrorKind::RateLimited,
    ErrorKind::BulkheadFull,
    ErrorKind::CircuitOpen,
    ErrorKind::Timeout,
    ErrorKind::Connection,
    ErrorKind::Loading,
    ErrorKind::Busy,
    ErrorKind::OutOfMemory,
    ErrorKind::ReadOnly,
    ErrorKind::MasterDown,
    ErrorKind::WriteRefused,
    ErrorKind::Auth,
    ErrorKind::PermissionDenied,
    ErrorKind::TooManyClients,
    ErrorKind::Moved,
    ErrorKind::TryAgain,
    ErrorKind::ClusterDown,
    ErrorKind::CrossSlot,
    ErrorKind::NoScript,
    ErrorKind::WrongType,
    ErrorKind::Overflow,
    ErrorKind::Server,
    ErrorKind::Encode,
    ErrorKind::Decode,
    ErrorKind::UnknownVersion,
    ErrorKind::SchemaMismatch,
    ErrorKind::Decrypt,
    ErrorKind::Loader,
    ErrorKind::LoaderPanicked,
    ErrorKind::LockHeld,
    ErrorKind::LockLost,
    ErrorKind::Foreign,
    ErrorKind::Internal,
];

/// A subscription that says one thing and ends.
struct OneMessage(bool);

impl Stream for OneMessage {
    type Item = Invalidation;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Invalidation>> {
        let said = std::mem::replace(&mut self.0, true);
        Poll::Ready((!said).then_some(Invalidation::Missed))
    }
}
