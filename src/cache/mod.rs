//! The typed handle.

mod answer;
mod calls;
mod invalidations;
mod presets;
mod read;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cachex_core::{
    BoxCacheService, CacheError, CacheRequest, CacheResponse, CacheService, Entry, Intent, IntoKey, IntoTags,
    Key, KeyTtl, Keys, Op, OpClass, Set, SharedCall, SharedStack, Ttl,
};
use tower_service::Service;

pub use answer::Answer;
pub use calls::{ConditionalSet, IncrBy, SetCall};
pub use invalidations::{Listener, SubscribeCall, Subscribing};
pub use read::FromResponse;

use crate::patterns::flights::Flights;

/// A cache of values of type `V`, on top of a stack `S`.
///
/// `Cache<User>` (erased) is what sits in a struct field or in an application's state; `Cache<User, S>` is what the
/// optimizer sees through. Both are cheap to clone, share everything with their clones, and hold no lifetime.
///
/// Values are shared: reads answer with an `Arc<V>`, so a hit in memory copies nothing and `V` needs no `Clone`. Keys are
/// anything that [`IntoKey`] takes: a [`Key`] costs no allocation, text costs one.
///
/// ```
/// use std::time::Duration;
/// use cachex::Cache;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), cachex::CacheError> {
/// let capitals: Cache<String> = Cache::memory(10_000);
/// capitals.set("capital:FR", "Paris".to_owned(), Duration::from_secs(300)).await?;
/// assert_eq!(capitals.get("capital:FR").await?.as_deref().map(String::as_str), Some("Paris"));
/// assert_eq!(capitals.get("capital:DE").await?, None);
/// # Ok(())
/// # }
/// ```
pub struct Cache<V, S = BoxCacheService<V>> {
    pub(crate) service: SharedStack<S>,
    pub(crate) flights: Arc<Flights<V>>,
}

/// How long [`Cache::close`] waits for loads under way.
pub const CLOSE_DEADLINE: Duration = Duration::from_secs(10);

impl<V, S> Cache<V, S>
where
    V: Send + Sync + 'static,
    S: CacheService<V>,
{
    /// A cache on top of a stack: any tower service that answers cache requests.
    pub fn new(stack: S) -> Self {
        Self { service: SharedStack::new(stack), flights: Arc::default() }
    }

    /// The same cache with the type of its stack erased. Loads under way are still shared with this handle.
    #[must_use]
    pub fn boxed(&self) -> Cache<V> {
        Cache { service: SharedStack::new(self.service.clone().into()), flights: Arc::clone(&self.flights) }
    }

    /// The stack beneath.
    pub fn get_ref(&self) -> &S {
        self.service.get_ref()
    }

    /// Sends a request of one's own making, as a layer would see it.
    ///
    /// A write sent this way supersedes loads under way as the handle's own methods do.
    ///
    /// # Errors
    ///
    /// Whatever the stack answers.
    pub fn send(&self, request: CacheRequest<V>) -> Answer<V, S, CacheResponse<V>> {
        if is_news(&request) {
            self.write(Ok(request))
        } else {
            Answer::new(self.service.clone(), Ok(request))
        }
    }

    /// Reads a value; `None` when there is none.
    ///
    /// # Errors
    ///
    /// `InvalidKey`, or whatever the stack answers. A miss is not an error.
    #[inline]
    pub fn get(&self, key: impl IntoKey) -> Answer<V, S, Option<Arc<V>>> {
        Answer::new(self.service.clone(), key.into_key().map(CacheRequest::get))
    }

    /// Reads a value with what is known about it: where it came from, its age, whether it is stale.
    ///
    /// # Errors
    ///
    /// As [`Cache::get`].
    #[inline]
    pub fn get_entry(&self, key: impl IntoKey) -> Answer<V, S, Option<Entry<V>>> {
        Answer::new(self.service.clone(), key.into_key().map(CacheRequest::get))
    }

    /// Reads several values at once, in the order of the keys.
    ///
    /// # Errors
    ///
    /// `InvalidKey`, or whatever the stack answers.
    pub fn mget<K: IntoKey>(&self, keys: impl IntoIterator<Item = K>) -> Answer<V, S, Vec<Option<Arc<V>>>> {
        Answer::new(self.service.clone(), into_keys(keys).map(CacheRequest::get_many))
    }

    /// Stores a value for `ttl`: a `Duration`, or [`Ttl::Default`] or [`Ttl::Never`].
    ///
    /// The call takes knobs before it is awaited: [`tags`](SetCall::tags), [`if_absent`](SetCall::if_absent),
    /// [`if_present`](SetCall::if_present).
    ///
    /// # Errors
    ///
    /// `InvalidKey`, `InvalidTtl`, or whatever the stack answers.
    pub fn set(&self, key: impl IntoKey, value: impl Into<Arc<V>>, ttl: impl Into<Ttl>) -> SetCall<V, S> {
        let set = key.into_key().and_then(|key| Ok(Set::new(key, value, ttl.into().validated()?)));
        SetCall { cache: self.clone(), set }
    }

    /// Stores several values under one lifetime; the last of several values for one key wins.
    ///
    /// # Errors
    ///
    /// `InvalidKey`, `InvalidTtl`, or whatever the stack answers.
    pub fn mset<K: IntoKey, T: Into<Arc<V>>>(
        &self,
        entries: impl IntoIterator<Item = (K, T)>,
        ttl: impl Into<Ttl>,
    ) -> Answer<V, S, ()> {
        let request = ttl.into().validated().and_then(|ttl| {
            let entries = entries
                .into_iter()
                .map(|(key, value)| Ok((key.into_key()?, value.into())))
                .collect::<Result<Vec<(Key, Arc<V>)>, CacheError>>()?;
            Ok(CacheRequest::set_many(entries, ttl))
        });
        self.write(request)
    }

    /// Removes a key; tells whether it was there. After a retry it may say no although its first attempt removed the key.
    ///
    /// # Errors
    ///
    /// `InvalidKey`, or whatever the stack answers.
    pub fn del(&self, key: impl IntoKey) -> Answer<V, S, bool> {
        let request = key.into_key().map(CacheRequest::delete);
        self.write(request)
    }

    /// Removes several keys; tells how many were there.
    ///
    /// # Errors
    ///
    /// `InvalidKey`, or whatever the stack answers.
    pub fn mdel<K: IntoKey>(&self, keys: impl IntoIterator<Item = K>) -> Answer<V, S, u64> {
        let request = into_keys(keys).map(CacheRequest::delete);
        self.write(request)
    }

    /// Tells whether there is such a key.
    ///
    /// # Errors
    ///
    /// `InvalidKey`, or whatever the stack answers.
    pub fn exists(&self, key: impl IntoKey) -> Answer<V, S, bool> {
        let request = key.into_key().map(CacheRequest::exists);
        Answer::new(self.service.clone(), request)
    }

    /// Tells how long a key will live.
    ///
    /// # Errors
    ///
    /// `InvalidKey`, or whatever the stack answers.
    pub fn ttl(&self, key: impl IntoKey) -> Answer<V, S, KeyTtl> {
        Answer::new(self.service.clone(), key.into_key().map(CacheRequest::ttl))
    }

    /// Gives a key `ttl` to live from now on; tells whether there is such a key.
    ///
    /// # Errors
    ///
    /// `InvalidKey`, `InvalidTtl`, or whatever the stack answers.
    pub fn expire(&self, key: impl IntoKey, ttl: impl Into<Ttl>) -> Answer<V, S, bool> {
        let request = key.into_key().and_then(|key| Ok(CacheRequest::expire(key, ttl.into().validated()?)));
        Answer::new(self.service.clone(), request)
    }

    /// Adds to a counter, which starts at zero; answers with its value after.
    ///
    /// A counter that this creates lives for the store's default lifetime, or for what [`IncrBy::ttl`] says. Counters are
    /// their own kind of entry: reading one with [`Cache::get`] is an error.
    ///
    /// # Errors
    ///
    /// `InvalidKey`, `Overflow` when the sum leaves the range of `i64` (the counter is unchanged), `WrongType` when the key
    /// holds a value, or whatever the stack answers.
    pub fn incr_by(&self, key: impl IntoKey, delta: i64) -> IncrBy<V, S> {
        IncrBy { cache: self.clone(), key: key.into_key(), delta, ttl: Ttl::Default }
    }

    /// Attaches tags to a key; tells whether there is such a key.
    ///
    /// # Errors
    ///
    /// `InvalidKey`, `InvalidTag`, `Unsupported` where the store has no tags, or whatever the stack answers.
    pub fn add_tags(&self, key: impl IntoKey, tags: impl IntoTags) -> Answer<V, S, bool> {
        let request = key.into_key().and_then(|key| Ok(CacheRequest::add_tags(key, tags.into_tags()?)));
        Answer::new(self.service.clone(), request)
    }

    /// Invalidates every entry that carries one of these tags, at a cost that does not depend on how many do.
    ///
    /// # Errors
    ///
    /// `InvalidTag`, `Unsupported` where the store has no tags, or whatever the stack answers.
    pub fn invalidate_by_tag(&self, tags: impl IntoTags) -> Answer<V, S, ()> {
        let request = tags.into_tags().map(CacheRequest::invalidate_tags);
        self.write(request)
    }

    /// Asks whether the store answers.
    ///
    /// # Errors
    ///
    /// Whatever the stack answers.
    pub fn ping(&self) -> Answer<V, S, ()> {
        Answer::new(self.service.clone(), Ok(CacheRequest::Ping))
    }

    /// Waits for loads under way, at most [`CLOSE_DEADLINE`], then closes the store: what is pending is flushed,
    /// connections are released, and later calls through any handle on the same store fail with `Closed`.
    ///
    /// Not cancel safe: dropping the future may leave the cache open.
    ///
    /// # Errors
    ///
    /// Whatever the stack answers. `Timeout` when loads are still under way at the deadline; the store is closed all the
    /// same, and their results are not stored.
    pub async fn close(&self) -> Result<(), CacheError> {
        self.close_within(CLOSE_DEADLINE).await
    }

    /// As [`Cache::close`], with a deadline of one's own.
    ///
    /// # Panics
    ///
    /// When a load is under way and this runs outside a tokio runtime with its time driver enabled.
    ///
    /// # Errors
    ///
    /// As [`Cache::close`].
    pub async fn close_within(&self, deadline: Duration) -> Result<(), CacheError> {
        // Without a load under way there is nothing to wait for, and no runtime is needed.
        let drained = if self.flights.is_idle() {
            Ok(())
        } else {
            tokio::time::timeout(deadline, self.flights.drained()).await
        };
        self.flights.supersede_all();
        Answer::<V, S, ()>::new(self.service.clone(), Ok(CacheRequest::Close)).await?;
        drained.map_err(|late| {
            let message = "loads were still under way at the closing deadline";
            CacheError::with_source(cachex_core::ErrorKind::Timeout, message, late).with_op(Op::Close)
        })
    }

    /// A write: loads of its keys that are under way must not be joined by later readers, nor stored.
    fn write<T>(&self, request: Result<CacheRequest<V>, CacheError>) -> Answer<V, S, T> {
        Answer::new(self.service.clone(), request).superseding(Arc::clone(&self.flights))
    }
}

/// Whether loads that began earlier are out of date once this is sent. A fill is no news.
fn is_news<V>(request: &CacheRequest<V>) -> bool {
    match request {
        CacheRequest::Set(set) => set.intent == Intent::Write,
        other => other.class() == OpClass::Write,
    }
}

fn into_keys<K: IntoKey>(keys: impl IntoIterator<Item = K>) -> Result<Keys, CacheError> {
    keys.into_iter().map(IntoKey::into_key).collect()
}

/// Reference counts, whatever `V` is.
impl<V, S: Clone> Clone for Cache<V, S> {
    fn clone(&self) -> Self {
        Self { service: self.service.clone(), flights: Arc::clone(&self.flights) }
    }
}

impl<V, S: fmt::Debug> fmt::Debug for Cache<V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("stack", &self.service).finish_non_exhaustive()
    }
}

/// A handle is a service too: it can end another stack, or be called by what speaks requests. It is always ready; a call
/// waits for the readiness of the stack inside its future.
impl<V, S: CacheService<V>> Service<CacheRequest<V>> for Cache<V, S> {
    type Response = CacheResponse<V>;
    type Error = CacheError;
    type Future = SharedCall<V, S>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), CacheError>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: CacheRequest<V>) -> SharedCall<V, S> {
        if is_news(&request) {
            self.flights.supersede_request(&request);
        }
        SharedCall::new(self.service.clone(), request)
    }
}
