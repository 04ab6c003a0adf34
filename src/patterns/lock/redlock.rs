//! One lock on several independent servers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cachex_core::{CacheError, CacheService, Effect, ErrorKind, IntoKey, Key, LockOwner, Op, SharedStack};
use futures_util::future::join_all;
use tokio::time::timeout;

use super::guard::{Held, guard_methods};
use super::holder::{BoxFuture, Contender, Holder, Single};
use super::{Acquire, acquire};

/// The default limit of one server's answer: the larger of a twentieth of the lifetime and this.
const LEAST_SERVER_TIMEOUT: Duration = Duration::from_millis(50);

/// Locks that are held by a majority of several independent servers: the algorithm Redlock.
///
/// To take a lock, all servers are asked side by side under one random owner. It is held when more than half of them granted it,
/// and time is left of its lifetime after what the asking took and a margin for clocks that run apart (one in a hundred,
/// and 2 ms); else it is given up on all of them. An extension needs a majority too.
///
/// Losing a minority of the servers, for any time, changes nothing. What it does *not* do:
///
/// - **A server that restarts without its memory** may grant a lock again that it had granted before; together with other
///   servers that makes a second majority. Persist each write (`appendfsync always`), or keep a server that restarted
///   out for as long as the longest lifetime.
/// - **Clocks.** A server whose clock leaps forward ends its share early, with the same effect.
/// - **A holder that pauses** after its last look at the guard writes late, as with any lock that has a lifetime.
/// - **There is no fencing token.** Each server's own number grows, yet majorities share no more than one server. The largest number
///   of a majority need not exceed that of the majority before: that may have come from the clock of a server which is not
///   among them. So none is offered. Where a late write does harm, take a lock with [`Cache::lock`](crate::Cache::lock) on one
///   store, and show its token to what it protects.
///
/// The source is Salvatore Sanfilippo's "Distributed Locks with Redis" (redis.io); `docs/locks.md` sums up Martin Kleppmann's
/// "How to do distributed locking" (2016) and the answer to it.
///
/// ```no_run
/// # #[cfg(feature = "redis")]
/// # async fn example() -> Result<(), cachex::CacheError> {
/// use std::time::Duration;
/// use cachex::patterns::lock::Redlock;
///
/// let redlock = Redlock::connect(["redis://a.internal", "redis://b.internal", "redis://c.internal"])?;
/// let guard = redlock.lock("lock:report", Duration::from_secs(10), Duration::from_secs(2)).await?;
/// // … work, while !guard.is_lost() …
/// guard.release().await?;
/// # Ok(())
/// # }
/// ```
///
/// Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Redlock {
    servers: Arc<[Arc<dyn Server>]>,
    server_timeout: Option<Duration>,
}

/// Makes contenders; the types of the stack behind are erased.
trait Server: Send + Sync {
    fn contender(&self, key: Key, owner: LockOwner) -> Box<dyn Share>;
}

/// One server's share in a lock.
trait Share: Holder {
    fn acquire(&self, ttl: Duration) -> BoxFuture<bool>;
}

struct Stack<V, S>(SharedStack<S>, std::marker::PhantomData<fn(V)>);

impl<V, S> Server for Stack<V, S>
where
    V: Send + Sync + 'static,
    S: CacheService<V>,
{
    fn contender(&self, key: Key, owner: LockOwner) -> Box<dyn Share> {
        Box::new(Single::new(self.0.clone(), key, owner))
    }
}

impl<V, S> Share for Single<V, S>
where
    V: Send + Sync + 'static,
    S: CacheService<V>,
{
    fn acquire(&self, ttl: Duration) -> BoxFuture<bool> {
        let answer = Contender::acquire(self, ttl);
        Box::pin(async move { Ok(answer.await?.is_some()) })
    }
}

impl Redlock {
    /// The fewest servers there may be.
    pub const MIN_SERVERS: usize = 3;

    /// Locks over these stores or stacks, each of which must lead to a server of its own that shares nothing with the
    /// others: no replication, no cluster, no machine. An odd number is best: a sixth server tolerates no more losses than five.
    ///
    /// A bare `RedisStore` serves several kinds of values; name one, as in `Redlock::new::<Encoded, _>(stores)`, or use
    /// [`Redlock::connect`].
    ///
    /// # Errors
    ///
    /// `InvalidInput` when there are fewer than three.
    pub fn new<V, S>(servers: impl IntoIterator<Item = S>) -> Result<Self, CacheError>
    where
        V: Send + Sync + 'static,
        S: CacheService<V>,
    {
        let servers: Arc<[_]> = servers
            .into_iter()
            .map(|stack| {
                Arc::new(Stack(SharedStack::new(stack), std::marker::PhantomData)) as Arc<dyn Server>
            })
            .collect();
        if servers.len() < Self::MIN_SERVERS {
            let message = format!(
                "a majority that survives a loss takes {} servers, not {}",
                Self::MIN_SERVERS,
                servers.len()
            );
            return Err(CacheError::new(ErrorKind::InvalidInput, message));
        }
        Ok(Self { servers, server_timeout: None })
    }

    /// Locks over the Redis servers at these URLs, with the defaults of
    /// [`RedisStore::connect`](crate::store::redis::RedisStore::connect). Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when a URL is not one, or when there are fewer than three.
    #[cfg(feature = "redis")]
    #[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
    pub fn connect<U: Into<String>>(urls: impl IntoIterator<Item = U>) -> Result<Self, CacheError> {
        let stores = urls.into_iter().map(crate::store::redis::RedisStore::connect);
        Self::new::<cachex_core::Encoded, _>(stores.collect::<Result<Vec<_>, _>>()?)
    }

    /// How long one server may take to answer before it counts as failed. It should be small beside the lifetimes of the locks:
    /// a server that hangs costs as much of each. Without it, the larger of a twentieth of the lifetime and 50 ms;
    /// at most a quarter of the lifetime in any case.
    #[must_use]
    pub fn server_timeout(mut self, timeout: Duration) -> Self {
        self.server_timeout = Some(timeout);
        self
    }

    /// How many servers must grant a lock.
    #[must_use]
    pub fn quorum(&self) -> usize {
        self.servers.len() / 2 + 1
    }

    /// Takes the lock `key` if a majority of the servers grants it; `None` when so many refuse that none can.
    ///
    /// `ttl` and cancellation are as for [`Cache::try_lock`](crate::Cache::try_lock). Of two who ask at the same time both may be
    /// refused.
    ///
    /// # Errors
    ///
    /// `InvalidKey`, `InvalidTtl`; when it was up to servers that failed, the kind of the first failure, which is the source.
    pub fn try_lock(&self, key: impl IntoKey, ttl: Duration) -> Acquire<Option<RedlockGuard>> {
        let contender = self.contender(key);
        Acquire::new(async move {
            let held = acquire::once(contender?, ttl).await?;
            Ok(held.map(|(held, ())| RedlockGuard { held }))
        })
    }

    /// Takes the lock `key`, waiting for it for as long as `wait`, as [`Cache::lock`](crate::Cache::lock) does.
    ///
    /// # Errors
    ///
    /// [`LockHeld`](ErrorKind::LockHeld) when no majority granted it until then; else as [`Redlock::try_lock`].
    pub fn lock(&self, key: impl IntoKey, ttl: Duration, wait: Duration) -> Acquire<RedlockGuard> {
        let contender = self.contender(key);
        Acquire::new(async move {
            let (held, ()) = acquire::waiting(contender?, ttl, wait).await?;
            Ok(RedlockGuard { held })
        })
    }

    fn contender(&self, key: impl IntoKey) -> Result<Majority, CacheError> {
        Ok(Majority::new(self.clone(), key.into_key()?))
    }
}

impl fmt::Debug for Redlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redlock")
            .field("servers", &self.servers.len())
            .field("quorum", &self.quorum())
            .field("server_timeout", &self.server_timeout)
            .finish()
    }
}

/// A lock that a majority of the servers of a [`Redlock`] holds. It extends itself and tells of its loss as a
/// [`LockGuard`](super::LockGuard) does; it has no fencing token.
#[must_use = "the lock is given up when the guard is dropped"]
pub struct RedlockGuard {
    held: Held,
}

impl RedlockGuard {
    guard_methods!();
}

impl fmt::Debug for RedlockGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedlockGuard").field("valid_for", &self.valid_for()).finish_non_exhaustive()
    }
}

/// One owner's shares on all servers.
struct Majority {
    redlock: Redlock,
    key: Key,
    shares: Vec<Box<dyn Share>>,
}

impl Majority {
    fn new(redlock: Redlock, key: Key) -> Self {
        let owner = LockOwner::random();
        let shares = redlock.servers.iter().map(|server| server.contender(key.clone(), owner)).collect();
        Self { redlock, key, shares }
    }

    /// Asks all servers side by side, and tells what a majority says.
    fn vote(&self, op: Op, limit: Duration, ask: impl Fn(&dyn Share) -> BoxFuture<bool>) -> BoxFuture<bool> {
        let asked: Vec<_> = self.shares.iter().map(|share| timeout(limit, ask(&**share))).collect();
        let (servers, quorum) = (asked.len(), self.redlock.quorum());
        Box::pin(async move {
            let mut tally = Tally::default();
            for answer in join_all(asked).await {
                match answer.unwrap_or_else(|_| Err(silent(op))) {
                    Ok(true) => tally.yes += 1,
                    Ok(false) => tally.no += 1,
                    Err(error) => tally.failure = tally.failure.or(Some(error)),
                }
            }
            tally.verdict(op, servers, quorum)
        })
    }

    /// How long a server may take to grant or extend.
    fn patience(&self, ttl: Duration) -> Duration {
        // Above a quarter, nothing would be left for another attempt to extend.
        self.redlock.server_timeout.unwrap_or_else(|| LEAST_SERVER_TIMEOUT.max(ttl / 20)).min(ttl / 4)
    }

    /// A lock is given up without hurry: nobody's validity depends on it.
    fn patience_to_release(&self) -> Duration {
        self.redlock.server_timeout.unwrap_or_default().max(Duration::from_secs(1))
    }
}

/// How the servers answered.
#[derive(Default)]
struct Tally {
    yes: usize,
    no: usize,
    failure: Option<CacheError>,
}

impl Tally {
    /// What a majority says.
    ///
    /// # Errors
    ///
    /// When it depends on servers that failed.
    fn verdict(self, op: Op, servers: usize, quorum: usize) -> Result<bool, CacheError> {
        match self.failure {
            _ if self.yes >= quorum => Ok(true),
            Some(error) if self.no <= servers - quorum => {
                let message = format!("{} of {servers} servers agreed, {quorum} must", self.yes);
                Err(CacheError::with_source(error.kind(), message, error)
                    .with_op(op)
                    .with_effect(Effect::Unknown))
            }
            _ => Ok(false),
        }
    }
}

impl Holder for Majority {
    fn extend(&self, ttl: Duration) -> BoxFuture<bool> {
        self.vote(Op::ExtendLock, self.patience(ttl), |share| share.extend(ttl))
    }

    fn release(&self) -> BoxFuture<bool> {
        self.vote(Op::Unlock, self.patience_to_release(), |share| share.release())
    }
}

impl Contender for Majority {
    type Token = ();

    fn acquire(&self, ttl: Duration) -> BoxFuture<Option<()>> {
        let granted = self.vote(Op::Lock, self.patience(ttl), |share| share.acquire(ttl));
        Box::pin(async move { Ok(granted.await?.then_some(())) })
    }

    fn afresh(&self) -> Option<Self> {
        Some(Self::new(self.redlock.clone(), self.key.clone()))
    }
}

fn silent(op: Op) -> CacheError {
    CacheError::new(ErrorKind::Timeout, "a server of the majority did not answer in time").with_op(op)
}
