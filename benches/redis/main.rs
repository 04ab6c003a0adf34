//! GETs over a real Redis: the stack with serialize and encrypt beside the bare multiplexed connection, in one run.
//!
//! Starts its own server on a free port. A closed loop: each caller sends its next read when the last one is answered.
//! `cargo bench --bench redis` prints a table of ratios from interleaved rounds, then criterion's figures for a batch of
//! reads; `-- --ratios` prints the table only; with `CACHEX_BENCH_CHECK=1` a ratio below its bound fails the run.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cachex::layers::{Bincode, EncryptLayer, EncryptionKey, KeyId, KeyRing, SerializeLayer};
use cachex::preset::Recommended;
use cachex::store::redis::RedisStore;
use cachex::{Cache, CacheService, Key, Ttl};
use cachex_test_support::RedisServer;
use criterion::{Criterion, Throughput};
use redis::AsyncCommands;
use tokio::runtime::Runtime;
use tower_layer::Layer;

const KEYS: usize = 10_000;
const CALLERS: [usize; 3] = [1, 64, 512];
const ROUNDS: usize = 7;
/// Of the bare connection's rate, at 512 callers, with serialize and encrypt.
const BOUND: f64 = 0.85;

/// 128 bytes of text.
type Value = String;

type Run = Box<dyn Fn(usize, usize) -> Pin<Box<dyn Future<Output = Duration>>>>;

/// One way of reading: does `count` reads as `callers` callers, and tells how long they took.
struct Contender {
    name: &'static str,
    run: Run,
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let server = runtime.block_on(RedisServer::start());
    let contenders = runtime.block_on(contenders(&server.url()));
    let held = report(&runtime, &contenders);
    if std::env::var_os("CACHEX_BENCH_CHECK").is_some() && !held {
        std::process::exit(1);
    }
    if std::env::args().any(|arg| arg == "--ratios") {
        return;
    }
    let mut criterion =
        Criterion::default().sample_size(10).measurement_time(Duration::from_secs(2)).configure_from_args();
    for callers in CALLERS {
        let mut group = criterion.benchmark_group(format!("get, {callers} callers"));
        group.throughput(Throughput::Elements(1));
        for contender in &contenders {
            group.bench_function(contender.name, |b| {
                b.iter_custom(|count| runtime.block_on((contender.run)(callers, count as usize)));
            });
        }
        group.finish();
    }
    criterion.final_summary();
}

async fn contenders(url: &str) -> Vec<Contender> {
    let value: Value = "v".repeat(128);
    let names: Arc<[Key]> =
        (0..KEYS).map(|n| Key::new(format!("user:{n:08}")).expect("a valid key")).collect();

    let client = redis::Client::open(url).expect("a valid URL");
    let connection = client.get_multiplexed_async_connection().await.expect("a connection");
    let mut fill = connection.clone();
    for name in names.iter() {
        let _: () = fill.set(format!("bare:{}", name.as_str()), &value).await.expect("stored");
    }
    let bare_names: Arc<[String]> = names.iter().map(|name| format!("bare:{}", name.as_str())).collect();
    let bare = Contender {
        name: "bare MultiplexedConnection",
        run: Box::new(move |callers, count| {
            let (connection, names) = (connection.clone(), Arc::clone(&bare_names));
            Box::pin(closed_loop(callers, count, move |n| {
                let (mut connection, names) = (connection.clone(), Arc::clone(&names));
                async move {
                    let value: Option<Vec<u8>> = connection.get(&names[n % KEYS]).await.expect("answered");
                    assert!(value.is_some());
                }
            }))
        }),
    };

    let keys = || KeyRing::new(KeyId(1), EncryptionKey::generate().expect("random bytes"));
    let store = || RedisStore::connect(url).expect("a valid URL");
    let plain = SerializeLayer::new(Bincode).layer(store());
    let sealed = SerializeLayer::new(Bincode).layer(EncryptLayer::new(keys()).layer(store().sealed()));
    let recommended = Recommended::new().rate_limit(u32::MAX).sealed(Bincode, keys(), store().sealed());
    vec![
        bare,
        through("serialize", "plain", plain, &names, &value).await,
        through(SEALED, "sealed", sealed, &names, &value).await,
        through("recommended stack, sealed", "recommended", recommended, &names, &value).await,
    ]
}

const SEALED: &str = "serialize + encrypt";

async fn through<S: CacheService<Value>>(
    name: &'static str,
    prefix: &str,
    stack: S,
    names: &[Key],
    value: &Value,
) -> Contender {
    let cache = Cache::new(stack);
    let keys: Arc<[Key]> = names
        .iter()
        .map(|key| Key::new(format!("{prefix}:{}", key.as_str())).expect("a valid key"))
        .collect();
    for key in keys.iter() {
        cache.set(key, value.clone(), Ttl::Never).await.expect("stored");
    }
    Contender {
        name,
        run: Box::new(move |callers, count| {
            let (cache, keys) = (cache.clone(), Arc::clone(&keys));
            Box::pin(closed_loop(callers, count, move |n| {
                let read = cache.get(&keys[n % KEYS]);
                async move { assert!(read.await.expect("answered").is_some()) }
            }))
        }),
    }
}

async fn closed_loop<F, Fut>(callers: usize, count: usize, read: F) -> Duration
where
    F: Fn(usize) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let each = count.div_ceil(callers);
    let start = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let read = read.clone();
            tokio::spawn(async move {
                for n in 0..each {
                    read(caller * 7_919 + n * 31).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    // As if exactly `count` had been read.
    start.elapsed().mul_f64(count as f64 / (each * callers) as f64)
}

fn report(runtime: &Runtime, contenders: &[Contender]) -> bool {
    let mut held = true;
    for callers in CALLERS {
        let count = if callers == 1 { 5_000 } else { 100_000 };
        let mut rates = vec![Vec::with_capacity(ROUNDS); contenders.len()];
        for round in 0..=ROUNDS {
            for (contender, rates) in contenders.iter().zip(&mut rates) {
                let took = runtime.block_on((contender.run)(callers, count));
                if round > 0 {
                    rates.push(count as f64 / took.as_secs_f64());
                }
            }
        }
        println!("\n{:<34} {:>10}  {:>6}", format!("GET, {callers} callers"), "per second", "ratio");
        let medians: Vec<f64> = rates.into_iter().map(median).collect();
        for (contender, rate) in contenders.iter().zip(&medians) {
            let ratio = rate / medians[0];
            let bound = if callers == 512 && contender.name == SEALED {
                held &= ratio >= BOUND;
                format!("  {} at least {BOUND}", if ratio >= BOUND { "ok:" } else { "MISSED:" })
            } else {
                String::new()
            };
            println!("{:<34} {rate:>10.0}  {ratio:>6.2}{bound}", contender.name);
        }
    }
    held
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
