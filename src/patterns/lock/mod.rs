//! Locks that several processes share, with an owner, a lifetime and a fencing token.
//!
//! [`Cache::try_lock`] takes a lock if it is free, [`Cache::lock`] waits for it. Both answer with a [`LockGuard`], which
//! extends the lock by itself, tells its holder when the lock is lost, and gives it up when it is dropped. They work over
//! every stack whose store serves lock requests: `RedisStore`, and within one process `MemoryStore`. The name of a lock is a
//! key, and apart from the entry of that key.
//!
//! ```
//! use std::time::Duration;
//! use cachex::Cache;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), cachex::CacheError> {
//! let cache: Cache<String> = Cache::memory(100);
//! let guard = cache.lock("lock:report", Duration::from_secs(10), Duration::from_secs(2)).await?;
//! assert!(cache.try_lock("lock:report", Duration::from_secs(10)).await?.is_none());
//!
//! let work = async { /* … write, showing guard.fencing_token() … */ };
//! tokio::select! {
//!     () = work => {}
//!     why = guard.lost() => return Err(why),
//! }
//! assert!(guard.release().await?);
//! # Ok(())
//! # }
//! ```
//!
//! # What a lock guarantees
//!
//! As long as its store keeps what it was told and its clock runs at about the pace of ours, at most one guard of a key says
//! that it is held. A guard counts its time from before the request was sent, less one in a hundred and 2 ms, so it gives up
//! before the server does, and never after.
//!
//! That is not yet mutual exclusion of *effects*. A process may stop between its last look at the guard and its write (a
//! pause of the machine or of the scheduler); the store may forget the lock (an eviction, a restart without persistence, a
//! failover before the lock was replicated). The other holder is then at work while the first one finishes.
//!
//! # Fencing
//!
//! [`LockGuard::fencing_token`] makes it safe: a number that grows with every acquisition. What the lock protects remembers
//! the largest number it has seen, and refuses a write that shows a smaller one. `examples/locks` has it done;
//! `docs/locks.md` tells in full what each form does and does not guarantee.
//!
//! # Who comes next
//!
//! Those who wait ask again after a pause of a few, later of up to 50 ms, with jitter. There is no queue: whoever asks first
//! after a release gets the lock, and one who has waited long has no better chance than one who just came.
//!
//! # Several servers
//!
//! [`Redlock`] takes a lock on a majority of independent servers, so that the loss of one does not lose the lock. It has no
//! fencing token: see there why.

mod acquire;
mod guard;
mod holder;
mod keeper;
mod redlock;
mod state;

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use cachex_core::{CacheError, CacheService, IntoKey, LockOwner};

pub use self::guard::LockGuard;
use self::holder::Single;
pub use self::redlock::{Redlock, RedlockGuard};
use crate::cache::Cache;

/// The shortest lifetime of a lock: of one much shorter nothing would be left once clocks may differ.
pub const MIN_TTL: Duration = Duration::from_millis(10);

/// The future of taking a lock.
///
/// Cancel safe: if it is dropped, what it may have got is given up in the background.
#[must_use = "futures do nothing unless polled"]
pub struct Acquire<T>(Pin<Box<dyn Future<Output = Result<T, CacheError>> + Send>>);

impl<T> Acquire<T> {
    fn new(future: impl Future<Output = Result<T, CacheError>> + Send + 'static) -> Self {
        Self(Box::pin(future))
    }
}

impl<T> Future for Acquire<T> {
    type Output = Result<T, CacheError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl<T> fmt::Debug for Acquire<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Acquire")
    }
}

impl<V, S> Cache<V, S>
where
    V: Send + Sync + 'static,
    S: CacheService<V>,
{
    /// Takes the lock `key` if it is free; `None` when someone else holds it.
    ///
    /// The lock ends `ttl` (at least [`MIN_TTL`]) after its holder has last extended it. The guard does that every third of it,
    /// so `ttl` is for how long others are kept out by a holder that died, and how long an outage of the store a holder
    /// survives: some 5 to 30 s suit most uses.
    ///
    /// Cancel safe: if the future is dropped, what it may have got is given up in the background.
    ///
    /// # Errors
    ///
    /// `InvalidKey`, `InvalidTtl`; `Unsupported` where the store has no locks, or outside of a tokio runtime; `Timeout` when
    /// the answer came when the lock was already over; or whatever the stack answers. When the store may have granted the lock
    /// in spite of the error, it is given up in the background.
    pub fn try_lock(&self, key: impl IntoKey, ttl: Duration) -> Acquire<Option<LockGuard>> {
        let contender = self.contender(key);
        Acquire::new(async move {
            let held = acquire::once(contender?, ttl).await?;
            Ok(held.map(|(held, token)| LockGuard::new(held, token)))
        })
    }

    /// Takes the lock `key`, waiting for it for as long as `wait`.
    ///
    /// While someone else holds the lock, or the store fails or refuses in a way that may pass, it asks again. `wait` bounds the
    /// waiting: the last attempt begins at its end at the latest, and takes as long as the stack lets it, at most
    /// `ttl`. [`try_lock`](Self::try_lock) tells what `ttl` is; the [module](crate::patterns::lock) tells who comes next.
    ///
    /// Cancel safe: if the future is dropped, what it may have got is given up in the background.
    ///
    /// # Errors
    ///
    /// [`LockHeld`](cachex_core::ErrorKind::LockHeld) when someone else held it at the end; else as [`Cache::try_lock`].
    pub fn lock(&self, key: impl IntoKey, ttl: Duration, wait: Duration) -> Acquire<LockGuard> {
        let contender = self.contender(key);
        Acquire::new(async move {
            let (held, token) = acquire::waiting(contender?, ttl, wait).await?;
            Ok(LockGuard::new(held, token))
        })
    }

    fn contender(&self, key: impl IntoKey) -> Result<Single<V, S>, CacheError> {
        Ok(Single::new(self.service.clone(), key.into_key()?, LockOwner::random()))
    }
}
