//! The two faces of a memory store: a tower service, and the synchronous store of a near cache.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use cachex_core::{
    AddTags, CacheError, CacheRequest, CacheResponse, Condition, Delete, Entry, ErrorKind, Exists, Expire,
    ExtendLock, FillToken, Get, GetMany, Increment, Intent, InvalidateTags, Key, LocalStore, Lock, Op,
    Publish, ReadTtl, Set, SetMany, Tags, Ttl, Unlock,
};
use tower_service::Service;

use super::builder::bounded;
use super::shared::{Incoming, NAME, Shared};
use super::store::MemoryStore;

/// The future of a [`MemoryStore`]: does its work, and answers, when it is first polled. Before that nothing has happened.
///
/// # Panics
///
/// When it is polled after it has answered.
// An answer that was made earlier would be moved with this future through the futures of all layers above.
pub struct ResponseFuture<V>(Option<(Arc<Shared<V>>, CacheRequest<V>)>);

impl<V: Send + Sync + 'static> Future for ResponseFuture<V> {
    type Output = Result<CacheResponse<V>, CacheError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        let (shared, request) =
            self.0.take().expect("the future of a memory store was polled after it had answered");
        // Apart from all others, so that the way of a hit is short.
        match request {
            CacheRequest::Get(_) => shared.get(request),
            request => Poll::Ready(shared.serve(request)),
        }
    }
}

impl<V> fmt::Debug for ResponseFuture<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResponseFuture")
    }
}

impl<V: Send + Sync + 'static> Service<CacheRequest<V>> for MemoryStore<V> {
    type Response = CacheResponse<V>;
    type Error = CacheError;
    type Future = ResponseFuture<V>;

    #[inline]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), CacheError>> {
        self.shared.foresee();
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, request: CacheRequest<V>) -> ResponseFuture<V> {
        ResponseFuture(Some((Arc::clone(&self.shared), request)))
    }
}

impl<V: Send + Sync + 'static> Shared<V> {
    /// Answers a `Get`. It takes the whole request and answers with the whole result of a poll: then the key stays where it is,
    /// its count is lowered in here, and the answer is written where the outermost caller wants it: a caller that
    /// had it to wrap would move it.
    #[inline(never)]
    fn get(&self, request: CacheRequest<V>) -> Poll<Result<CacheResponse<V>, CacheError>> {
        let CacheRequest::Get(Get { key, .. }) = &request else {
            unreachable!("only reads of one key come here")
        };
        if self.closed.load(Ordering::Relaxed) {
            return Poll::Ready(Err(closed(Op::Get)));
        }
        Poll::Ready(self.look_up(key, key, || self.fence.token(key)))
    }

    #[inline(never)]
    fn serve(self: &Arc<Self>, request: CacheRequest<V>) -> Result<CacheResponse<V>, CacheError> {
        let op = request.op();
        if self.closed.load(Ordering::Relaxed) && op != Op::Close {
            return Err(closed(op));
        }
        self.dispatch(request).map_err(|error| error.with_op(op))
    }

    fn dispatch(self: &Arc<Self>, request: CacheRequest<V>) -> Result<CacheResponse<V>, CacheError> {
        Ok(match request {
            CacheRequest::GetMany(GetMany { keys, .. }) => {
                let entries = keys.as_slice().iter().map(|key| self.read(key));
                CacheResponse::Many(entries.collect::<Result<_, _>>()?)
            }
            CacheRequest::Set(request) => {
                let Set { key, value, ttl, intent, condition, tags, .. } = Arc::unwrap_or_clone(request);
                let ttl = ttl.validated()?;
                CacheResponse::Applied(self.set(key, Incoming { value, ttl, intent, condition }, &tags)?)
            }
            CacheRequest::SetMany(request) => {
                let SetMany { entries, ttl, tags, .. } = Arc::unwrap_or_clone(request);
                let ttl = ttl.validated()?;
                // One that is too large does not keep the others out.
                let mut result = Ok(CacheResponse::Done);
                for (key, value) in entries.iter() {
                    if let Err(error) = self.set(key.clone(), write(Arc::clone(value), ttl), &tags) {
                        result = Err(error);
                    }
                }
                return result;
            }
            CacheRequest::Delete(Delete { keys, .. }) => {
                CacheResponse::Count(keys.as_slice().iter().filter(|key| self.delete(key)).count() as u64)
            }
            CacheRequest::Exists(Exists { keys, .. }) => {
                CacheResponse::Count(keys.as_slice().iter().filter(|key| self.exists(key)).count() as u64)
            }
            CacheRequest::Ttl(ReadTtl { key, .. }) => CacheResponse::Ttl(self.ttl(&key)),
            CacheRequest::Expire(request) => {
                let Expire { key, ttl, .. } = Arc::unwrap_or_clone(request);
                CacheResponse::Applied(self.expire(key, ttl.validated()?))
            }
            CacheRequest::Increment(request) => {
                let Increment { key, delta, ttl, .. } = Arc::unwrap_or_clone(request);
                CacheResponse::Integer(self.increment(key, delta, ttl.validated()?)?)
            }
            CacheRequest::AddTags(request) => {
                let AddTags { key, tags, .. } = Arc::unwrap_or_clone(request);
                CacheResponse::Applied(self.add_tags(key, &tags)?)
            }
            CacheRequest::InvalidateTags(InvalidateTags { tags, .. }) => {
                self.invalidate(&tags);
                CacheResponse::Done
            }
            CacheRequest::Lock(request) => {
                let Lock { key, owner, ttl, .. } = Arc::unwrap_or_clone(request);
                CacheResponse::Locked(self.locks.acquire(key, owner, checked(ttl)?))
            }
            CacheRequest::ExtendLock(request) => {
                let ExtendLock { key, owner, ttl, .. } = Arc::unwrap_or_clone(request);
                CacheResponse::Applied(self.locks.extend(&key, owner, checked(ttl)?))
            }
            CacheRequest::Unlock(request) => {
                let Unlock { key, owner, .. } = Arc::unwrap_or_clone(request);
                CacheResponse::Applied(self.locks.release(&key, owner))
            }
            CacheRequest::Publish(Publish { keys, .. }) => CacheResponse::Count(self.channel.publish(&keys)),
            CacheRequest::Subscribe => CacheResponse::Subscribed(self.channel.subscribe()),
            CacheRequest::Ping => CacheResponse::Done,
            CacheRequest::Close => {
                self.close();
                CacheResponse::Done
            }
            other => return Err(CacheError::unsupported(other.op(), NAME)),
        })
    }
}

#[cold]
fn closed(op: Op) -> CacheError {
    CacheError::new(ErrorKind::Closed, "the memory store is closed").with_op(op)
}

fn write<V>(value: Arc<V>, ttl: Ttl) -> Incoming<V> {
    Incoming { value, ttl, intent: Intent::Write, condition: Condition::Always }
}

/// A lock's lifetime has the bounds of any other.
fn checked(ttl: std::time::Duration) -> Result<std::time::Duration, CacheError> {
    Ttl::After(ttl).validated().map(|ttl| ttl.resolve(None).unwrap_or_default())
}

/// Once the store is closed it holds nothing and takes nothing. A counter is no entry here. A lifetime out of bounds is
/// taken for the nearest bound.
impl<V: Send + Sync + 'static> LocalStore<V> for MemoryStore<V> {
    #[inline]
    fn get(&self, key: &Key) -> Option<Entry<V>> {
        self.shared.read(key).ok().flatten()
    }

    #[inline]
    fn begin_fill(&self, key: &Key) -> FillToken {
        self.shared.fence.token(key)
    }

    fn fill(&self, key: Key, value: Arc<V>, ttl: Ttl, token: FillToken) -> bool {
        if self.shared.closed.load(Ordering::Relaxed) {
            return false;
        }
        let intent = Intent::Fill(token);
        let incoming = Incoming { value, ttl: bounded(ttl), intent, condition: Condition::Always };
        self.shared.set(key, incoming, &Tags::NONE).unwrap_or(false)
    }

    fn insert(&self, key: Key, value: Arc<V>, ttl: Ttl) {
        if !self.shared.closed.load(Ordering::Relaxed) {
            // Too heavy a value is not kept, and what it should have replaced is gone: a cache may evict at once.
            let _ = self.shared.set(key, write(value, bounded(ttl)), &Tags::NONE);
        }
    }

    fn remove(&self, key: &Key) -> bool {
        self.shared.delete(key)
    }

    fn clear(&self) {
        self.shared.clear();
    }

    fn len(&self) -> usize {
        self.shared.cache.len()
    }
}
