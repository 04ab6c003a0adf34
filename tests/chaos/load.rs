//! A load of a fixed rate, well below what the stack can serve: that it is served again means that all is well again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cachex::Cache;
use cachex_core::{CacheError, ErrorKind, OpClass};
use cachex_test_support::eventually;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::oracle::{self, Counter, Oracle};
use super::seen::{Seen, Stalls};
use super::{LONGEST_CALL, LONGEST_CONTROL, PATIENCE, RECOVERY, SLACK, panics};

/// With one call each every [`PACE`], 1,600 calls per second.
const TASKS: usize = 32;
const PACE: Duration = Duration::from_millis(20);
/// Keys that a task writes; it reads those of all.
const KEYS_PER_TASK: usize = 4;
const READ_AT_ONCE: usize = 8;
/// Tasks that take locks, if there are to be any, and how many locks there are.
const LOCKERS: usize = 8;
const LOCKS: usize = 3;
/// The load runs for so many windows before anything is done to it.
const WARM_UP: usize = 5;
const MEASURED: usize = 15;
const TTL: Duration = Duration::from_secs(3600);
/// Of locks: longer than anything holds them.
const LOCK_TTL: Duration = Duration::from_secs(30);

/// A load that runs.
pub(crate) struct Load {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
    stalls: Stalls,
    usual: u32,
}

struct Shared {
    cache: Cache<oracle::Stored>,
    oracle: Oracle,
    seen: Seen,
    locks: [Lock; LOCKS],
    stop: AtomicBool,
}

/// A lock, and what those who have it find.
#[derive(Default)]
struct Lock {
    held: AtomicBool,
    last_token: AtomicU64,
}

impl Load {
    /// Writes every key, starts the tasks, and returns when what is usual is known.
    pub(crate) async fn start(cache: Cache<oracle::Stored>) -> Self {
        Self::start_with(cache, false).await
    }

    /// The same, with tasks that take locks beside those that read and write.
    pub(crate) async fn start_with_locks(cache: Cache<oracle::Stored>) -> Self {
        Self::start_with(cache, true).await
    }

    async fn start_with(cache: Cache<oracle::Stored>, locks: bool) -> Self {
        panics::watch();
        let shared = Arc::new(Shared {
            cache,
            oracle: Oracle::new(TASKS * KEYS_PER_TASK),
            seen: Seen::new(),
            locks: Default::default(),
            stop: AtomicBool::new(false),
        });
        for key in shared.oracle.keys() {
            let record = shared.oracle.begin(key);
            let written = shared.cache.set(Oracle::name(key), record.clone(), TTL).await;
            shared.oracle.end(&record, written.as_ref().map(|_| ()));
            written.expect("nothing has been done to the server yet");
        }
        let mut tasks = JoinSet::new();
        for task in 0..TASKS {
            tasks.spawn(Arc::clone(&shared).work(task));
        }
        for task in 0..if locks { LOCKERS } else { 0 } {
            tasks.spawn(Arc::clone(&shared).take_locks(task));
        }
        let mut load = Self { shared, tasks, stalls: Stalls::watch(), usual: 0 };
        let first = load.seen().windows() + WARM_UP;
        eventually(PATIENCE, async || load.seen().windows() >= first + MEASURED).await;
        load.usual = load.seen().median(first);
        assert!(load.usual > 0, "nothing is served: {:?}", load.seen().errors());
        load
    }

    pub(crate) fn seen(&self) -> &Seen {
        &self.shared.seen
    }

    /// Waits until so many more calls have been served.
    pub(crate) async fn serves(&self, calls: u64) {
        let before = self.seen().served();
        eventually(PATIENCE, async || self.seen().served() >= before + calls).await;
    }

    /// Waits until so many more calls have failed with this kind of error.
    pub(crate) async fn fails_with(&self, kind: ErrorKind, calls: u64) {
        let before = self.seen().count(kind);
        eventually(PATIENCE, async || self.seen().count(kind) >= before + calls).await;
    }

    /// Waits until the usual throughput is back, and holds it to have taken no longer than [`RECOVERY`] since then.
    pub(crate) async fn recovers(&self, since: Instant) {
        let mut back = None;
        eventually(PATIENCE, async || {
            back = self.seen().back_after(since, self.usual, 0.9);
            back.is_some()
        })
        .await;
        let back = back.expect("it was waited for");
        assert!(back <= RECOVERY, "throughput was back only after {back:?}: {:?}", self.seen().errors());
        println!("the load is served again after {back:?}");
    }

    /// From now on the server may forget what it acknowledged last.
    pub(crate) fn expect_losses(&self) {
        self.shared.oracle.expect_losses();
    }

    /// What there is from now on is kept.
    pub(crate) async fn expect_no_more_losses(&self) {
        let mut found = Vec::new();
        for key in self.shared.oracle.keys() {
            let record = self.shared.cache.get(Oracle::name(key)).await.expect("all is well again");
            found.push((key, (*record.unwrap_or_else(|| panic!("{key} is lost"))).clone()));
        }
        self.shared.oracle.rebase(found);
    }

    /// Ends the load, reads every key once more, and holds what was seen to what is allowed: errors of these kinds.
    pub(crate) async fn finish(self, allowed: &[ErrorKind]) {
        let Self { shared, mut tasks, stalls, usual } = self;
        shared.stop.store(true, Ordering::Relaxed);
        while let Some(task) = tasks.join_next().await {
            task.expect("no task panics");
        }
        for key in shared.oracle.keys() {
            let floor = shared.oracle.floor(key);
            let found = shared.cache.get(Oracle::name(key)).await.expect("all is well again");
            shared.oracle.check(key, floor, found.as_deref());
        }
        let (seen, stalled) = (&shared.seen, stalls.worst());
        println!(
            "{} served, {usual} per window before; errors {:?}; longest {:?} and {:?}; the machine stalled for {stalled:?}",
            seen.served(),
            seen.errors(),
            seen.longest(OpClass::Read),
            seen.longest(OpClass::Control),
        );
        assert_eq!(shared.oracle.wrong(), Vec::<String>::new(), "wrong values; {:?}", seen.errors());
        assert_eq!(panics::seen(), Vec::<String>::new());
        for (_, kind) in seen.errors().into_keys() {
            assert!(allowed.contains(&kind), "{kind} is not among {allowed:?}: {:?}", seen.errors());
        }
        let slack = SLACK + stalled;
        let longest = seen.longest(OpClass::Read);
        assert!(longest <= LONGEST_CALL + slack, "a call took {longest:?}, with stalls of {stalled:?}");
        let longest = seen.longest(OpClass::Control);
        assert!(longest <= LONGEST_CONTROL + slack, "a lock took {longest:?}, with stalls of {stalled:?}");
    }
}

impl Shared {
    async fn work(self: Arc<Self>, task: usize) {
        let (mut counter, name) = (Counter::default(), format!("chaos:counter:{task}"));
        let mut pace = tokio::time::interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.stop.load(Ordering::Relaxed) {
            pace.tick().await;
            match fastrand::u8(0..100) {
                0..50 => self.read().await,
                50..65 => self.read_several().await,
                65..90 => self.write(task).await,
                _ => self.count(&name, &mut counter).await,
            }
        }
    }

    async fn read(&self) {
        let key = fastrand::usize(self.oracle.keys());
        let (floor, start) = (self.oracle.floor(key), Instant::now());
        let found = self.cache.get(Oracle::name(key)).await;
        self.told(OpClass::Read, start, &found);
        if let Ok(found) = found {
            self.oracle.check(key, floor, found.as_deref());
        }
    }

    async fn read_several(&self) {
        let keys: Vec<usize> = (0..READ_AT_ONCE).map(|_| fastrand::usize(self.oracle.keys())).collect();
        let floors: Vec<u64> = keys.iter().map(|key| self.oracle.floor(*key)).collect();
        let start = Instant::now();
        let found = self.cache.mget(keys.iter().map(|key| Oracle::name(*key))).await;
        self.told(OpClass::Read, start, &found);
        for (found, (key, floor)) in found.iter().flatten().zip(keys.into_iter().zip(floors)) {
            self.oracle.check(key, floor, found.as_deref());
        }
    }

    async fn write(&self, task: usize) {
        let record = self.oracle.begin(task * KEYS_PER_TASK + fastrand::usize(0..KEYS_PER_TASK));
        let start = Instant::now();
        let written = self.cache.set(Oracle::name(record.key()), record.clone(), TTL).await;
        self.told(OpClass::Write, start, &written);
        self.oracle.end(&record, written.as_ref().map(|_| ()));
    }

    async fn count(&self, name: &str, counter: &mut Counter) {
        let (forgetful, start) = (self.oracle.is_forgetful(), Instant::now());
        let counted = self.cache.incr_by(name, 1).await;
        self.told(OpClass::Write, start, &counted);
        counter.check(&self.oracle, forgetful, counted.as_ref().copied());
    }

    async fn take_locks(self: Arc<Self>, task: usize) {
        let (name, lock) = (format!("chaos:lock:{}", task % LOCKS), &self.locks[task % LOCKS]);
        let mut pace = tokio::time::interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.stop.load(Ordering::Relaxed) {
            pace.tick().await;
            let start = Instant::now();
            let taken = self.cache.try_lock(name.as_str(), LOCK_TTL).await;
            self.told(OpClass::Control, start, &taken);
            let Ok(Some(guard)) = taken else { continue };
            let (held, token) = (lock.held.swap(true, Ordering::SeqCst), guard.fencing_token().0.get());
            let last = lock.last_token.swap(token, Ordering::SeqCst);
            if held || token <= last {
                self.oracle.complain(format!("{name} was taken with {token} after {last}, held: {held}"));
            }
            self.read().await;
            lock.held.store(false, Ordering::SeqCst);
            let start = Instant::now();
            let released = guard.release().await;
            self.told(OpClass::Control, start, &released);
        }
    }

    fn told<T>(&self, class: OpClass, start: Instant, outcome: &Result<T, CacheError>) {
        self.seen.add(class, start, outcome.as_ref().map(|_| ()));
    }
}
