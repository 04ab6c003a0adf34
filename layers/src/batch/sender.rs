//! Who sends the batches of a lane.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, Waker};

use cachex_core::{
    CacheError, CacheRequest, CacheResponse, CacheService, ErrorKind, Key, Keys, Op, handover,
};
use tokio::runtime::Id;

use super::group::Answers;
use super::lane::Taken;
use super::lanes::Baton;

/// From so many callers on that wait behind a batch, the next goes out before the answered ones are woken.
const ENOUGH: usize = 16;

/// A task that sends the batches of one lane until nobody waits. It belongs to no caller.
pub(super) struct Sender<V, S>
where
    V: Send + Sync + 'static,
    S: CacheService<V>,
{
    /// The group whose batch is under way.
    sent: Option<u32>,
    /// The group whose callers are still to be told. Never while this task is suspended.
    answered: Option<(Taken, Answers<V>)>,
    done: bool,
    /// The runtime that is to run this task, until it does.
    spawned_on: Option<Id>,
    // Used again by every batch.
    wakers: Vec<Waker>,
    keys: Vec<Key>,
    // Dropped after `Drop::drop`: what is under way is settled before the lane goes on.
    baton: Baton<V, S>,
}

impl<V, S> Sender<V, S>
where
    V: Send + Sync + 'static,
    S: CacheService<V>,
{
    pub(super) fn new(baton: Baton<V, S>, runtime: Id) -> Self {
        let (wakers, keys) = (Vec::new(), Vec::new());
        Self { sent: None, answered: None, done: false, spawned_on: Some(runtime), wakers, keys, baton }
    }

    pub(super) async fn run(mut self) {
        self.spawned_on = None;
        // Whether the last batch was answered without a wait, so that others may not have run since.
        let mut at_once = false;
        loop {
            // Half as many as were answered, or more: the server has something to do before they are all awake.
            let enough = self.answered.as_ref().map(|(taken, _)| (taken.reads / 2).max(ENOUGH));
            if at_once || enough.is_none_or(|enough| self.baton.lane().waiting() < enough) {
                self.settle();
                // Callers that were just answered come back in a moment, one by one. Those who can run do so first.
                let_others_run().await;
            }
            let Some(taken) = self.baton.lane().take(&mut self.keys, self.baton.counters()) else {
                self.done = true;
                self.baton.forget();
                return;
            };
            self.sent = Some(taken.group);
            let keys: Arc<[Key]> = self.keys.drain(..).collect();
            let mut call = pin!(send(&self.baton, taken, keys));
            at_once = true;
            let answers = poll_fn(|cx| {
                let (polled, has_neighbor) = handover::watch(|| call.as_mut().poll(cx));
                // The next batch is on its way.
                settle(&self.baton, self.answered.take(), &mut self.wakers);
                at_once &= polled.is_ready();
                // The server is on this machine, and all cores may be busy with those who wait for it.
                if has_neighbor && polled.is_pending() && handover::give_way() {
                    self.baton.counters().give_way();
                }
                polled
            })
            .await;
            self.sent = None;
            self.answered = Some((taken, answers));
        }
    }

    fn settle(&mut self) {
        settle(&self.baton, self.answered.take(), &mut self.wakers);
    }
}

/// Tells and wakes those whose batch came back, if there are any.
fn settle<V, S>(baton: &Baton<V, S>, answered: Option<(Taken, Answers<V>)>, wakers: &mut Vec<Waker>)
where
    V: Send + Sync + 'static,
    S: CacheService<V>,
{
    if let Some((taken, answers)) = answered {
        baton.lane().settle(taken.group, answers, wakers);
    }
}

/// Sends a batch, unless and until nobody waits for it.
async fn send<V, S>(baton: &Baton<V, S>, taken: Taken, keys: Arc<[Key]>) -> Answers<V>
where
    V: Send + Sync + 'static,
    S: CacheService<V>,
{
    let request = match &*keys {
        // As it would have gone alone.
        [key] => CacheRequest::get(key.clone()),
        _ => CacheRequest::get_many(Keys::Many(Arc::clone(&keys))),
    };
    let mut inner = baton.lanes().inner.clone();
    let mut call = pin!(async {
        poll_fn(|cx| inner.poll_ready(cx)).await?;
        inner.call(request).await
    });
    let answer = poll_fn(|cx| {
        if baton.lane().is_abandoned(taken.group, cx.waker()) {
            return Poll::Ready(Err(CacheError::new(ErrorKind::Internal, "nobody waits for this batch")));
        }
        let polled = catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(cx)));
        polled.unwrap_or_else(|_| {
            let said = "the inner service panicked while it read a batch";
            Poll::Ready(Err(CacheError::new(ErrorKind::Internal, said).with_op(Op::Get)))
        })
    })
    .await;
    judge(baton, answer, keys, taken.reads)
}

/// What the answer means for each.
fn judge<V, S>(
    baton: &Baton<V, S>,
    answer: Result<CacheResponse<V>, CacheError>,
    keys: Arc<[Key]>,
    reads: usize,
) -> Answers<V>
where
    V: Send + Sync + 'static,
    S: CacheService<V>,
{
    if keys.len() == 1 {
        let found = answer.and_then(CacheResponse::into_get);
        if let Ok(Err(token)) = found {
            baton.lanes().fence.observe_token(token);
        }
        return found.map_or_else(Answers::Failed, Answers::One);
    }
    match answer.and_then(|answer| answer.into_many(keys.len())) {
        Ok(entries) => Answers::Many { entries, shared: keys.len() < reads, keys },
        Err(error) if befalls_all(error.kind()) => Answers::Failed(error.with_op(Op::Get)),
        Err(_) => Answers::Split(keys),
    }
}

/// Dropped before it was done, its runtime was shut down.
impl<V, S> Drop for Sender<V, S>
where
    V: Send + Sync + 'static,
    S: CacheService<V>,
{
    fn drop(&mut self) {
        // A panic between a batch and the next one, or those who waited for the next one left.
        self.settle();
        if self.done {
            return;
        }
        let lane = self.baton.lane();
        // Always someone, else the lane could be passed on to the same runtime for ever.
        let mut group = self.sent.or_else(|| Some(lane.take(&mut self.keys, self.baton.counters())?.group));
        if group.is_none() {
            self.baton.forget();
            return;
        }
        while let Some(failed) = group {
            let said = "the runtime that was to read a batch was shut down";
            let error = CacheError::new(ErrorKind::Closed, said).with_op(Op::Get);
            lane.settle(failed, Answers::Failed(error), &mut self.wakers);
            self.keys.clear();
            // A runtime that drops this task before it ran drops the next one too, and that one within this drop: one
            // after another, all who wait for it would not fit on the stack.
            let next = |id| lane.take_of(id, &mut self.keys, self.baton.counters());
            group = self.spawned_on.and_then(next).map(|taken| taken.group);
        }
    }
}

/// Goes to the end of the line of tasks that are ready to run.
///
/// tokio's `yield_now` waits until I/O has been looked for besides. That is a system call for each batch, and on a busy
/// thread the server has nothing to do meanwhile.
fn let_others_run() -> impl Future<Output = ()> {
    let mut went = false;
    poll_fn(move |cx| {
        if std::mem::replace(&mut went, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
}

/// Whether an error of this kind says something about the store, the way to it, or the load, so that every key alone would
/// have met it. Others may be due to one of the keys, or to the node that serves it, and each caller asks for itself.
fn befalls_all(kind: ErrorKind) -> bool {
    match kind {
        // Whatever else the server says: it may be about one key, or about the command for many.
        ErrorKind::Server => false,
        // A cluster's other keys may well be served.
        ErrorKind::ClusterDown | ErrorKind::MasterDown | ErrorKind::Loading => false,
        ErrorKind::Closed | ErrorKind::Internal => true,
        _ => kind.is_rejection() || kind.is_store_failure(),
    }
}
