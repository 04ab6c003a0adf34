//! A real table behind a real stack.
//!
//! `cargo run --example quickstart` keeps the cache in memory. With `CACHEX_REDIS_ADDR` set (`host:port` or a `redis://` URL)
//! the same program caches in Redis, encrypted. Every figure it prints was measured in this run.

mod countries;
mod outage;

use std::error::Error;
use std::time::{Duration, Instant};

use cachex::layers::{Bincode, CircuitBreakerLayer, EncryptionKey, KeyId, KeyRing};
use cachex::preset::Recommended;
use cachex::store::memory::MemoryStore;
use cachex::store::redis::RedisStore;
use cachex::{Cache, CacheError, Key};
use tower_layer::Layer;

use countries::{Countries, Country};
use outage::Outage;

const TTL: Duration = Duration::from_secs(300);
const READERS: usize = 1_000;
const WARM_READS: usize = 200_000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let source = Countries::open().await?;
    let outage = Outage::default();
    let breaker = CircuitBreakerLayer::default().count_window(100).open_duration(Duration::from_millis(300));
    let settings = Recommended::new().rate_limit(50_000_000).circuit_breaker(breaker.clone());

    // The same program over either store: only this expression differs.
    let cache: Cache<Country> = match std::env::var("CACHEX_REDIS_ADDR") {
        Ok(address) => {
            let url = if address.contains("://") { address } else { format!("redis://{address}") };
            let keys = KeyRing::new(KeyId(1), EncryptionKey::generate()?);
            let store = outage.layer(RedisStore::connect(&url)?.sealed());
            println!("store     Redis, every value sealed with XChaCha20-Poly1305");
            Cache::new(settings.sealed(Bincode, keys, store)).boxed()
        }
        Err(_) => {
            println!("store     memory (set CACHEX_REDIS_ADDR to use Redis)");
            Cache::new(settings.guard(outage.layer(MemoryStore::new(10_000)))).boxed()
        }
    };
    if cfg!(debug_assertions) {
        println!("build     without optimization: times per read are many times those of `--release`");
    }
    println!("source    SQLite, {} countries of ISO 3166", source.count().await?);
    let run = Run { cache, source, key_prefix: format!("quickstart:{}", std::process::id()) };

    run.cold_read().await?;
    run.stampede().await?;
    run.warm_reads().await?;
    run.outage(&outage, &breaker).await?;
    run.cache.close().await?;
    Ok(())
}

struct Run {
    cache: Cache<Country>,
    source: Countries,
    key_prefix: String,
}

impl Run {
    fn key(&self, code: &str) -> Result<Key, CacheError> {
        Key::new(format!("{}:country:{code}", self.key_prefix))
    }

    /// What the whole library is for: the cached value, or the source's, in one call.
    async fn country(&self, key: &Key, code: &str) -> Result<std::sync::Arc<Country>, CacheError> {
        let (source, code) = (self.source.clone(), code.to_owned());
        self.cache.read_through(key, TTL, move || async move { source.find(&code).await }).await
    }

    async fn cold_read(&self) -> Result<(), Box<dyn Error>> {
        let key = self.key("FR")?;
        let start = Instant::now();
        let country = self.country(&key, "FR").await?;
        let cold = start.elapsed();
        println!(
            "\ncold      {} -> {}: {cold:.1?}, {} query",
            country.name,
            country.capital,
            self.source.queries()
        );
        println!("          {}", countries::QUERY);
        let start = Instant::now();
        self.country(&key, "FR").await?;
        println!("warm      the same again: {:.1?}, still {} query", start.elapsed(), self.source.queries());
        Ok(())
    }

    async fn stampede(&self) -> Result<(), Box<dyn Error>> {
        let key = self.key("JP")?;
        let before = self.source.queries();
        let start = Instant::now();
        let readers = (0..READERS).map(|_| self.country(&key, "JP"));
        for country in futures_util::future::join_all(readers).await {
            assert_eq!(country?.capital, "Tokyo");
        }
        let queries = self.source.queries() - before;
        println!(
            "\nstampede  {READERS} concurrent readers of one cold key: {queries} query, {:.1?} in all",
            start.elapsed()
        );
        Ok(())
    }

    async fn warm_reads(&self) -> Result<(), Box<dyn Error>> {
        let codes = self.source.codes().await?;
        let keys = codes.iter().map(|code| self.key(code)).collect::<Result<Vec<_>, _>>()?;
        for (key, code) in keys.iter().zip(&codes) {
            self.country(key, code).await?;
        }
        // One caller in memory; over a network enough of them to keep it busy.
        let (mut hits, start) = (0, Instant::now());
        for round in 0..WARM_READS / 500 {
            let reads = (0..500).map(|n| self.cache.get(&keys[(round * 500 + n * 7) % keys.len()]));
            for value in futures_util::future::join_all(reads).await {
                hits += usize::from(value?.is_some());
            }
        }
        let each = start.elapsed() / WARM_READS as u32;
        let ratio = 100.0 * hits as f64 / WARM_READS as f64;
        println!("burst     {WARM_READS} reads of {} keys: {ratio:.1} % hits, {each:.0?} each", keys.len());
        Ok(())
    }

    async fn outage(&self, outage: &Outage, breaker: &CircuitBreakerLayer) -> Result<(), Box<dyn Error>> {
        let key = self.key("FR")?;
        outage.begin();
        let (mut failed, start) = (0, Instant::now());
        let refused = loop {
            match self.cache.get(&key).await {
                Err(error) if error.kind() == cachex::ErrorKind::CircuitOpen => break error,
                Err(_) => failed += 1,
                Ok(_) => return Err("a read succeeded during the outage".into()),
            }
        };
        println!(
            "\noutage    {failed} reads failed, then the breaker opened after {:.1?}: {refused}",
            start.elapsed()
        );
        let reached = outage.refused();
        let (start, refusals) = (Instant::now(), 10_000);
        for _ in 0..refusals {
            let _ = self.cache.get(&key).await;
        }
        let each = start.elapsed() / refusals;
        println!(
            "          {refusals} more reads: {each:.0?} each, {} reached the store",
            outage.refused() - reached
        );
        let country = self.country(&key, "FR").await?;
        println!("          read_through still answers, from the source: {}", country.capital);

        outage.end();
        let start = Instant::now();
        while self.cache.get(&key).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        println!(
            "recovery  reads succeed again {:.0?} after the outage ended, breaker {:?}",
            start.elapsed(),
            breaker.handle().state()
        );
        Ok(())
    }
}
