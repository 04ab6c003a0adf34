//! What several scenarios use.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use cachex_core::{CacheError, CacheRequest, CacheResponse, Key};
use shuttle::rand::Rng;
use shuttle::thread::JoinHandle;
use tower_service::Service;

/// Polls `future` until it is over, or is given up at a moment of the explorer's choice, between two polls.
pub(crate) struct MayBeGivenUp<F>(Option<Pin<Box<F>>>);

impl<F: Future> MayBeGivenUp<F> {
    pub(crate) fn new(future: F) -> Self {
        Self(Some(Box::pin(future)))
    }
}

impl<F: Future> Future for MayBeGivenUp<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(future) = &mut self.0 else { return Poll::Ready(None) };
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            self.0 = None;
            return Poll::Ready(Some(output));
        }
        if chance() {
            self.0 = None;
            return Poll::Ready(None);
        }
        Poll::Pending
    }
}

/// A coin of the explorer's.
pub(crate) fn chance() -> bool {
    shuttle::rand::thread_rng().gen_bool(0.5)
}

pub(crate) fn key(text: &str) -> Key {
    Key::new(text).expect("a valid key")
}

/// Waits for threads that were all started before the first is waited for.
pub(crate) fn join(threads: impl IntoIterator<Item = JoinHandle<()>>) {
    for thread in threads.into_iter().collect::<Vec<_>>() {
        thread.join().expect("no thread panics");
    }
}

/// How many are inside at once.
#[derive(Debug, Default)]
pub(crate) struct Crowd {
    inside: AtomicUsize,
}

/// One who is inside.
pub(crate) struct Inside<'a>(&'a Crowd);

impl Crowd {
    /// Goes in, where there is room for `most`.
    pub(crate) fn enter(&self, most: usize) -> Inside<'_> {
        let inside = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
        assert!(inside <= most, "{inside} at once, {most} at most");
        Inside(self)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Permits that are reserved by being ready, as connections or places in a buffer are.
#[derive(Debug)]
pub(crate) struct Permits(Mutex<Free>);

#[derive(Debug)]
struct Free {
    permits: usize,
    waiting: Vec<(u64, Waker)>,
    last: u64,
}

/// A permit, the wait for one, or neither. Dropped, it is given back or given up: who waits is woken through the very claim
/// that was polled.
#[derive(Debug)]
pub(crate) struct Claim {
    permits: Arc<Permits>,
    held: bool,
    place: Option<u64>,
}

impl Permits {
    pub(crate) fn new(permits: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Free { permits, waiting: Vec::new(), last: 0 })))
    }

    pub(crate) fn claim(self: &Arc<Self>) -> Claim {
        Claim { permits: Arc::clone(self), held: false, place: None }
    }

    pub(crate) fn free(&self) -> usize {
        self.lock().permits
    }

    fn lock(&self) -> MutexGuard<'_, Free> {
        self.0.lock().expect("no panic under the lock")
    }
}

impl Claim {
    pub(crate) fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.held {
            return Poll::Ready(());
        }
        let mut free = self.permits.lock();
        let place = self.place.take();
        free.waiting.retain(|&(id, _)| Some(id) != place);
        if free.permits == 0 {
            free.last += 1;
            self.place = Some(free.last);
            let id = free.last;
            free.waiting.push((id, cx.waker().clone()));
            return Poll::Pending;
        }
        free.permits -= 1;
        self.held = true;
        Poll::Ready(())
    }

    /// The permit, which leaves nothing behind.
    pub(crate) fn take(&mut self) -> Self {
        assert!(self.held, "called without having been polled ready");
        let fresh = self.permits.claim();
        std::mem::replace(self, fresh)
    }

    /// A claim of one's own on the same permits.
    pub(crate) fn another(&self) -> Self {
        self.permits.claim()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut free = self.permits.lock();
        let place = self.place;
        free.waiting.retain(|&(id, _)| Some(id) != place);
        free.permits += usize::from(self.held);
        let woken = if self.held { std::mem::take(&mut free.waiting) } else { Vec::new() };
        drop(free);
        woken.into_iter().for_each(|(_, waker)| waker.wake());
    }
}

type Answer = Result<CacheResponse<u32>, CacheError>;
type BoxedAnswer = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// A store that is always ready and answers by a function.
#[derive(Clone)]
pub(crate) struct Leaf(Arc<dyn Fn(CacheRequest<u32>) -> BoxedAnswer + Send + Sync>);

impl Leaf {
    pub(crate) fn new<F, Fut>(answer: F) -> Self
    where
        F: Fn(CacheRequest<u32>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Answer> + Send + 'static,
    {
        Self(Arc::new(move |request| Box::pin(answer(request))))
    }
}

impl Service<CacheRequest<u32>> for Leaf {
    type Response = CacheResponse<u32>;
    type Error = CacheError;
    type Future = BoxedAnswer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), CacheError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: CacheRequest<u32>) -> BoxedAnswer {
        (self.0)(request)
    }
}
