//! Invalidation messages: telling other nodes what changed, and hearing it from them.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use cachex_core::{CacheError, CacheRequest, CacheService, IntoKey, Invalidation, Subscription};
use pin_project_lite::pin_project;
use tokio::task::JoinHandle;
use tower_service::Service;

use super::{Answer, Cache, into_keys};

impl<V, S> Cache<V, S>
where
    V: Send + Sync + 'static,
    S: CacheService<V>,
{
    /// Tells every subscriber, on every node, that these keys changed; answers how many subscribers were reached, as far
    /// as the store knows.
    ///
    /// All keys of a call go out together, in one message where they fit into one: publish many keys in one call rather
    /// than one each. Calls are not merged with each other. Nothing in the store is changed, and writes do not publish by
    /// themselves: change the source, delete or overwrite the key, then publish. Loads of these keys that are under way in
    /// this process lose their right to be stored.
    ///
    /// # Errors
    ///
    /// `InvalidKey`, `Unsupported` where the store has no messages, or whatever the stack answers.
    pub fn publish_invalidation<K: IntoKey>(&self, keys: impl IntoIterator<Item = K>) -> Answer<V, S, u64> {
        let request = into_keys(keys).map(CacheRequest::publish);
        self.write(request)
    }

    /// Calls `handler` with every invalidation message from now on, until what this answers with is dropped or closed, or
    /// the store is closed.
    ///
    /// The handler runs on a task of its own, one message at a time and in order; it should be quick, and hand on what is
    /// not. While it is busy messages wait, up to a bound of the store's; beyond that it is told [`Invalidation::Missed`].
    /// So it is when the connection was lost, and again when it is back: **whatever is held locally is then to be dropped**.
    /// A handler that panics has lost that message and is called with the next
    /// ([`Listener::panics`]).
    ///
    /// The call takes a knob before it is awaited: [`skip_own`](SubscribeCall::skip_own).
    ///
    /// ```
    /// use cachex::{Cache, Invalidation, Key};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let users: Cache<String> = Cache::memory(10_000);
    /// let (sender, mut changed) = tokio::sync::mpsc::unbounded_channel();
    /// let listener = users
    ///     .subscribe_invalidations(move |message| {
    ///         let _ = sender.send(message);
    ///     })
    ///     .await?;
    /// users.publish_invalidation(["user:42", "user:43"]).await?;
    /// assert_eq!(
    ///     changed.recv().await,
    ///     Some(Invalidation::Keys(vec![Key::new("user:42")?, Key::new("user:43")?]))
    /// );
    /// listener.close().await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// The call, when it is awaited outside a tokio runtime.
    ///
    /// # Errors
    ///
    /// `Unsupported` where the store has no messages, `Closed`, or why the server could not be subscribed to. Once this has
    /// succeeded, nothing that is published is missed without the handler being told so.
    pub fn subscribe_invalidations<H>(&self, handler: H) -> SubscribeCall<V, S, H>
    where
        H: Fn(Invalidation) + Send + 'static,
    {
        SubscribeCall { cache: self.clone(), handler, skip_own: false }
    }

    /// As [`Cache::subscribe_invalidations`], as a stream: for those who would rather pull.
    ///
    /// # Errors
    ///
    /// As [`Cache::subscribe_invalidations`].
    pub fn subscribe(&self) -> Answer<V, S, Subscription> {
        Answer::new(self.service.clone(), Ok(CacheRequest::Subscribe))
    }
}

/// A [`Cache::subscribe_invalidations`] that has not been sent yet. Await it, after turning its knob.
#[must_use = "a call does nothing unless it is awaited"]
pub struct SubscribeCall<V, S, H> {
    cache: Cache<V, S>,
    handler: H,
    skip_own: bool,
}

impl<V, S, H> SubscribeCall<V, S, H> {
    /// Leaves out what is published through this very store, by this handle or another one on it.
    pub fn skip_own(mut self) -> Self {
        self.skip_own = true;
        self
    }
}

impl<V, S, H> IntoFuture for SubscribeCall<V, S, H>
where
    V: Send + Sync + 'static,
    S: CacheService<V>,
    H: Fn(Invalidation) + Send + 'static,
{
    type Output = Result<Listener, CacheError>;
    type IntoFuture = Subscribing<V, S, H>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { cache, handler, skip_own } = self;
        Subscribing { answer: cache.subscribe(), handler: Some(handler), skip_own }
    }
}

impl<V, S, H> fmt::Debug for SubscribeCall<V, S, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubscribeCall").field("skip_own", &self.skip_own).finish_non_exhaustive()
    }
}

pin_project! {
    /// The future of a [`Cache::subscribe_invalidations`]. Dropping it is as if it had not been called.
    #[must_use = "futures do nothing unless polled"]
    pub struct Subscribing<V, S, H>
    where
        S: Service<CacheRequest<V>>,
    {
        #[pin]
        answer: Answer<V, S, Subscription>,
        handler: Option<H>,
        skip_own: bool,
    }
}

impl<V, S, H> Future for Subscribing<V, S, H>
where
    S: CacheService<V>,
    H: Fn(Invalidation) + Send + 'static,
{
    type Output = Result<Listener, CacheError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let subscription = ready!(this.answer.poll(cx))?;
        let subscription = if *this.skip_own { subscription.skip_own() } else { subscription };
        // The answer is ready once.
        let handler = this.handler.take().ok_or_else(super::answer::polled_after_completion)?;
        Poll::Ready(Ok(Listener::start(subscription, handler)))
    }
}

impl<V, S: Service<CacheRequest<V>>, H> fmt::Debug for Subscribing<V, S, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscribing").finish_non_exhaustive()
    }
}

/// A handler that hears invalidation messages. Dropping it unsubscribes.
#[must_use = "dropping a listener ends it"]
#[derive(Debug)]
pub struct Listener {
    task: JoinHandle<()>,
    panics: Arc<AtomicU64>,
}

impl Listener {
    fn start(mut subscription: Subscription, handler: impl Fn(Invalidation) + Send + 'static) -> Self {
        let panics = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&panics);
        let task = tokio::spawn(async move {
            while let Some(message) = subscription.next().await {
                // What a handler leaves behind when it panics is its own to see.
                if panic::catch_unwind(AssertUnwindSafe(|| handler(message))).is_err() {
                    counted.fetch_add(1, Ordering::Relaxed);
                }
                // A subscription that always has something must not keep the thread, nor outrun its own end.
                tokio::task::yield_now().await;
            }
        });
        Self { task, panics }
    }

    /// Unsubscribes. When this returns the handler is not running, and will not be called again.
    ///
    /// Cancel safe: dropping the future unsubscribes all the same, without waiting for a handler that is running.
    pub async fn close(mut self) {
        self.task.abort();
        // Cancelled, or at its end: either way it is over.
        let _ = (&mut self.task).await;
    }

    /// Whether it is over: the store was closed.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// How often the handler panicked.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}
