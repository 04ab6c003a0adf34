//! A server that dies and comes back under load.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cachex::store::redis::{ConnectionState, RedisStore};
use cachex_core::{Effect, ErrorKind};
use cachex_test_support::{RedisServer, eventually};

use super::{PATIENCE, assert_told, get, ping, set, soon};

const TASKS: usize = 64;
const LIMIT: Duration = Duration::from_millis(500);

/// What the tasks have seen.
#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    writes: AtomicU64,
    failures: AtomicU64,
    kinds: Mutex<HashSet<ErrorKind>>,
    slowest: Mutex<Duration>,
}

/// Writes a number, reads it back, and counts up; on an error, tries the same again.
async fn load(task: usize, store: RedisStore, seen: Arc<Seen>) -> u64 {
    let name = format!("task{task}");
    let mut acknowledged = 0_u64;
    while !seen.stop.load(Ordering::Relaxed) {
        let start = Instant::now();
        let written = set(&store, &name, (acknowledged + 1).to_string()).await;
        let took = start.elapsed();
        {
            let mut slowest = seen.slowest.lock().unwrap();
            *slowest = (*slowest).max(took);
        }
        match written {
            Ok(applied) => {
                assert!(applied);
                acknowledged += 1;
                seen.writes.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                seen.failures.fetch_add(1, Ordering::Relaxed);
                seen.kinds.lock().unwrap().insert(error.kind());
                // Failing is quick while the server is down: leave the processor to others.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_restarted_under_load() {
    let server = RedisServer::start().await;
    let store = RedisStore::builder()
        .url(server.url())
        .connect_timeout(LIMIT)
        .response_timeout(LIMIT)
        .connections(4)
        .build()
        .unwrap();
    let seen = Arc::new(Seen::default());
    let tasks: Vec<_> =
        (0..TASKS).map(|task| tokio::spawn(load(task, store.clone(), Arc::clone(&seen)))).collect();

    for _ in 0..3 {
        let writes = seen.writes.load(Ordering::Relaxed);
        eventually(PATIENCE, async || seen.writes.load(Ordering::Relaxed) > writes + 1000).await;
        let failures = seen.failures.load(Ordering::Relaxed);
        server.kill().await;
        eventually(PATIENCE, async || seen.failures.load(Ordering::Relaxed) > failures + TASKS as u64).await;
        server.restart().await;
        eventually(Duration::from_secs(5), async || store.state() == ConnectionState::Connected).await;
    }

    // The data of a killed server is gone; from here on every acknowledged write must be there.
    let writes = seen.writes.load(Ordering::Relaxed);
    eventually(PATIENCE, async || seen.writes.load(Ordering::Relaxed) > writes + 1000).await;
    seen.stop.store(true, Ordering::Relaxed);
    for (task, running) in tasks.into_iter().enumerate() {
        let acknowledged = running.await.expect("no task panics");
        let found = get(&store, &format!("task{task}")).await.unwrap();
        assert_eq!(found, Some(acknowledged.to_string().into_bytes()), "task {task}");
    }
    let kinds = seen.kinds.lock().unwrap().clone();
    assert!(kinds.iter().all(|kind| matches!(kind, ErrorKind::Connection | ErrorKind::Timeout)), "{kinds:?}");
    let slowest = *seen.slowest.lock().unwrap();
    assert!(slowest < 3 * LIMIT + Duration::from_secs(1), "{slowest:?}");
}

#[tokio::test]
async fn a_frozen_server_times_out_and_thaws() {
    let server = RedisServer::start().await;
    // One connection: the key's own is then known to be up.
    let builder = RedisStore::builder().url(server.url()).connections(1);
    let store = builder.response_timeout(LIMIT).build().unwrap();
    ping(&store).await.unwrap();
    server.pause().await;
    let error = set(&store, "k", "v").await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Timeout, Effect::Unknown));
    server.resume().await;
    eventually(PATIENCE, async || ping(&store).await.is_ok()).await;
    // It was sent, and carried out in the end.
    eventually(PATIENCE, async || get(&store, "k").await.is_ok_and(|found| found.is_some())).await;
}

#[tokio::test]
async fn killed_clients_come_back() {
    let server = RedisServer::start().await;
    let store = RedisStore::connect(server.url()).unwrap();
    set(&store, "k", "v").await.unwrap();
    for _ in 0..10 {
        server.command(["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
        eventually(PATIENCE, async || get(&store, "k").await.is_ok_and(|found| found.is_some())).await;
    }
}

#[tokio::test]
async fn while_a_server_loads_its_data_it_says_so() {
    let server = RedisServer::builder().arg("enable-debug-command", "yes").start().await;
    server.command(["DEBUG", "POPULATE", "20000"]).await;
    server.command(["SAVE"]).await;
    server.kill().await;
    server.configure("key-load-delay", "100");
    server.configure("loading-process-events-interval-bytes", "1024");
    let store = RedisStore::connect(server.url()).unwrap();
    server.launch().await;
    let mut told = None;
    eventually(PATIENCE, async || {
        told = get(&store, "key:1").await.err().filter(|error| error.kind() == ErrorKind::Loading);
        told.is_some()
    })
    .await;
    assert_told(&told.unwrap(), ErrorKind::Loading, soon(100), Effect::None);
    eventually(PATIENCE, async || get(&store, "key:1").await.is_ok_and(|found| found.is_some())).await;
}

#[test]
fn a_store_outlives_the_runtime_that_connected_it() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let server = first.block_on(RedisServer::start());
    let store = RedisStore::connect(server.url()).unwrap();
    first.block_on(ping(&store)).unwrap();
    drop(first);
    let second = runtime();
    second.block_on(async {
        eventually(PATIENCE, async || ping(&store).await.is_ok()).await;
    });
    drop(second);
    // A connector that dies with its runtime leaves the slot to the next one.
    let third = runtime();
    third.block_on(server.kill());
    assert!(third.block_on(ping(&store)).is_err());
    drop(third);
    let fourth = runtime();
    fourth.block_on(async {
        server.restart().await;
        eventually(PATIENCE, async || ping(&store).await.is_ok()).await;
    });
}
