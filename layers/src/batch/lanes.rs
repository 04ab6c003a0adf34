//! The lanes of one service, and who has one of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::task::{Poll, Waker};

use cachex_core::{CacheError, CacheResponse, CacheService, ErrorKind, FillToken, Key};
use tokio::runtime::Handle;

use super::counters::LaneCounters;
use super::group::Told;
use super::lane::{Holder, Join, Lane, Place};
use super::layer::Shared;
use super::sender::Sender;

/// The lanes for values of one type, over the service their batches go to.
pub(super) struct Lanes<V, S> {
    pub(super) inner: S,
    pub(super) fence: Fence,
    shared: Arc<Shared>,
    lanes: Box<[Lane<V>]>,
}

impl<V, S> Lanes<V, S> {
    pub(super) fn new(inner: S, shared: Arc<Shared>) -> Self {
        let lanes = (0..shared.settings.lanes).map(|_| Lane::new()).collect();
        Self { inner, fence: Fence::default(), shared, lanes }
    }

    pub(super) fn lane(&self, lane: usize) -> &Lane<V> {
        &self.lanes[lane]
    }

    pub(super) fn counters(&self, lane: usize) -> &LaneCounters {
        self.shared.counters.lane(lane)
    }

    /// The same part of all hashes as the `RedisStore` gives to one connection, when it has as many.
    #[inline]
    fn lane_of(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.lanes.len() as u128) >> 64) as usize
    }
}

/// What has become of a read.
pub(super) enum Entered<V, S>
where
    V: Send + Sync + 'static,
    S: CacheService<V>,
{
    /// It passes alone.
    Alone(Baton<V, S>),
    /// It waits.
    Waiting(Seat<V, S>),
    /// Too many wait.
    Full,
}

/// Takes a read's lane, or a seat in it.
#[inline]
pub(super) fn enter<V, S>(lanes: Arc<Lanes<V, S>>, key: &Key, waker: &Waker) -> Entered<V, S>
where
    V: Send + Sync + 'static,
    S: CacheService<V>,
{
    let at = lanes.lane_of(key.hash_code());
    let counters = lanes.counters(at);
    if lanes.fence.is_kept() {
        counters.pass(1);
        return Entered::Alone(Baton::none(lanes));
    }
    match lanes.lane(at).join(key, waker, &lanes.shared.settings, counters) {
        Join::Alone(holder) => {
            counters.pass(1);
            Entered::Alone(Baton { lanes, at, holder })
        }
        Join::Waiting(place, runtime) => {
            let seat = Seat { lanes, at, place, open: true };
            if let Some(runtime) = runtime {
                send_from(Arc::clone(&seat.lanes), at, runtime);
            }
            Entered::Waiting(seat)
        }
        Join::Apart => {
            counters.pass(1);
            Entered::Alone(Baton::none(lanes))
        }
        Join::Full => Entered::Full,
    }
}

/// Has the batches of a lane, which is the sender's, sent from `runtime`.
fn send_from<V, S>(lanes: Arc<Lanes<V, S>>, at: usize, runtime: Handle)
where
    V: Send + Sync + 'static,
    S: CacheService<V>,
{
    let baton = Baton { lanes, at, holder: Holder::Sender };
    // A runtime that was shut down drops the sender at once, which fails its groups at the front and passes the lane on.
    drop(runtime.spawn(Sender::new(baton, runtime.id()).run()));
}

/// Who holds it may send in its lane. Dropping it passes the lane on, if it was not taken over.
pub(super) struct Baton<V, S>
where
    V: Send + Sync + 'static,
    S: CacheService<V>,
{
    lanes: Arc<Lanes<V, S>>,
    at: usize,
    /// `Nobody` for none.
    holder: Holder,
}

impl<V, S> Baton<V, S>
where
    V: Send + Sync + 'static,
    S: CacheService<V>,
{
    /// One for no lane: for a read that passes beside them.
    pub(super) fn none(lanes: Arc<Lanes<V, S>>) -> Self {
        Self { lanes, at: 0, holder: Holder::Nobody }
    }

    pub(super) fn lanes(&self) -> &Lanes<V, S> {
        &self.lanes
    }

    pub(super) fn lane(&self) -> &Lane<V> {
        self.lanes.lane(self.at)
    }

    pub(super) fn counters(&self) -> &LaneCounters {
        self.lanes.counters(self.at)
    }

    /// The lane is idle already.
    pub(super) fn forget(&mut self) {
        self.holder = Holder::Nobody;
    }
}

impl<V, S> Drop for Baton<V, S>
where
    V: Send + Sync + 'static,
    S: CacheService<V>,
{
    fn drop(&mut self) {
        if self.holder != Holder::Nobody
            && let Some(runtime) = self.lane().pass_on(self.holder)
        {
            send_from(Arc::clone(&self.lanes), self.at, runtime);
        }
    }
}

/// A place in a lane. Dropping it gives it up.
pub(super) struct Seat<V, S>
where
    V: Send + Sync + 'static,
    S: CacheService<V>,
{
    lanes: Arc<Lanes<V, S>>,
    at: usize,
    place: Place,
    open: bool,
}

impl<V, S> Seat<V, S>
where
    V: Send + Sync + 'static,
    S: CacheService<V>,
{
    pub(super) fn lanes(&self) -> &Arc<Lanes<V, S>> {
        &self.lanes
    }

    /// What there is to tell; the place is then given up.
    pub(super) fn poll(&mut self, waker: &Waker) -> Poll<Told<V>> {
        if !self.open {
            let error = CacheError::new(ErrorKind::Internal, "a future was polled after it had ended");
            return Poll::Ready(Told::Answer(Err(error)));
        }
        let told = self.lanes.lane(self.at).poll(self.place, waker, self.lanes.fence.is_absent());
        self.open = told.is_pending();
        told
    }
}

impl<V, S> Drop for Seat<V, S>
where
    V: Send + Sync + 'static,
    S: CacheService<V>,
{
    fn drop(&mut self) {
        if self.open {
            self.lanes.lane(self.at).leave(self.place, self.lanes.counters(self.at));
        }
    }
}

/// Whether the misses of the inner service hand out fences, as far as its answers have told.
///
/// Answers to many keys carry none. Where fences are kept, a load after such an answer could store what was deleted
/// meanwhile; so no miss is told from a batch before a single read has shown that there are none.
#[derive(Debug, Default)]
pub(super) struct Fence(AtomicU8);

impl Fence {
    const ABSENT: u8 = 1;
    const KEPT: u8 = 2;

    /// Learns from the answer to a single read. Unknown => (Absent | Kept), Absent => Kept.
    #[inline]
    pub(super) fn observe<V>(&self, answer: &Result<CacheResponse<V>, CacheError>) {
        if let Ok(CacheResponse::Miss(token)) = answer {
            self.observe_token(*token);
        }
    }

    #[inline]
    pub(super) fn observe_token(&self, token: FillToken) {
        let seen = if token == FillToken::UNFENCED { Self::ABSENT } else { Self::KEPT };
        if self.0.load(Relaxed) < seen {
            self.0.fetch_max(seen, Relaxed);
        }
    }

    #[inline]
    fn is_absent(&self) -> bool {
        self.0.load(Relaxed) == Self::ABSENT
    }

    #[inline]
    fn is_kept(&self) -> bool {
        self.0.load(Relaxed) == Self::KEPT
    }
}
