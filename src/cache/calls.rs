//! Calls that take knobs before they are awaited.

use std::fmt;
use std::future::IntoFuture;

use cachex_core::{CacheError, CacheRequest, CacheService, Condition, IntoTags, Key, Set, Ttl};

use super::{Answer, Cache};

/// A [`Cache::set`] that has not been sent yet. Await it, after turning knobs.
#[must_use = "a call does nothing unless it is awaited"]
pub struct SetCall<V, S> {
    pub(super) cache: Cache<V, S>,
    pub(super) set: Result<Set<V>, CacheError>,
}

/// A conditional [`Cache::set`]: answers whether the value was stored.
#[must_use = "a call does nothing unless it is awaited"]
pub struct ConditionalSet<V, S>(SetCall<V, S>);

impl<V, S> SetCall<V, S> {
    /// Lets the entry be invalidated by these tags.
    pub fn tags(mut self, tags: impl IntoTags) -> Self {
        self.set = self.set.and_then(|set| Ok(set.tags(tags.into_tags()?)));
        self
    }

    /// Stores only if there is no such key; the call then answers whether it did.
    pub fn if_absent(self) -> ConditionalSet<V, S> {
        self.conditional(Condition::IfAbsent)
    }

    /// Stores only if there is such a key; the call then answers whether it did.
    pub fn if_present(self) -> ConditionalSet<V, S> {
        self.conditional(Condition::IfPresent)
    }

    fn conditional(mut self, condition: Condition) -> ConditionalSet<V, S> {
        self.set = self.set.map(|set| set.condition(condition));
        ConditionalSet(self)
    }
}

impl<V, S> ConditionalSet<V, S> {
    /// Lets the entry be invalidated by these tags.
    pub fn tags(self, tags: impl IntoTags) -> Self {
        Self(self.0.tags(tags))
    }
}

impl<V, S> IntoFuture for SetCall<V, S>
where
    V: Send + Sync + 'static,
    S: CacheService<V>,
{
    type Output = Result<(), CacheError>;
    type IntoFuture = Answer<V, S, ()>;

    fn into_future(self) -> Self::IntoFuture {
        let Cache { service, flights } = self.cache;
        Answer::new(service, self.set.map(CacheRequest::from)).superseding(flights)
    }
}

impl<V, S> IntoFuture for ConditionalSet<V, S>
where
    V: Send + Sync + 'static,
    S: CacheService<V>,
{
    type Output = Result<bool, CacheError>;
    type IntoFuture = Answer<V, S, bool>;

    fn into_future(self) -> Self::IntoFuture {
        let SetCall { cache: Cache { service, flights }, set } = self.0;
        Answer::new(service, set.map(CacheRequest::from)).superseding(flights)
    }
}

/// A [`Cache::incr_by`] that has not been sent yet. Await it, after turning knobs.
#[must_use = "a call does nothing unless it is awaited"]
pub struct IncrBy<V, S> {
    pub(super) cache: Cache<V, S>,
    pub(super) key: Result<Key, CacheError>,
    pub(super) delta: i64,
    pub(super) ttl: Ttl,
}

impl<V, S> IncrBy<V, S> {
    /// How long the counter lives if this call creates it; an existing counter keeps its lifetime.
    pub fn ttl(mut self, ttl: impl Into<Ttl>) -> Self {
        self.ttl = ttl.into();
        self
    }
}

impl<V, S> IntoFuture for IncrBy<V, S>
where
    V: Send + Sync + 'static,
    S: CacheService<V>,
{
    type Output = Result<i64, CacheError>;
    type IntoFuture = Answer<V, S, i64>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { cache: Cache { service, flights }, key, delta, ttl } = self;
        let request = key.and_then(|key| Ok(CacheRequest::increment(key, delta, ttl.validated()?)));
        Answer::new(service, request).superseding(flights)
    }
}

impl<V, S> fmt::Debug for SetCall<V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SetCall").finish_non_exhaustive()
    }
}

impl<V, S> fmt::Debug for ConditionalSet<V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConditionalSet").finish_non_exhaustive()
    }
}

impl<V, S> fmt::Debug for IncrBy<V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IncrBy").finish_non_exhaustive()
    }
}
