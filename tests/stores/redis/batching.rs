//! Reads in batches over a real server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use cachex::layers::{Batch, BatchLayer, TimeoutLayer};
use cachex::preset::Recommended;
use cachex::store::redis::{ConnectionState, RedisStore};
use cachex::{Cache, CacheService};
use cachex_core::{CacheError, Encoded, ErrorKind, FillToken, StoredBytes};
use cachex_test_support::{RedisServer, Reply, eventually};
use tower_layer::Layer;

use super::{PATIENCE, call, get, key, set, value};

const CALLERS: usize = 512;
const LIMIT: Duration = Duration::from_millis(500);

fn batched(store: &RedisStore) -> (BatchLayer, Cache<Encoded, Batch<RedisStore>>) {
    let layer = BatchLayer::new();
    let cache = Cache::new(layer.layer(store.clone()));
    (layer, cache)
}

async fn read<S: CacheService<Encoded>>(
    cache: &Cache<Encoded, S>,
    name: &str,
) -> Result<Option<Vec<u8>>, CacheError> {
    let answer = tokio::time::timeout(PATIENCE, cache.get(name)).await.expect("no read hangs")?;
    Ok(answer.map(|value| value.as_bytes().to_vec()))
}

/// A number of the server's `INFO stats`.
async fn statistic(server: &RedisServer, name: &str) -> u64 {
    let Reply::Bulk(info) = server.command(["INFO", "stats"]).await else { panic!("INFO answers with text") };
    let info = String::from_utf8(info).unwrap();
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_get_their_own_values() {
    let server = RedisServer::start().await;
    let store = RedisStore::builder().url(server.url()).connections(4).build().unwrap();
    for number in 0..CALLERS {
        set(&store, &format!("key:{number}"), format!("value {number}")).await.unwrap();
    }
    let (layer, cache) = batched(&store);
    let commands = statistic(&server, "total_commands_processed").await;
    let tasks: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let cache = cache.clone();
            tokio::spawn(async move {
                for round in 0..50 {
                    let number = (caller * 31 + round * 7) % CALLERS;
                    let found = read(&cache, &format!("key:{number}")).await.unwrap();
                    assert_eq!(found, Some(format!("value {number}").into_bytes()));
                    assert_eq!(read(&cache, &format!("none:{number}")).await.unwrap(), None);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let state = layer.handle().state();
    let reads = (CALLERS * 100) as u64;
    assert_eq!((state.requests, state.queued, state.rejected), (reads, 0, 0));
    assert!((2..=256).contains(&state.largest_batch), "{state:?}");
    let commands = statistic(&server, "total_commands_processed").await - commands;
    assert!(commands < reads / 4, "{reads} reads were {commands} commands: {state:?}");
}

/// Writes are not merged; what meets shares the writes of a connection, as in a pipeline.
#[tokio::test]
async fn writes_that_meet_are_pipelined() {
    let server = RedisServer::start().await;
    let store = RedisStore::builder().url(server.url()).connections(1).build().unwrap();
    let (_, cache) = batched(&store);
    cache.set("k", value("v"), None).await.unwrap();
    let before = statistic(&server, "total_reads_processed").await;
    let commands = statistic(&server, "total_commands_processed").await;
    let tasks: Vec<_> = (0..CALLERS)
        .map(|number| {
            let cache = cache.clone();
            tokio::spawn(async move { cache.set(format!("k{number}"), value("v"), None).await.unwrap() })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let commands = statistic(&server, "total_commands_processed").await - commands;
    let reads = statistic(&server, "total_reads_processed").await - before;
    assert!(commands >= CALLERS as u64);
    assert!(reads < CALLERS as u64 / 4, "{commands} commands came in {reads} pieces");
}

#[tokio::test]
async fn a_key_of_another_type_harms_no_other() {
    let server = RedisServer::start().await;
    let store = RedisStore::builder().url(server.url()).connections(1).build().unwrap();
    set(&store, "good", "v").await.unwrap();
    server.command(["RPUSH", "list", "x"]).await;
    let (_, cache) = batched(&store);
    assert_eq!(read(&cache, "list").await.unwrap_err().kind(), ErrorKind::WrongType);
    let tasks: Vec<_> = (0..64)
        .map(|number| {
            let cache = cache.clone();
            tokio::spawn(async move {
                let name = if number % 2 == 0 { "good" } else { "list" };
                (name, read(&cache, name).await)
            })
        })
        .collect();
    for task in tasks {
        match task.await.unwrap() {
            ("good", answer) => assert_eq!(answer.unwrap(), Some(b"v".to_vec())),
            // Alone an error, among others missing: the module documentation says so.
            (_, Ok(found)) => assert_eq!(found, None),
            (_, Err(error)) => assert_eq!(error.kind(), ErrorKind::WrongType),
        }
    }
}

/// The server refuses a whole `MGET` for one key that the user may not read.
#[tokio::test]
async fn a_key_that_is_forbidden_harms_no_other() {
    let server = RedisServer::start().await;
    server.command(["ACL", "SETUSER", "reader", "on", ">pw", "~open:*", "+@all"]).await;
    server.set("open:k", "v").await;
    let builder = RedisStore::builder().url(server.url()).connections(1);
    let store = builder.username("reader").password("pw").build().unwrap();
    let (layer, cache) = batched(&store);
    let tasks: Vec<_> = (0..64)
        .map(|number| {
            let cache = cache.clone();
            tokio::spawn(async move {
                if number % 8 == 0 {
                    let error = read(&cache, &format!("shut:{number}")).await.unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
                } else {
                    assert_eq!(read(&cache, "open:k").await.unwrap(), Some(b"v".to_vec()));
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert!(layer.handle().state().batches > 0);
}

#[tokio::test]
async fn misses_over_redis_are_unfenced() {
    let server = RedisServer::start().await;
    let store = RedisStore::connect(server.url()).unwrap();
    let answer = call(&store, cachex_core::CacheRequest::get(key("none"))).await.unwrap();
    assert_eq!(answer.into_get().unwrap().unwrap_err(), FillToken::UNFENCED);
}

/// Every caller writes its own key, reads it back in the company of all others, and never sees less than it wrote.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_are_read_back_and_a_restart_under_load_heals() {
    let server = RedisServer::start().await;
    let store = RedisStore::builder()
        .url(server.url())
        .connect_timeout(LIMIT)
        .response_timeout(LIMIT)
        .connections(4)
        .build()
        .unwrap();
    let layer = BatchLayer::new();
    let cache = Cache::new(TimeoutLayer::new(2 * LIMIT).layer(layer.layer(store.clone())));
    let (stop, served, failed) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let seen = Arc::new((stop, served, failed));
    let tasks: Vec<_> = (0..64)
        .map(|caller| {
            let (cache, seen) = (cache.clone(), Arc::clone(&seen));
            tokio::spawn(async move {
                let (stop, served, failed) = &*seen;
                let name = format!("caller:{caller}");
                let mut number = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    number += 1;
                    let written = cache.set(&name, value(number.to_string()), None).await;
                    let found = read(&cache, &name).await;
                    match (written, found) {
                        (Ok(_), Ok(found)) => {
                            // A restarted server has lost it; one that has it has the last.
                            if let Some(found) = found {
                                assert_eq!(found, number.to_string().into_bytes());
                            }
                            served.fetch_add(1, Ordering::Relaxed);
                        }
                        (Err(error), _) | (_, Err(error)) => {
                            let expected = matches!(error.kind(), ErrorKind::Connection | ErrorKind::Timeout);
                            assert!(expected, "{error:?}");
                            failed.fetch_add(1, Ordering::Relaxed);
                            tokio::time::sleep(Duration::from_millis(1)).await;
                        }
                    }
                }
            })
        })
        .collect();
    let (stop, served, failed) = &*seen;
    let more = async |counter: &AtomicU64, by: u64| {
        let before = counter.load(Ordering::Relaxed);
        eventually(PATIENCE, async || counter.load(Ordering::Relaxed) > before + by).await;
    };
    for _ in 0..2 {
        more(served, 1000).await;
        server.kill().await;
        more(failed, 64).await;
        server.restart().await;
        eventually(Duration::from_secs(5), async || store.state() == ConnectionState::Connected).await;
    }
    more(served, 1000).await;
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    let state = layer.handle().state();
    assert!(state.batches > 0 && state.queued == 0, "{state:?}");
    assert!(get(&store, "caller:0").await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_recommended_stack_batches() {
    let server = RedisServer::start().await;
    let layer = BatchLayer::new();
    let settings = Recommended::new().rate_limit(u32::MAX).batch(layer.clone());
    let stack = settings.typed(cachex::layers::Bincode, RedisStore::connect(server.url()).unwrap());
    let cache: Cache<String, _> = Cache::new(stack);
    let tasks: Vec<_> = (0..256)
        .map(|number| {
            let cache = cache.clone();
            tokio::spawn(async move {
                let name = format!("k:{number}");
                cache.set(&name, name.clone(), None).await.unwrap();
                assert_eq!(*cache.get(&name).await.unwrap().unwrap(), name);
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let state = layer.handle().state();
    assert!(state.requests == 256 && state.batches > 0, "{state:?}");
}
