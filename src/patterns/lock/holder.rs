//! One owner's side of a lock, whatever the lock is kept in.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::time::Duration;

use cachex_core::{
    CacheError, CacheRequest, CacheResponse, CacheService, ErrorKind, FencingToken, Key, LockOwner, Op,
    SharedCall, SharedStack, Ttl,
};

/// A lock is taken rarely and held long: its calls may cost a box.
pub(super) type BoxFuture<T> = Pin<Box<dyn Future<Output = Result<T, CacheError>> + Send>>;

/// Extends and releases one owner's lock; the types of the store behind are erased.
pub(super) trait Holder: Send + Sync + 'static {
    /// `false` when the lock is not, or no longer, this owner's.
    fn extend(&self, ttl: Duration) -> BoxFuture<bool>;

    /// `false` when the lock was not, or no longer, this owner's.
    fn release(&self) -> BoxFuture<bool>;
}

/// An owner that wants the lock.
pub(super) trait Contender: Holder + Sized {
    /// What comes with the lock.
    type Token: Send;

    /// `None` when someone else holds it.
    fn acquire(&self, ttl: Duration) -> BoxFuture<Option<Self::Token>>;

    /// The same contender under another name, where what an attempt leaves behind has to be cleared away before the next:
    /// a late release must not free what the same name took anew. `None` where the next attempt of the same name finds what
    /// the last one left.
    fn afresh(&self) -> Option<Self>;
}

/// A contender for a lock that one stack keeps.
pub(super) struct Single<V, S> {
    service: SharedStack<S>,
    key: Key,
    owner: LockOwner,
    // Of requests, not of values: `V` need not be `Sync` for this.
    values: PhantomData<fn(V)>,
}

impl<V, S: CacheService<V>> Single<V, S> {
    pub(super) fn new(service: SharedStack<S>, key: Key, owner: LockOwner) -> Self {
        Self { service, key, owner, values: PhantomData }
    }
}

impl<V, S> Holder for Single<V, S>
where
    V: Send + Sync + 'static,
    S: CacheService<V>,
{
    fn extend(&self, ttl: Duration) -> BoxFuture<bool> {
        let request = CacheRequest::extend_lock(self.key.clone(), self.owner, ttl);
        let call = SharedCall::new(self.service.clone(), request);
        Box::pin(async move { call.await?.into_applied(Op::ExtendLock) })
    }

    fn release(&self) -> BoxFuture<bool> {
        let request = CacheRequest::unlock(self.key.clone(), self.owner);
        let call = SharedCall::new(self.service.clone(), request);
        Box::pin(async move { call.await?.into_applied(Op::Unlock) })
    }
}

impl<V, S> Contender for Single<V, S>
where
    V: Send + Sync + 'static,
    S: CacheService<V>,
{
    type Token = FencingToken;

    fn acquire(&self, ttl: Duration) -> BoxFuture<Option<FencingToken>> {
        let call =
            SharedCall::new(self.service.clone(), CacheRequest::lock(self.key.clone(), self.owner, ttl));
        Box::pin(async move {
            match call.await? {
                CacheResponse::Locked(token) => Ok(token),
                _ => Err(CacheError::unexpected_response(Op::Lock)),
            }
        })
    }

    /// A store tells an owner that asks again what it told it the first time.
    fn afresh(&self) -> Option<Self> {
        None
    }
}

impl<V, S> fmt::Debug for Single<V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Single").field("key", &self.key).finish_non_exhaustive()
    }
}

/// A lifetime that locks can have.
///
/// # Errors
///
/// `InvalidTtl`, naming the bound.
pub(super) fn checked(ttl: Duration) -> Result<Duration, CacheError> {
    if ttl < super::MIN_TTL {
        let message = format!("a lock lives for {} ms at least, not {ttl:?}", super::MIN_TTL.as_millis());
        return Err(CacheError::new(ErrorKind::InvalidTtl, message).with_op(Op::Lock));
    }
    let ttl = Ttl::After(ttl).validated().map_err(|error| error.with_op(Op::Lock))?;
    Ok(ttl.resolve(None).unwrap_or_default())
}

/// For how long, from before the request was sent, an owner may believe that it holds a lock: the clock of the server may
/// run faster by one in a hundred, and it counts in whole milliseconds, as timers here do. It is the drift of Redlock.
pub(super) fn validity(ttl: Duration) -> Duration {
    ttl.saturating_sub(ttl / 100 + Duration::from_millis(2))
}
