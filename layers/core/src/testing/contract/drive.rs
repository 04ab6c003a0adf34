//! How the rules run futures: in a task of their own, polled only when woken, under a paused clock.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::timeout;

use crate::error::CacheError;
use crate::request::CacheRequest;
use crate::response::CacheResponse;
use crate::service::CacheService;

/// How much paused time nobody waking a future means that nobody ever will.
const PATIENCE: Duration = Duration::from_secs(3600);

/// So many polls of one call mean that it wakes itself in a loop.
const MAX_POLLS: usize = 10_000;

/// Runs a rule under a paused clock, which moves on by itself whenever every task waits.
pub(super) fn paused<F: Future>(rule: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O can always be built")
        .block_on(rule)
}

/// How a driven future ended.
#[derive(Debug)]
pub(super) enum End<T> {
    /// By itself.
    Done(T),
    /// It was dropped after as many polls as it was given.
    Stopped,
    /// It was dropped because nobody woke it any more.
    Stuck,
    /// It panicked.
    Panicked(String),
}

impl<T> End<T> {
    /// What it ended with; anything else breaks the rule.
    #[track_caller]
    pub(super) fn done(self, what: &str) -> T {
        match self {
            Self::Done(output) => output,
            Self::Stopped => panic!("{what}: stopped early"),
            Self::Stuck => panic!("{what}: it is pending and nothing will wake it"),
            Self::Panicked(message) => panic!("{what}: panicked: {message}"),
        }
    }
}

/// Runs a future in a task of its own until it ends or nobody wakes it any more.
pub(super) async fn drive<F>(future: F) -> End<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    drive_for(future, usize::MAX).await
}

/// The same, but drops the future after `polls` polls at the latest: 0 drops it before its first.
pub(super) async fn drive_for<F>(future: F, polls: usize) -> End<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    let mut task = tokio::spawn(Limited { future: Box::pin(future), left: polls, polled: 0 });
    let ended = match timeout(PATIENCE, &mut task).await {
        Ok(ended) => ended,
        Err(_) => {
            task.abort();
            match task.await {
                Err(error) if error.is_cancelled() => return End::Stuck,
                ended => ended,
            }
        }
    };
    match ended {
        Ok(Some(output)) => End::Done(output),
        Ok(None) => End::Stopped,
        Err(error) => End::Panicked(message_of(&*error.into_panic())),
    }
}

/// A future with a number of polls to live.
struct Limited<F> {
    future: Pin<Box<F>>,
    left: usize,
    polled: usize,
}

impl<F: Future> Future for Limited<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        self.polled += 1;
        assert!(self.polled < MAX_POLLS, "it wakes itself in a loop while it has nothing to do");
        match self.future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if self.left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// Readies an instance.
pub(super) async fn ready<V, S: CacheService<V>>(service: &mut S) -> Result<(), CacheError> {
    std::future::poll_fn(|cx| service.poll_ready(cx)).await
}

/// Readies an instance and calls it.
pub(super) async fn call<V, S: CacheService<V>>(
    mut service: S,
    request: CacheRequest<V>,
) -> Result<CacheResponse<V>, CacheError> {
    ready(&mut service).await?;
    service.call(request).await
}

/// Waits for a condition that other tasks bring about; `false` when they never do.
pub(super) async fn eventually(condition: impl Fn() -> bool) -> bool {
    let reached = async {
        // First without letting time pass, then with.
        for _ in 0..1000 {
            if condition() {
                return;
            }
            tokio::task::yield_now().await;
        }
        while !condition() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    timeout(PATIENCE, reached).await.is_ok()
}

/// The words of a panic.
pub(super) fn message_of(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| payload.downcast_ref::<&str>().map(|message| (*message).to_owned()))
        .unwrap_or_else(|| "a panic without words".to_owned())
}
