//! A master that dies, or freezes, under load.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cachex::store::redis::{ConnectionState, RedisStore};
use cachex_core::ErrorKind;
use cachex_test_support::{Cluster, eventually};

use super::{PATIENCE, builder, get, ping, set};

const TASKS: usize = 48;
const LIMIT: Duration = Duration::from_millis(500);

/// What the tasks have seen.
#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    written: Vec<AtomicU64>,
    kinds: Mutex<HashSet<ErrorKind>>,
    slowest: Mutex<Duration>,
}

impl Seen {
    /// Waits until every task has written some more.
    async fn progress(&self, deadline: Duration) {
        let before: Vec<_> = self.written.iter().map(|written| written.load(Ordering::Relaxed)).collect();
        eventually(deadline, async || {
            self.written
                .iter()
                .zip(&before)
                .all(|(written, before)| written.load(Ordering::Relaxed) > before + 5)
        })
        .await;
    }
}

/// Writes ever higher numbers; on an error, tries the same again.
async fn load(task: usize, store: RedisStore, seen: Arc<Seen>) {
    let name = format!("task{task}");
    while !seen.stop.load(Ordering::Relaxed) {
        let next = seen.written[task].load(Ordering::Relaxed) + 1;
        let start = Instant::now();
        let written = set(&store, &name, next.to_string()).await;
        let took = start.elapsed();
        {
            let mut slowest = seen.slowest.lock().unwrap();
            *slowest = (*slowest).max(took);
        }
        match written {
            Ok(applied) => {
                assert!(applied);
                seen.written[task].store(next, Ordering::Relaxed);
            }
            Err(error) => {
                seen.kinds.lock().unwrap().insert(error.kind());
                // Failing is quick while a node is down: leave the processor to others.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_dies_and_one_that_freezes() {
    let cluster = Cluster::start().await;
    let store = builder(&cluster).connect_timeout(LIMIT).response_timeout(LIMIT).build().unwrap();
    let written = (0..TASKS).map(|_| AtomicU64::new(0)).collect();
    let seen = Arc::new(Seen { written, ..Seen::default() });
    let tasks: Vec<_> =
        (0..TASKS).map(|task| tokio::spawn(load(task, store.clone(), Arc::clone(&seen)))).collect();
    seen.progress(PATIENCE).await;

    let old = cluster.kill_master(0).await;
    cluster.wait_promoted(0, old).await;
    seen.progress(Duration::from_secs(5)).await;
    old.restart().await;
    cluster.wait_ok().await;
    seen.progress(Duration::from_secs(5)).await;

    let frozen = cluster.master_for_slot(16_383).await;
    frozen.pause().await;
    cluster.wait_promoted(16_383, frozen).await;
    seen.progress(Duration::from_secs(5)).await;
    frozen.resume().await;
    cluster.wait_ok().await;

    // What the dead took along is lost; of what was written since, all that was acknowledged must be there.
    seen.progress(Duration::from_secs(5)).await;
    seen.stop.store(true, Ordering::Relaxed);
    for (task, running) in tasks.into_iter().enumerate() {
        running.await.expect("no task panics");
        let acknowledged = seen.written[task].load(Ordering::Relaxed);
        let found = get(&store, &format!("task{task}")).await.unwrap();
        assert_eq!(found, Some(acknowledged.to_string().into_bytes()), "task {task}");
    }
    eventually(PATIENCE, async || ping(&store).await.is_ok()).await;
    assert_eq!((store.state(), store.nodes().len()), (ConnectionState::Connected, 3));
    let kinds = seen.kinds.lock().unwrap().clone();
    let expected = |kind: &ErrorKind| {
        matches!(kind, ErrorKind::Connection | ErrorKind::Timeout | ErrorKind::ClusterDown | ErrorKind::Moved)
    };
    assert!(!kinds.is_empty() && kinds.iter().all(expected), "{kinds:?}");
    let slowest = *seen.slowest.lock().unwrap();
    assert!(slowest < 3 * LIMIT + Duration::from_secs(1), "{slowest:?}");
}
