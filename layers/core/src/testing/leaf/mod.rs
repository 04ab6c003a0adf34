//! A scripted service at the bottom of a stack under test.

use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroU64;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use tokio::sync::Notify;
use tower_service::Service;

mod future;
mod outcome;

pub use future::LeafFuture;
pub use outcome::{Outcome, Readiness};

use self::outcome::{End, Waiting, planned_panic};
use crate::error::CacheError;
use crate::local::FillToken;
use crate::request::CacheRequest;
use crate::response::{CacheResponse, FencingToken, KeyTtl};
use crate::subscription::{Invalidation, Subscription};

/// A scripted [`CacheService`](crate::CacheService), to stand beneath the layer that is tested.
///
/// It answers as an empty store that accepts everything (`Get` misses, `Set` is applied, `Increment` answers its delta,
/// a lock is taken) until it is told otherwise:
///
/// 1. outcomes given to [`push`](Self::push) are used up first, one per call,
/// 2. then the function given to [`answer_with`](Self::answer_with) decides,
/// 3. then the default answer.
///
/// Readiness is scripted in the same way ([`push_readiness`](Self::push_readiness), [`ready_with`](Self::ready_with)).
///
/// Clones share script, counts and recorded requests, but not readiness: each has to be readied by itself, once per
/// call. **`call` on an instance that was not readied since its last call panics**, which is what a real service may do
/// and what most layers get wrong first; [`violations`](Self::violations) counts it, should the panic be swallowed.
///
/// ```
/// use cachex_core::testing::{Leaf, Outcome};
/// use cachex_core::{CacheRequest, Key};
/// use tower_service::Service;
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let leaf = Leaf::<String>::new();
/// leaf.push(Outcome::hit("Paris".to_owned()).after(std::time::Duration::from_millis(1)));
///
/// let mut stack = leaf.clone(); // a layer over it, usually
/// std::future::poll_fn(|cx| stack.poll_ready(cx)).await?;
/// let answer = stack.call(CacheRequest::get(Key::new("capital:FR")?)).await?;
/// assert_eq!(answer.is_hit(), Some(true));
/// assert_eq!((leaf.calls(), leaf.completed(), leaf.in_flight()), (1, 1, 0));
/// # Ok::<(), cachex_core::CacheError>(()) }).unwrap();
/// ```
pub struct Leaf<V> {
    shared: Arc<Shared<V>>,
    state: State,
}

/// How far one clone is on the way to its next call.
enum State {
    Idle,
    Waiting(Waiting, Result<(), CacheError>),
    Ready,
}

type AnswerFn<V> = Arc<dyn Fn(&CacheRequest<V>, u64) -> Outcome<V> + Send + Sync>;
type ReadyFn = Arc<dyn Fn(u64) -> Readiness + Send + Sync>;

struct Shared<V> {
    script: Mutex<Script<V>>,
    counts: Mutex<Counts>,
    changed: Notify,
}

struct Script<V> {
    outcomes: VecDeque<Outcome<V>>,
    answer: Option<AnswerFn<V>>,
    readiness: VecDeque<Readiness>,
    ready: Option<ReadyFn>,
    requests: Vec<CacheRequest<V>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    calls: u64,
    completed: u64,
    cancelled: u64,
    panicked: u64,
    in_flight: usize,
    peak_in_flight: usize,
    reserved: usize,
    readied: u64,
    ready_polls: u64,
    violations: u64,
}

impl<V> Shared<V> {
    fn script(&self) -> MutexGuard<'_, Script<V>> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count<R>(&self, change: impl FnOnce(&mut Counts) -> R) -> R {
        let result = change(&mut self.counts());
        self.changed.notify_waiters();
        result
    }
}

impl<V> Leaf<V> {
    /// A leaf that is ready at once and gives the default answers at once.
    #[must_use]
    pub fn new() -> Self {
        let script = Script {
            outcomes: VecDeque::new(),
            answer: None,
            readiness: VecDeque::new(),
            ready: None,
            requests: Vec::new(),
        };
        let shared = Shared { script: Mutex::new(script), counts: Mutex::default(), changed: Notify::new() };
        Self { shared: Arc::new(shared), state: State::Idle }
    }

    /// Scripts the next call that has nothing scripted yet.
    pub fn push(&self, outcome: Outcome<V>) {
        self.shared.script().outcomes.push_back(outcome);
    }

    /// Decides calls for which nothing is pushed. The function sees the request and the number of the call, which counts
    /// from zero over all clones.
    pub fn answer_with(&self, answer: impl Fn(&CacheRequest<V>, u64) -> Outcome<V> + Send + Sync + 'static) {
        self.shared.script().answer = Some(Arc::new(answer));
    }

    /// Scripts the next readiness that has nothing scripted yet. One is used up per call, whichever clone asks.
    pub fn push_readiness(&self, readiness: Readiness) {
        self.shared.script().readiness.push_back(readiness);
    }

    /// Decides readiness for which nothing is pushed. The function sees how often a clone began to get ready, from zero.
    pub fn ready_with(&self, ready: impl Fn(u64) -> Readiness + Send + Sync + 'static) {
        self.shared.script().ready = Some(Arc::new(ready));
    }

    /// Forgets the script: ready at once, default answers. Counts and recorded requests stay; what is under way goes on.
    pub fn reset(&self) {
        let mut script = self.shared.script();
        script.outcomes.clear();
        script.answer = None;
        script.readiness.clear();
        script.ready = None;
    }

    /// How often `call` was called.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.shared.counts().calls
    }

    /// How many calls ended with a response or an error.
    #[must_use]
    pub fn completed(&self) -> u64 {
        self.shared.counts().completed
    }

    /// How many calls' futures were dropped before they ended.
    #[must_use]
    pub fn cancelled(&self) -> u64 {
        self.shared.counts().cancelled
    }

    /// How many calls ended in their scripted panic.
    #[must_use]
    pub fn panicked(&self) -> u64 {
        self.shared.counts().panicked
    }

    /// How many calls' futures exist and have not ended.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.shared.counts().in_flight
    }

    /// The most calls that were ever in flight at once.
    #[must_use]
    pub fn peak_in_flight(&self) -> usize {
        self.shared.counts().peak_in_flight
    }

    /// How many clones are readied and have not been called yet: what would hold a permit in a real service.
    #[must_use]
    pub fn reserved(&self) -> usize {
        self.shared.counts().reserved
    }

    /// How often `poll_ready` was called.
    #[must_use]
    pub fn ready_polls(&self) -> u64 {
        self.shared.counts().ready_polls
    }

    /// How often `call` was called on an instance that was not readied for it.
    #[must_use]
    pub fn violations(&self) -> u64 {
        self.shared.counts().violations
    }

    /// The requests that arrived, in order: a clone of each.
    #[must_use]
    pub fn requests(&self) -> Vec<CacheRequest<V>> {
        self.shared.script().requests.clone()
    }

    /// Takes the requests that arrived so far.
    #[must_use]
    pub fn take_requests(&self) -> Vec<CacheRequest<V>> {
        std::mem::take(&mut self.shared.script().requests)
    }

    /// Waits until `count` calls have arrived in all. Cancel safe.
    pub async fn wait_for_calls(&self, count: u64) {
        self.wait_until(|counts| counts.calls >= count).await;
    }

    /// Waits until exactly `count` calls are in flight. Cancel safe.
    pub async fn wait_for_in_flight(&self, count: usize) {
        self.wait_until(|counts| counts.in_flight == count).await;
    }

    async fn wait_until(&self, done: impl Fn(&Counts) -> bool) {
        loop {
            let mut changed = pin!(self.shared.changed.notified());
            // Registered before looking, so that a change in between is not missed.
            changed.as_mut().enable();
            if done(&self.shared.counts()) {
                return;
            }
            changed.await;
        }
    }

    fn next_readiness(&self) -> Readiness {
        let (ready, number) = {
            let mut script = self.shared.script();
            let number = self.shared.count(|counts| {
                counts.readied += 1;
                counts.readied - 1
            });
            if let Some(readiness) = script.readiness.pop_front() {
                return readiness;
            }
            (script.ready.clone(), number)
        };
        ready.map_or_else(Readiness::now, |ready| ready(number))
    }

    fn next_outcome(&self, request: &CacheRequest<V>) -> Outcome<V> {
        let (answer, number) = {
            let mut script = self.shared.script();
            script.requests.push(request.clone());
            let number = self.shared.count(|counts| {
                counts.calls += 1;
                counts.calls - 1
            });
            if let Some(outcome) = script.outcomes.pop_front() {
                return outcome;
            }
            (script.answer.clone(), number)
        };
        // Outside the lock: the function may look at the leaf.
        answer.map_or_else(Outcome::default_answer, |answer| answer(request, number))
    }
}

impl<V> Default for Leaf<V> {
    fn default() -> Self {
        Self::new()
    }
}

/// The clone is not ready, even if this one is.
impl<V> Clone for Leaf<V> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), state: State::Idle }
    }
}

impl<V> Drop for Leaf<V> {
    fn drop(&mut self) {
        if matches!(self.state, State::Ready) {
            self.shared.count(|counts| counts.reserved -= 1);
        }
    }
}

impl<V> fmt::Debug for Leaf<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf").field("counts", &*self.shared.counts()).finish_non_exhaustive()
    }
}

impl<V: Send + Sync + 'static> Service<CacheRequest<V>> for Leaf<V> {
    type Response = CacheResponse<V>;
    type Error = CacheError;
    type Future = LeafFuture<V>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CacheError>> {
        self.shared.count(|counts| counts.ready_polls += 1);
        loop {
            match &mut self.state {
                // Idle => Waiting
                State::Idle => {
                    let Readiness { wait, end } = self.next_readiness();
                    self.state = State::Waiting(wait.into(), end);
                }
                // Waiting => (Ready | Idle)
                State::Waiting(waiting, end) => {
                    ready!(waiting.poll(cx));
                    let end = end.clone();
                    self.state = match end {
                        Ok(()) => State::Ready,
                        Err(_) => State::Idle,
                    };
                    if end.is_ok() {
                        self.shared.count(|counts| counts.reserved += 1);
                    }
                    return Poll::Ready(end);
                }
                State::Ready => return Poll::Ready(Ok(())),
            }
        }
    }

    fn call(&mut self, request: CacheRequest<V>) -> LeafFuture<V> {
        // Ready => Idle
        if !matches!(std::mem::replace(&mut self.state, State::Idle), State::Ready) {
            self.shared.count(|counts| counts.violations += 1);
            panic!(
                "tower's contract is broken: `{}` was called on an instance of the leaf that was not readied since its \
                 last call; `poll_ready` must answer Ok on the very instance that is called",
                request.op()
            );
        }
        self.shared.count(|counts| counts.reserved -= 1);
        let Outcome { wait, end } = self.next_outcome(&request);
        if let End::PanicInCall(message) = end {
            self.shared.count(|counts| counts.panicked += 1);
            planned_panic(message);
        }
        LeafFuture::new(wait.into(), end, default_answer(&request), Arc::clone(&self.shared))
    }
}

/// What an empty store that accepts everything would say.
fn default_answer<V>(request: &CacheRequest<V>) -> CacheResponse<V> {
    match request {
        CacheRequest::Get(_) => CacheResponse::Miss(FillToken::UNFENCED),
        CacheRequest::GetMany(many) => {
            CacheResponse::Many(many.keys.as_slice().iter().map(|_| None).collect())
        }
        CacheRequest::Set(_) => CacheResponse::Applied(true),
        CacheRequest::Delete(_) | CacheRequest::Exists(_) | CacheRequest::Publish(_) => {
            CacheResponse::Count(0)
        }
        CacheRequest::Ttl(_) => CacheResponse::Ttl(KeyTtl::Missing),
        CacheRequest::Expire(_) | CacheRequest::AddTags(_) => CacheResponse::Applied(false),
        CacheRequest::Increment(increment) => CacheResponse::Integer(increment.delta),
        CacheRequest::Lock(_) => CacheResponse::Locked(Some(FencingToken(NonZeroU64::MIN))),
        CacheRequest::ExtendLock(_) | CacheRequest::Unlock(_) => CacheResponse::Applied(true),
        CacheRequest::Subscribe => CacheResponse::Subscribed(Subscription::new(Silence)),
        CacheRequest::SetMany(_)
        | CacheRequest::InvalidateTags(_)
        | CacheRequest::Ping
        | CacheRequest::Close => CacheResponse::Done,
    }
}

/// A subscription on which nothing is ever said.
struct Silence;

impl Stream for Silence {
    type Item = Invalidation;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Invalidation>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests;
