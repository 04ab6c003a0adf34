//! Read-through: answer from the cache, or load once per key however many ask.

use std::error::Error;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use cachex_core::{
    CacheError, CacheRequest, CacheResponse, CacheService, Effect, ErrorKind, FillToken, Intent, IntoKey,
    IntoTags, Key, Set, SharedCall, SharedStack, Tags, Ttl,
};
use pin_project_lite::pin_project;
use tokio::sync::futures::OwnedNotified;
use tower_service::Service;

use super::flights::{Flight, Flights, Landed, Outcome, Pilot, Seat};
use crate::cache::Cache;

impl<V, S> Cache<V, S>
where
    V: Send + Sync + 'static,
    S: CacheService<V>,
{
    /// Answers from the cache; on a miss asks `loader`, stores what it found for `ttl`, and answers with it.
    ///
    /// - **One load per key** runs in this process at a time, however many callers ask; all of them get its outcome.
    /// - **The load is nobody's.** It runs as a task of its own: dropping this future, or all of them, neither stops it nor
    ///   wedges the key. A panic in the loader is a `LoaderPanicked` error to everyone who waits.
    /// - **A load never overwrites news.** If the key is written or deleted after the load began, its result is told to
    ///   those who wait, but not stored, and later readers start a load of their own.
    /// - **A broken cache is not a broken service.** If the store fails, the breaker is open, or what is stored cannot be
    ///   read, the loader is asked; a failure to store its result is not told (the stack's metrics and traces see it).
    ///   Refusals by a rate limit or a bulkhead are told: they protect the source as well.
    ///   [`ReadThrough::require_cache`] turns this off.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachex::Cache;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), cachex::CacheError> {
    /// let squares: Cache<u64> = Cache::memory(1_000);
    /// let nine = squares
    ///     .read_through("square:3", Duration::from_secs(60), || async { Ok::<_, std::io::Error>(3 * 3) })
    ///     .await?;
    /// assert_eq!(*nine, 9);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidKey`, `InvalidTtl`; `Loader` with the loader's own error as its source; `LoaderPanicked`; `RateLimited` and
    /// `BulkheadFull`; `Unsupported` on a miss outside of a tokio runtime, and where the store cannot keep what was asked for.
    pub fn read_through<F, Fut, T, E>(
        &self,
        key: impl IntoKey,
        ttl: impl Into<Ttl>,
        loader: F,
    ) -> ReadThrough<V, S, F>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        T: Into<Arc<V>> + 'static,
        E: Into<Box<dyn Error + Send + Sync>> + 'static,
    {
        let args = key.into_key().and_then(|key| Ok((key, ttl.into().validated()?)));
        ReadThrough { cache: self.clone(), args, loader, tags: Tags::NONE, require_cache: false }
    }
}

/// A [`Cache::read_through`] that has not been sent yet. Await it, after turning knobs.
#[must_use = "a call does nothing unless it is awaited"]
pub struct ReadThrough<V, S, F> {
    cache: Cache<V, S>,
    args: Result<(Key, Ttl), CacheError>,
    loader: F,
    tags: Tags,
    require_cache: bool,
}

impl<V, S, F> ReadThrough<V, S, F> {
    /// Lets what is loaded be invalidated by these tags. Where the store has no tags, a call that loads fails with
    /// `Unsupported`.
    pub fn tags(mut self, tags: impl IntoTags) -> Self {
        match tags.into_tags() {
            Ok(tags) => self.tags = tags,
            Err(error) => self.args = self.args.and(Err(error)),
        }
        self
    }

    /// Makes an error of the lookup an error of the call, instead of a reason to ask the loader. A failure to store what was
    /// loaded is not told either way.
    pub fn require_cache(mut self) -> Self {
        self.require_cache = true;
        self
    }
}

impl<V, S, F, Fut, T, E> IntoFuture for ReadThrough<V, S, F>
where
    V: Send + Sync + 'static,
    S: CacheService<V>,
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = Result<T, E>> + Send + 'static,
    T: Into<Arc<V>> + 'static,
    E: Into<Box<dyn Error + Send + Sync>> + 'static,
{
    type Output = Outcome<V>;
    type IntoFuture = ReadThroughFuture<V, S, F>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { cache: Cache { service, flights }, args, loader, tags, require_cache } = self;
        let state = match args {
            Ok((key, ttl)) => {
                let since = flights.landed(&key);
                let lookup = SharedCall::new(service.clone(), CacheRequest::get(key.clone()));
                let plan = Plan { service, flights, key, ttl, tags, require_cache, since, loader };
                State::Lookup { lookup, plan: Some(plan) }
            }
            Err(error) => State::Refused { error: Some(error) },
        };
        ReadThroughFuture { state }
    }
}

/// What a miss needs in order to become a load.
struct Plan<V, S, F> {
    service: SharedStack<S>,
    flights: Arc<Flights<V>>,
    key: Key,
    ttl: Ttl,
    tags: Tags,
    require_cache: bool,
    since: Landed,
    loader: F,
}

pin_project! {
    /// The future of a [`Cache::read_through`]. Dropping it cancels the lookup, never a load.
    #[must_use = "futures do nothing unless polled"]
    pub struct ReadThroughFuture<V, S, F>
    where
        S: Service<CacheRequest<V>>,
    {
        #[pin]
        state: State<V, S, F>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<V, S, F>
    where
        S: Service<CacheRequest<V>>,
    {
        // Lookup => done, on a hit; Lookup => Waiting, on a miss.
        Lookup { #[pin] lookup: SharedCall<V, S>, plan: Option<Plan<V, S, F>> },
        // Waiting => done, when the load lands.
        Waiting { #[pin] landing: OwnedNotified, flight: Arc<Flight<V>> },
        Refused { error: Option<CacheError> },
    }
}

impl<V, S, F, Fut, T, E> Future for ReadThroughFuture<V, S, F>
where
    V: Send + Sync + 'static,
    S: CacheService<V>,
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = Result<T, E>> + Send + 'static,
    T: Into<Arc<V>> + 'static,
    E: Into<Box<dyn Error + Send + Sync>> + 'static,
{
    type Output = Outcome<V>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome<V>> {
        let mut state = self.project().state;
        loop {
            let seat = match state.as_mut().project() {
                StateProj::Lookup { lookup, plan } => {
                    let found = ready!(lookup.poll(cx)).and_then(|response| response.into_get());
                    let token = match found {
                        Ok(Ok(entry)) => return Poll::Ready(Ok(entry.value)),
                        Ok(Err(token)) => Some(token),
                        Err(error) if plan.as_ref().is_some_and(|plan| plan.may_load_after(&error)) => None,
                        Err(error) => return Poll::Ready(Err(error)),
                    };
                    match plan.take().map(|plan| plan.board(token)) {
                        Some(Ok(seat)) => seat,
                        Some(Err(error)) => return Poll::Ready(Err(error)),
                        None => {
                            return Poll::Ready(Err(CacheError::new(
                                ErrorKind::Internal,
                                "polled after completion",
                            )));
                        }
                    }
                }
                StateProj::Waiting { landing, flight } => {
                    if let Some(outcome) = flight.outcome() {
                        return Poll::Ready(outcome);
                    }
                    ready!(landing.poll(cx));
                    return Poll::Ready(flight.outcome().unwrap_or_else(|| {
                        Err(CacheError::new(ErrorKind::Internal, "a load landed without an outcome"))
                    }));
                }
                StateProj::Refused { error } => {
                    let error = error.take();
                    return Poll::Ready(Err(error.unwrap_or_else(|| {
                        CacheError::new(ErrorKind::Internal, "polled after completion")
                    })));
                }
            };
            state.set(State::Waiting { landing: seat.landing, flight: seat.flight });
        }
    }
}

impl<V, S, F, Fut, T, E> Plan<V, S, F>
where
    V: Send + Sync + 'static,
    S: CacheService<V>,
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = Result<T, E>> + Send + 'static,
    T: Into<Arc<V>> + 'static,
    E: Into<Box<dyn Error + Send + Sync>> + 'static,
{
    /// Whether a lookup that failed like this is answered by the loader.
    fn may_load_after(&self, error: &CacheError) -> bool {
        !self.require_cache && is_survivable(error.kind())
    }

    /// Joins the load of the key, or starts it. `token` is the lookup's, if the lookup was a miss rather than an error.
    fn board(self, token: Option<FillToken>) -> Result<Seat<V>, CacheError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|error| {
            CacheError::with_source(
                ErrorKind::Unsupported,
                "read_through needs a tokio runtime to load in",
                error,
            )
        })?;
        let (seat, pilot) = self.flights.board(&self.key, self.since);
        if let Some((pilot, current)) = pilot {
            // What another load stored between this lookup and now would be loaded a second time.
            let token = token.filter(|_| current);
            runtime.spawn(self.fly(pilot, token));
        }
        Ok(seat)
    }

    /// The load itself.
    async fn fly(self, pilot: Pilot<V>, token: Option<FillToken>) {
        let Self { service, ttl, tags, loader, .. } = self;
        let key = pilot.key.clone();
        let token = match token {
            Some(token) => token,
            None => match SharedCall::new(service.clone(), CacheRequest::get(key.clone()))
                .await
                .and_then(|r| r.into_get())
            {
                Ok(Ok(entry)) => return pilot.land(Ok(entry.value)),
                Ok(Err(token)) => token,
                // Without a fence the store keeps only what does not exist yet. Those who insist on the cache had an answer
                // from it before they boarded.
                Err(error) if is_survivable(error.kind()) => FillToken::UNFENCED,
                Err(error) => return pilot.land(Err(error)),
            },
        };
        // A panic unwinds through here: dropping the pilot tells those who wait.
        let loaded: Result<Arc<V>, CacheError> = match loader().await {
            Ok(value) => Ok(value.into()),
            Err(error) => Err(CacheError::with_source(ErrorKind::Loader, "the loader failed", error)),
        };
        let outcome = match loaded {
            Ok(value) if pilot.flight.is_superseded() => Ok(value),
            Ok(value) => {
                let set =
                    Set::new(key.clone(), Arc::clone(&value), ttl).intent(Intent::Fill(token)).tags(tags);
                let filled = SharedCall::new(service.clone(), set.into()).await;
                // The fill may have waited, or been tried again, while the key was written. What it then stored is old.
                let may_be_stored = match &filled {
                    Ok(response) => !matches!(response, CacheResponse::Applied(false)),
                    Err(error) => error.effect() == Effect::Unknown,
                };
                if may_be_stored && pilot.flight.is_superseded() {
                    // If this fails as well, the value lives until its lifetime ends, as after a delete by another node.
                    let _ = SharedCall::new(service, CacheRequest::delete(key)).await;
                }
                match filled {
                    // The request itself is at fault, and would be each time: silence would hide that nothing is cached.
                    Err(error) if is_callers_fault(error.kind()) => Err(error),
                    // Stored, refused by the fence, or failed: the value is good in any case.
                    _ => Ok(value),
                }
            }
            Err(error) => Err(error),
        };
        pilot.land(outcome);
    }
}

/// Whether storing can never succeed as it was asked for.
fn is_callers_fault(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Unsupported | ErrorKind::InvalidTag | ErrorKind::InvalidTtl | ErrorKind::InvalidInput
    )
}

/// Whether the loader may be asked in spite of this error of the cache: the store is broken, or what it holds is; not when
/// a limit refused the caller, and not when the request itself is wrong.
fn is_survivable(kind: ErrorKind) -> bool {
    kind.is_store_failure()
        || matches!(
            kind,
            ErrorKind::CircuitOpen
                | ErrorKind::Moved
                | ErrorKind::TryAgain
                | ErrorKind::PermissionDenied
                | ErrorKind::TooLarge
                | ErrorKind::Decode
                | ErrorKind::UnknownVersion
                | ErrorKind::SchemaMismatch
                | ErrorKind::Decrypt
        )
}

impl<V, S, F> fmt::Debug for ReadThrough<V, S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadThrough").field("require_cache", &self.require_cache).finish_non_exhaustive()
    }
}

impl<V, S: Service<CacheRequest<V>>, F> fmt::Debug for ReadThroughFuture<V, S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadThroughFuture").finish_non_exhaustive()
    }
}
