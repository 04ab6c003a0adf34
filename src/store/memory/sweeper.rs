//! Frees what has expired.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use cachex_core::{Key, clock};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::lock;
use super::shared::Shared;

/// Who cleans up, if anyone.
///
/// - `IDLE => RUNNING`: a write with a lifetime, on a tokio runtime.
/// - `IDLE => INLINE`: a write with a lifetime, outside of one.
/// - `INLINE => RUNNING`: any write, on a runtime.
/// - `RUNNING => IDLE`: nothing is left that can expire, or the runtime shuts down.
/// - `RUNNING => INLINE_ONLY`: the runtime has no timers.
#[derive(Debug, Default)]
pub(super) struct Sweeper {
    state: AtomicU8,
    task: Mutex<Option<AbortHandle>>,
    /// In the inline states: the last bucket that is known to be done.
    done: AtomicU64,
}

const IDLE: u8 = 0;
const RUNNING: u8 = 1;
const INLINE: u8 = 2;
const INLINE_ONLY: u8 = 3;

/// How many entries are freed before others get their turn.
const CHUNK: usize = 64;

impl Sweeper {
    /// Ends the task, if there is one.
    pub(super) fn stop(&self) {
        if let Some(task) = lock(&self.task).take() {
            task.abort();
        }
    }
}

/// Sees to it that someone cleans up. Called after a write, with no lock held.
#[inline]
pub(super) fn tend<V: Send + Sync + 'static>(shared: &Arc<Shared<V>>, expires: bool, now: Instant) {
    // A task that is about to end looks for notes once more after it has left `RUNNING`, under the very locks under which
    // notes are made: a note is either seen by it, or made by a writer that sees the state here.
    match shared.sweeper.state.load(Ordering::SeqCst) {
        RUNNING => {}
        IDLE if !expires => {}
        state => start(shared, state, now),
    }
}

#[cold]
fn start<V: Send + Sync + 'static>(shared: &Arc<Shared<V>>, state: u8, now: Instant) {
    let sweeper = &shared.sweeper;
    let enter =
        |next| sweeper.state.compare_exchange(state, next, Ordering::SeqCst, Ordering::SeqCst).is_ok();
    if state != INLINE_ONLY
        && let Ok(runtime) = Handle::try_current()
    {
        if enter(RUNNING) {
            // Locked before the task can run, so that a task that ends at once does not leave its handle behind.
            let mut task = lock(&sweeper.task);
            let watch = Watch { store: Arc::downgrade(shared), timers: false };
            *task = Some(runtime.spawn(run(watch)).abort_handle());
        }
        return;
    }
    if state == IDLE {
        enter(INLINE);
    }
    let due = shared.expiries.due_bucket(now);
    if due > sweeper.done.load(Ordering::Relaxed) && !shared.sweep_chunk(now, &mut Vec::new()) {
        sweeper.done.store(due, Ordering::Relaxed);
    }
}

/// Leaves `RUNNING` however the task ends.
struct Watch<V> {
    store: Weak<Shared<V>>,
    timers: bool,
}

impl<V> Drop for Watch<V> {
    fn drop(&mut self) {
        if let Some(shared) = self.store.upgrade() {
            let next = if std::thread::panicking() && !self.timers { INLINE_ONLY } else { IDLE };
            shared.sweeper.state.store(next, Ordering::SeqCst);
        }
    }
}

async fn run<V: Send + Sync + 'static>(mut watch: Watch<V>) {
    loop {
        let Some(next) = watch.store.upgrade().map(|shared| shared.expiries.next_due(clock::fresh())) else {
            return;
        };
        // Panics in a runtime without timers.
        let sleep = tokio::time::sleep_until(next);
        watch.timers = true;
        sleep.await;
        let now = clock::fresh();
        let mut early = Vec::new();
        loop {
            // Not held across awaits: the store can go at any time.
            let Some(shared) = watch.store.upgrade() else { return };
            let more = shared.sweep_chunk(now, &mut early);
            drop(shared);
            if !more {
                break;
            }
            tokio::task::yield_now().await;
        }
        let Some(shared) = watch.store.upgrade() else { return };
        for (key, at) in early {
            shared.expiries.note(key, at);
        }
        if shared.expiries.is_empty() {
            let state = &shared.sweeper.state;
            // RUNNING => IDLE, and back if a note was made before anyone could see that.
            state.store(IDLE, Ordering::SeqCst);
            if shared.expiries.is_empty()
                || state.compare_exchange(IDLE, RUNNING, Ordering::SeqCst, Ordering::SeqCst).is_err()
            {
                // Whoever left `IDLE` has started another task, and the state is theirs.
                watch.store = Weak::new();
                return;
            }
        }
    }
}

impl<V> Shared<V> {
    /// Frees some of what is due, and returns whether there may be more. `early` takes notes that were due before their
    /// entry, as on a store that moved between a real and a paused clock.
    fn sweep_chunk(&self, now: Instant, early: &mut Vec<(Key, Instant)>) -> bool {
        let due = self.expiries.take_due(now, CHUNK);
        let more = due.len() == CHUNK;
        for key in due {
            if !self.remove_expired(&key)
                && let Some(at) = self.expires_at(&key)
            {
                early.push((key, at));
            }
        }
        more
    }
}
