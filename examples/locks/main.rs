//! A holder that was paused writes late, and is refused.
//!
//! `cargo run --example locks` keeps the lock in memory. With `CACHEX_REDIS_ADDR` set (`host:port` or a `redis://` URL) the
//! same program keeps it in Redis.
//!
//! Two workers write to a ledger that one lock protects. The first takes the lock and is then paused for longer than the lock
//! lives: its thread stands still, and with it the task that would have extended the lock. The second worker waits, takes
//! the lock and writes. Then the first goes on where it was, believing itself in possession. What keeps its write out is not the
//! lock but the ledger, which has seen a larger fencing token.

mod ledger;

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cachex::{Cache, CacheError, LockGuard};

use ledger::Ledger;

const TTL: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_secs(3);
const WAIT: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let cache: Cache<String> = match std::env::var("CACHEX_REDIS_ADDR") {
        Ok(address) => {
            println!("store    Redis");
            Cache::redis(&if address.contains("://") { address } else { format!("redis://{address}") })?
        }
        Err(_) => {
            println!("store    memory (set CACHEX_REDIS_ADDR to use Redis)");
            Cache::memory(100)
        }
    };
    let start = Instant::now();
    let log = move |who: &str, what: &str| println!("{:>5} ms  {who:<6} {what}", start.elapsed().as_millis());
    let ledger = Arc::new(Ledger::default());
    let name = format!("lock:ledger:{}", std::process::id());

    let guard = cache.lock(name.as_str(), TTL, WAIT).await?;
    log("first", &format!("holds the lock, fencing token {}", guard.fencing_token().0));
    // A lock that is held extends itself: nobody gets it, though this is longer than it lives.
    let error = cache.lock(name.as_str(), TTL, TTL * 2).await.err().ok_or("two hold one lock")?;
    log("second", &format!("waited {:?} in vain: {}", TTL * 2, error.kind()));
    assert!(guard.release().await?);

    // The first worker has a thread of its own, which is what stands still.
    let first = std::thread::spawn({
        let (cache, ledger, name) = (cache.clone(), Arc::clone(&ledger), name.clone());
        move || paused_worker(&cache, &name, &ledger, log)
    });
    // Not before the first one has written once.
    while ledger.lines() == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let guard = cache.lock(name.as_str(), TTL, WAIT).await?;
    log("second", &format!("holds the lock, fencing token {}", guard.fencing_token().0));
    ledger.write(guard.fencing_token(), "second")?;
    log("second", "wrote");
    let refused = tokio::task::spawn_blocking(move || first.join())
        .await?
        .map_err(|_| "the first worker panicked")??;
    log("first", &format!("tried to write late: {refused}"));
    assert!(guard.release().await?, "the second worker held it all the time");
    println!("ledger   {}", ledger.text());
    cache.close().await?;
    Ok(())
}

/// Takes the lock, writes, is paused, and writes again; answers with why the ledger refused.
fn paused_worker(
    cache: &Cache<String>,
    name: &str,
    ledger: &Ledger,
    log: impl Fn(&str, &str),
) -> Result<String, CacheError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        CacheError::with_source(cachex::ErrorKind::Internal, "no runtime for the first worker", error)
    })?;
    runtime.block_on(async {
        let guard: LockGuard = cache.lock(name, TTL, WAIT).await?;
        let token = guard.fencing_token();
        log("first", &format!("holds the lock, fencing token {}", token.0));
        let written = ledger.write(token, "first");
        log("first", &format!("wrote: {}", written.is_ok()));

        // As a long collection of garbage, a swapped-out page or a migrated machine would do it.
        std::thread::sleep(PAUSE);

        log("first", &format!("wakes up; the guard says lost: {}", guard.is_lost()));
        assert!(guard.is_lost());
        // A worker that looks at its guard stops here. This one is as one that had looked just before it was paused.
        match ledger.write(token, "first, late") {
            Err(refused) => Ok(refused.to_string()),
            Ok(()) => panic!("a late write got through"),
        }
    })
}
