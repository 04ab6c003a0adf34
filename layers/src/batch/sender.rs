//! Who sends the batches of a lane.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, Waker};

use cachex_core::{CacheError, CacheRequest, CacheResponse, CacheService, ErrorKind, Key, Keys, Op};

use super::group::Answers;
use super::lane::Taken;
use super::lanes::Baton;

/// A task that sends the batches of one lane until nobody waits. It belongs to no caller.
pub(super) struct Sender<V, S>
where
    V: Send + Sync + 'static,
    S: CacheService<V>,
{
    /// The group whose batch is under way.
    sent: Option<u32>,
    done: bool,
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
    pub(super) fn new(baton: Baton<V, S>) -> Self {
        Self { sent: None, done: false, wakers: Vec::new(), keys: Vec::new(), baton }
    }

    pub(super) async fn run(mut self) {
        loop {
            // Callers that were just answered come back in a moment, one by one. Those who can run do so first.
            let_others_run().await;
            let Some(taken) = self.baton.lane().take(&mut self.keys, self.baton.counters()) else {
                self.done = true;
                self.baton.forget();
                return;
            };
            self.sent = Some(taken.group);
            let answers = self.send(taken).await;
            self.sent = None;
            self.baton.lane().settle(taken.group, answers, &mut self.wakers);
        }
    }

    /// Sends a batch, unless and until nobody waits for it.
    async fn send(&mut self, taken: Taken) -> Answers<V> {
        let keys: Arc<[Key]> = self.keys.drain(..).collect();
        let request = match &*keys {
            // As it would have gone alone.
            [key] => CacheRequest::get(key.clone()),
            _ => CacheRequest::get_many(Keys::Many(Arc::clone(&keys))),
        };
        let mut inner = self.baton.lanes().inner.clone();
        let mut call = pin!(async {
            std::future::poll_fn(|cx| inner.poll_ready(cx)).await?;
            inner.call(request).await
        });
        let answer = std::future::poll_fn(|cx| {
            if self.baton.lane().is_abandoned(taken.group, cx.waker()) {
                return Poll::Ready(Err(CacheError::new(ErrorKind::Internal, "nobody waits for this batch")));
            }
            let polled = catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(cx)));
            polled.unwrap_or_else(|_| {
                let said = "the inner service panicked while it read a batch";
                Poll::Ready(Err(CacheError::new(ErrorKind::Internal, said).with_op(Op::Get)))
            })
        })
        .await;
        self.judge(answer, keys, taken.reads)
    }

    /// What the answer means for each.
    fn judge(
        &self,
        answer: Result<CacheResponse<V>, CacheError>,
        keys: Arc<[Key]>,
        reads: usize,
    ) -> Answers<V> {
        if keys.len() == 1 {
            let found = answer.and_then(CacheResponse::into_get);
            if let Ok(Err(token)) = found {
                self.baton.lanes().fence.observe_token(token);
            }
            return found.map_or_else(Answers::Failed, Answers::One);
        }
        match answer.and_then(|answer| answer.into_many(keys.len())) {
            Ok(entries) => Answers::Many { entries, shared: keys.len() < reads, keys },
            Err(error) if befalls_all(error.kind()) => Answers::Failed(error.with_op(Op::Get)),
            Err(_) => Answers::Split(keys),
        }
    }
}

/// Dropped before it was done, its runtime was shut down.
impl<V, S> Drop for Sender<V, S>
where
    V: Send + Sync + 'static,
    S: CacheService<V>,
{
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let lane = self.baton.lane();
        // Always someone, else the lane could be passed on to the same runtime for ever.
        let group = self.sent.or_else(|| Some(lane.take(&mut self.keys, self.baton.counters())?.group));
        match group {
            Some(group) => {
                let said = "the runtime that was to read a batch was shut down";
                let error = CacheError::new(ErrorKind::Closed, said).with_op(Op::Get);
                lane.settle(group, Answers::Failed(error), &mut self.wakers);
            }
            None => self.baton.forget(),
        }
    }
}

/// Goes to the end of the line of tasks that are ready to run.
///
/// tokio's `yield_now` waits until I/O has been looked for besides. That is a system call for each batch, and on a busy
/// thread the server has nothing to do meanwhile.
fn let_others_run() -> impl Future<Output = ()> {
    let mut went = false;
    std::future::poll_fn(move |cx| {
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
