//! Locks: the guard, several processes, several servers.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

mod acquiring;
mod guard;
mod outages;
mod processes;
mod redlock;

use std::time::Duration;

use cachex::core::LockOwner;
use cachex::core::testing::{Leaf, Outcome};
use cachex::{Cache, CacheError, CacheRequest, ErrorKind, Op};

/// Longer than anything takes, on however slow a machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn memory() -> Cache<String> {
    Cache::memory(100)
}

/// A leaf that answers operations of one kind with what `answer` makes, and the rest as a store would.
fn leaf_with(op: Op, answer: impl Fn() -> Outcome<String> + Send + Sync + 'static) -> Leaf<String> {
    let leaf = Leaf::new();
    leaf.answer_with(move |request, _| if request.op() == op { answer() } else { Outcome::default_answer() });
    leaf
}

/// The requests of one kind that a leaf has seen.
fn seen(leaf: &Leaf<String>, op: Op) -> Vec<CacheRequest<String>> {
    leaf.requests().into_iter().filter(|request| request.op() == op).collect()
}

fn owner(request: &CacheRequest<String>) -> LockOwner {
    match request {
        CacheRequest::Lock(lock) => lock.owner,
        CacheRequest::ExtendLock(lock) => lock.owner,
        CacheRequest::Unlock(lock) => lock.owner,
        other => panic!("no lock request: {other:?}"),
    }
}

fn reset() -> CacheError {
    CacheError::new(ErrorKind::Connection, "reset")
}

/// Lets every task that can run do so, without time passing.
async fn settle() {
    for _ in 0..32 {
        tokio::task::yield_now().await;
    }
}
