//! Another server becomes the primary.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cachex::store::redis::{ConnectionState, RedisStore};
use cachex_core::ErrorKind;
use cachex_test_support::{Sentinel, eventually};

use super::{PATIENCE, builder, get, ping, set};

const TASKS: usize = 16;
const LIMIT: Duration = Duration::from_secs(1);

/// Callers who write all the time, and what they have seen.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    writes: AtomicU64,
    failures: AtomicU64,
    kinds: Mutex<HashSet<ErrorKind>>,
    slowest: Mutex<Duration>,
}

impl Load {
    async fn run(self: Arc<Self>, task: usize, store: RedisStore) {
        let mut n = 0_u64;
        while !self.stop.load(Ordering::Relaxed) {
            n += 1;
            let start = Instant::now();
            let written = set(&store, &format!("task{task}"), n.to_string()).await;
            {
                let mut slowest = self.slowest.lock().unwrap();
                *slowest = (*slowest).max(start.elapsed());
            }
            match written {
                Ok(_) => self.writes.fetch_add(1, Ordering::Relaxed),
                Err(error) => {
                    self.kinds.lock().unwrap().insert(error.kind());
                    self.failures.fetch_add(1, Ordering::Relaxed)
                }
            };
            // Failing is quick: leave the processor to the servers.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Waits until all is well again, and every caller has written once more.
    async fn flows(&self) {
        let writes = self.writes.load(Ordering::Relaxed);
        eventually(PATIENCE, async || self.writes.load(Ordering::Relaxed) > writes + 20 * TASKS as u64).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_demoted_under_load() {
    let sentinel = Sentinel::start().await;
    let store =
        builder(&sentinel).connect_timeout(LIMIT).response_timeout(LIMIT).connections(4).build().unwrap();
    let load = Arc::new(Load::default());
    let tasks: Vec<_> =
        (0..TASKS).map(|task| tokio::spawn(Arc::clone(&load).run(task, store.clone()))).collect();

    load.flows().await;
    let old = sentinel.kill_primary().await;
    let new = sentinel.wait_new_primary(old).await;
    load.flows().await;
    assert!(load.failures.load(Ordering::Relaxed) > 0);
    // It comes back as a primary, with nothing in it, until the sentinels make it a replica.
    old.restart().await;
    sentinel.wait_ok().await;

    let demoted = sentinel.failover().await;
    assert_eq!(demoted.addr(), new.addr());
    sentinel.wait_new_primary(demoted).await;
    load.flows().await;
    sentinel.wait_ok().await;
    load.flows().await;

    load.stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.expect("no task panics");
    }
    // Nobody writes any more: what is written now is on the primary.
    set(&store, "last", "word").await.unwrap();
    assert_eq!(sentinel.primary().await.get("last").await.as_deref(), Some(b"word".as_ref()));
    assert_eq!(store.state(), ConnectionState::Connected);
    let kinds = load.kinds.lock().unwrap().clone();
    let expected = [ErrorKind::Connection, ErrorKind::Timeout, ErrorKind::ReadOnly];
    assert!(kinds.iter().all(|kind| expected.contains(kind)), "{kinds:?}");
    let slowest = *load.slowest.lock().unwrap();
    assert!(slowest < 3 * LIMIT + Duration::from_secs(1), "{slowest:?}");
}

/// A primary that is replaced goes on as one until a sentinel reaches it, and answers all the while. Here that never
/// happens, since it does not obey: only what the sentinels say tells which of the two is right.
#[tokio::test]
async fn a_switch_is_noticed_though_the_old_primary_goes_on() {
    const KEYS: usize = 32;
    let sentinel = Sentinel::start().await;
    let store = builder(&sentinel).connections(4).build().unwrap();
    for n in 0..KEYS {
        set(&store, &format!("k{n}"), "before").await.unwrap();
    }
    let old = sentinel.primary().await;
    old.command(["ACL", "SETUSER", "default", "-slaveof", "-replicaof"]).await;
    sentinel.failover().await;
    let new = sentinel.wait_new_primary(old).await;
    for n in 0..KEYS {
        old.set(format!("k{n}"), "old").await;
        new.set(format!("k{n}"), "new").await;
    }
    let role = old.command(["ROLE"]).await;
    assert_eq!(role.as_array().unwrap()[0].as_str(), Some("master"), "the old one does not obey");

    let read = async |n: usize| get(&store, &format!("k{n}")).await.unwrap().unwrap();
    eventually(PATIENCE, async || read(0).await == b"new").await;
    // From now on, on whatever connection.
    for _ in 0..20 {
        for n in 0..KEYS {
            assert_eq!(read(n).await, b"new", "k{n} was read from the old primary");
        }
    }
    // A newcomer is not led astray either.
    let late = builder(&sentinel).build().unwrap();
    assert_eq!(get(&late, "k0").await.unwrap().as_deref(), Some(b"new".as_ref()));
}
/// A sentinel that knows nothing newer than the old primary, which still is one in its own eyes: all that speaks against
/// it is the epoch.
#[tokio::test]
async fn a_sentinel_that_lags_leads_nobody_back() {
    let sentinel = Sentinel::start().await;
    let store = builder(&sentinel).connections(1).build().unwrap();
    set(&store, "k", "before").await.unwrap();
    let old = sentinel.primary().await;
    old.command(["ACL", "SETUSER", "default", "-slaveof", "-replicaof"]).await;
    sentinel.failover().await;
    let new = sentinel.wait_new_primary(old).await;
    old.set("k", "old").await;
    new.set("k", "new").await;
    let read = async || get(&store, "k").await;
    eventually(PATIENCE, async || read().await.is_ok_and(|found| found.as_deref() == Some(b"new"))).await;

    let (name, port) = (sentinel.master_name(), old.port().to_string());
    for _ in 0..20 {
        // The others tell it before long: again and again.
        let lagging = &sentinel.sentinels()[0];
        lagging.command(["SENTINEL", "REMOVE", name]).await;
        lagging.command(["SENTINEL", "MONITOR", name, "127.0.0.1", &port, "2"]).await;
        new.command(["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
        eventually(PATIENCE, async || match read().await {
            Ok(found) => {
                assert_eq!(found.as_deref(), Some(b"new".as_ref()), "read from the old primary");
                true
            }
            Err(_) => false,
        })
        .await;
    }
}

#[tokio::test]
async fn a_store_outlives_several_failovers() {
    let sentinel = Sentinel::start().await;
    let store = builder(&sentinel).build().unwrap();
    for round in 0..3 {
        let old = sentinel.failover().await;
        let new = sentinel.wait_new_primary(old).await;
        let word = format!("round {round}");
        eventually(PATIENCE, async || {
            set(&store, "k", word.clone()).await.is_ok()
                && new.get("k").await == Some(word.clone().into_bytes())
        })
        .await;
        sentinel.wait_ok().await;
        assert_eq!(get(&store, "k").await.unwrap(), Some(word.into_bytes()));
    }
}

#[test]
fn a_new_runtime_listens_again() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let sentinel = first.block_on(Sentinel::start());
    let store = builder(&sentinel).build().unwrap();
    first.block_on(ping(&store)).unwrap();
    drop(first);
    runtime().block_on(async {
        eventually(PATIENCE, async || ping(&store).await.is_ok()).await;
        let old = sentinel.primary().await;
        old.command(["ACL", "SETUSER", "default", "-slaveof", "-replicaof"]).await;
        sentinel.failover().await;
        let new = sentinel.wait_new_primary(old).await;
        new.set("k", "new").await;
        eventually(PATIENCE, async || get(&store, "k").await.is_ok_and(|found| found.is_some())).await;
    });
}
