//! Layers that break the contract, one rule each.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker};

use tokio::sync::Semaphore;
use tower_layer::Layer;
use tower_service::Service;

use super::CONCURRENCY;
use super::right::Answer;
use crate::error::{CacheError, ErrorKind};
use crate::local::FillToken;
use crate::request::{CacheRequest, Op};
use crate::response::CacheResponse;
use crate::testing::{Leaf, LeafFuture};
use crate::ttl::Ttl;

/// A layer that is a function.
pub(super) struct Broken<F>(pub(super) F);

impl<F> fmt::Debug for Broken<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Broken")
    }
}

impl<S, F: Fn(Leaf<String>) -> S> Layer<Leaf<String>> for Broken<F> {
    type Service = S;

    fn layer(&self, inner: Leaf<String>) -> S {
        (self.0)(inner)
    }
}

type Request = CacheRequest<String>;
type Response = Result<CacheResponse<String>, CacheError>;

/// A service with the fields given, whose `call` is the body given; `poll_ready` forwards unless given too.
macro_rules! broken {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty = $init:expr),* }
     $(ready($ready_self:ident, $cx:ident) $ready:block)?
     call($self:ident, $request:ident) -> $future:ty $body:block) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub(super) struct $name { inner: Leaf<String>, $($field: $type),* }

        impl $name {
            pub(super) fn new(inner: Leaf<String>) -> Self {
                Self { inner, $($field: $init),* }
            }
        }

        impl Service<Request> for $name {
            type Response = CacheResponse<String>;
            type Error = CacheError;
            type Future = $future;

            broken!(@ready $($ready_self, $cx, $ready)?);

            fn call(&mut $self, $request: Request) -> $future $body
        }
    };
    (@ready) => {
        fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CacheError>> {
            self.inner.poll_ready(cx)
        }
    };
    (@ready $self:ident, $cx:ident, $body:block) => {
        fn poll_ready(&mut $self, $cx: &mut Context<'_>) -> Poll<Result<(), CacheError>> $body
    };
}

broken! {
    /// The classic: readies one instance and calls a clone of it.
    CallsAClone {}
    call(self, request) -> LeafFuture<String> { self.inner.clone().call(request) }
}

broken! {
    /// The first attempt is right, the second is not readied.
    RetriesUnready {}
    call(self, request) -> Answer {
        let first = self.inner.call(request.clone());
        let mut again = self.inner.clone();
        Box::pin(async move {
            match first.await {
                Err(_) => again.call(request).await,
                answer => answer,
            }
        })
    }
}

/// Every clone believes to be ready when one is.
#[derive(Debug)]
pub(super) struct SharesReadiness {
    inner: Leaf<String>,
    ready: bool,
}

impl SharesReadiness {
    pub(super) fn new(inner: Leaf<String>) -> Self {
        Self { inner, ready: false }
    }
}

impl Clone for SharesReadiness {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), ready: self.ready }
    }
}

impl Service<Request> for SharesReadiness {
    type Response = CacheResponse<String>;
    type Error = CacheError;
    type Future = LeafFuture<String>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CacheError>> {
        if self.ready {
            return Poll::Ready(Ok(()));
        }
        let ready = self.inner.poll_ready(cx);
        self.ready = matches!(ready, Poll::Ready(Ok(())));
        ready
    }

    fn call(&mut self, request: Request) -> LeafFuture<String> {
        self.ready = false;
        self.inner.call(request)
    }
}

broken! {
    /// All clones wait for one another.
    OneAtATime { lock: Arc<tokio::sync::Mutex<()>> = Arc::default() }
    call(self, request) -> Answer {
        let clone = self.inner.clone();
        let mut readied = std::mem::replace(&mut self.inner, clone);
        let lock = Arc::clone(&self.lock);
        Box::pin(async move {
            let _guard = lock.lock().await;
            readied.call(request).await
        })
    }
}

broken! {
    /// Gives its permit back at the end of a call, but not if the call is dropped before.
    ForgetsPermits { permits: Arc<Semaphore> = Arc::new(Semaphore::new(CONCURRENCY)) }
    call(self, request) -> Answer {
        let clone = self.inner.clone();
        let mut readied = std::mem::replace(&mut self.inner, clone);
        let permits = Arc::clone(&self.permits);
        Box::pin(async move {
            match Arc::clone(&permits).try_acquire_owned() {
                Ok(permit) => permit.forget(),
                Err(_) => return Err(CacheError::rejection(ErrorKind::BulkheadFull, None)),
            }
            let answer = readied.call(request).await;
            permits.add_permits(1);
            answer
        })
    }
}

/// A queue that hands its permits on: who leaves it gives no thought to a permit that has come in the meantime.
#[derive(Debug, Default)]
pub(super) struct Turns {
    taken: usize,
    queue: VecDeque<Arc<Mutex<Place>>>,
}

/// Whether the turn has come, and whom to tell.
#[derive(Debug, Default)]
struct Place(bool, Option<Waker>);

impl Turns {
    fn leave(turns: &Mutex<Self>) {
        let mut turns = turns.lock().unwrap();
        // Handed on, even to one who is gone.
        if let Some(next) = turns.queue.pop_front() {
            let mut next = next.lock().unwrap();
            next.0 = true;
            if let Some(waker) = next.1.take() {
                waker.wake();
            }
        } else {
            turns.taken -= 1;
        }
    }
}

struct Turn(Arc<Mutex<Turns>>);

impl Drop for Turn {
    fn drop(&mut self) {
        Turns::leave(&self.0);
    }
}

broken! {
    /// Forgets the turn of one who is dropped between being woken and being polled.
    ForgetsTurns { turns: Arc<Mutex<Turns>> = Arc::default() }
    call(self, request) -> Answer {
        let clone = self.inner.clone();
        let mut readied = std::mem::replace(&mut self.inner, clone);
        let turns = Arc::clone(&self.turns);
        Box::pin(async move {
            let place = {
                let mut turns = turns.lock().unwrap();
                if turns.taken < CONCURRENCY {
                    turns.taken += 1;
                    None
                } else {
                    let place = Arc::<Mutex<Place>>::default();
                    turns.queue.push_back(Arc::clone(&place));
                    Some(place)
                }
            };
            if let Some(place) = place {
                let mut granted = pin!(std::future::poll_fn(|cx| {
                    let mut place = place.lock().unwrap();
                    place.1 = Some(cx.waker().clone());
                    if place.0 { Poll::Ready(()) } else { Poll::Pending }
                }));
                granted.as_mut().await;
            }
            let _turn = Turn(turns);
            readied.call(request).await
        })
    }
}

broken! {
    /// Lets the inner call go on when its own is dropped.
    Detaches {}
    call(self, request) -> Answer {
        let future = self.inner.call(request);
        Box::pin(async move { tokio::spawn(future).await.map_err(|_| CacheError::new(ErrorKind::Internal, "ended"))? })
    }
}

broken! {
    /// Is left in pieces by a panic of the inner service.
    Swallows { poison: Arc<Mutex<()>> = Arc::default() }
    call(self, request) -> Answer {
        let (poison, future) = (Arc::clone(&self.poison), self.inner.call(request));
        Box::pin(async move {
            let mut future = pin!(future);
            std::future::poll_fn(|cx| {
                let _guard = poison.lock().expect("poisoned");
                future.as_mut().poll(cx)
            })
            .await
        })
    }
}

broken! {
    /// Asks for readiness without saying whom to wake.
    LosesReadiness {}
    ready(self, _cx) { self.inner.poll_ready(&mut Context::from_waker(Waker::noop())) }
    call(self, request) -> LeafFuture<String> { self.inner.call(request) }
}

/// Goes on waking whoever polled first.
pub(super) struct FirstWaker(LeafFuture<String>, Option<Waker>);

impl Future for FirstWaker {
    type Output = Response;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Response> {
        let first = self.1.get_or_insert_with(|| cx.waker().clone()).clone();
        Pin::new(&mut self.0).poll(&mut Context::from_waker(&first))
    }
}

broken! {
    /// Its future goes on waking whoever polled it first.
    KeepsFirstWaker {}
    call(self, request) -> FirstWaker { FirstWaker(self.inner.call(request), None) }
}

broken! {
    /// Wakes itself for as long as the inner service is silent.
    Spins {}
    call(self, request) -> Answer {
        let future = self.inner.call(request);
        Box::pin(async move {
            let mut future = pin!(future);
            std::future::poll_fn(|cx| {
                cx.waker().wake_by_ref();
                future.as_mut().poll(cx)
            })
            .await
        })
    }
}

broken! {
    /// Shows the last key it saw.
    Talks { last: Arc<Mutex<String>> = Arc::default() }
    call(self, request) -> LeafFuture<String> {
        if let Some(key) = request.keys().next() {
            *self.last.lock().unwrap() = key.as_str().to_owned();
        }
        self.inner.call(request)
    }
}

broken! {
    /// Knows better than to ask.
    AnswersPing {}
    call(self, request) -> Answer {
        if request.op() == Op::Ping {
            return Box::pin(std::future::ready(Ok(CacheResponse::Done)));
        }
        Box::pin(self.inner.call(request))
    }
}

broken! {
    /// Takes the lifetime from writes.
    DropsTtl {}
    call(self, request) -> LeafFuture<String> {
        let mut request = request;
        if let CacheRequest::Set(set) = &mut request {
            Arc::make_mut(set).ttl = Ttl::Default;
        }
        self.inner.call(request)
    }
}

broken! {
    /// Clones values.
    CopiesValues {}
    call(self, request) -> LeafFuture<String> {
        let copied = request.try_map_values::<_, CacheError>(|_, value| Ok(Arc::new(String::clone(&value))));
        self.inner.call(copied.unwrap())
    }
}

broken! {
    /// Finds nothing.
    TurnsHitsIntoMisses {}
    call(self, request) -> Answer {
        let future = self.inner.call(request);
        Box::pin(async move {
            Ok(match future.await? {
                CacheResponse::Hit(_) => CacheResponse::Miss(FillToken::UNFENCED),
                other => other,
            })
        })
    }
}

broken! {
    /// Calls everything internal.
    RenamesErrors {}
    call(self, request) -> Answer {
        let future = self.inner.call(request);
        Box::pin(async move {
            future.await.map_err(|error| CacheError::with_source(ErrorKind::Internal, "internal", error))
        })
    }
}

broken! {
    /// Keeps the kind of an error and loses its cause.
    DropsSources {}
    call(self, request) -> Answer {
        let future = self.inner.call(request);
        Box::pin(async move {
            future.await.map_err(|error| CacheError::new(error.kind(), error.message().to_owned()))
        })
    }
}

broken! {
    /// Its futures look back at the service.
    NeedsItsService { state: Arc<()> = Arc::new(()) }
    call(self, request) -> Answer {
        let (state, future): (Weak<()>, _) = (Arc::downgrade(&self.state), self.inner.call(request));
        Box::pin(async move {
            let answer = future.await;
            state.upgrade().map_or_else(|| Err(CacheError::new(ErrorKind::Closed, "gone")), |_| answer)
        })
    }
}

broken! {
    /// Its futures must stay on the thread they were made on.
    StaysOnItsThread {}
    call(self, request) -> Answer {
        let (home, future) = (std::thread::current().id(), self.inner.call(request));
        Box::pin(async move {
            let mut future = pin!(future);
            std::future::poll_fn(|cx| {
                assert_eq!(std::thread::current().id(), home);
                future.as_mut().poll(cx)
            })
            .await
        })
    }
}

broken! {
    /// Takes a permit each time it is asked whether it is ready, and gives one back after a call.
    ReservesEveryTime { permits: Arc<Semaphore> = Arc::new(Semaphore::new(CONCURRENCY)) }
    ready(self, cx) {
        match self.permits.try_acquire() {
            Ok(permit) => permit.forget(),
            Err(_) => return Poll::Ready(Err(CacheError::rejection(ErrorKind::BulkheadFull, None))),
        }
        self.inner.poll_ready(cx)
    }
    call(self, request) -> Answer {
        let (permits, future) = (Arc::clone(&self.permits), self.inner.call(request));
        Box::pin(async move {
            let answer = future.await;
            permits.add_permits(1);
            answer
        })
    }
}

broken! {
    /// Keeps a readied instance for later.
    KeepsWhatIsReady { kept: Arc<Mutex<Option<Leaf<String>>>> = Arc::default() }
    ready(self, cx) {
        let mut spare = self.inner.clone();
        if spare.poll_ready(cx).is_ready() {
            *self.kept.lock().unwrap() = Some(spare);
        }
        self.inner.poll_ready(cx)
    }
    call(self, request) -> LeafFuture<String> { self.inner.call(request) }
}
