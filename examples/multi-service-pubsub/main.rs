//! Two services that share a cache, each with copies of its own, and the messages that keep those copies true.
//!
//! `CACHEX_REDIS_ADDR=localhost:6379 cargo run --example multi-service-pubsub` (`host:port` or a `redis://` URL) gives each service its own connection to Redis,
//! as if they were two processes on two machines. Without it both use one store in memory.

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cachex::cache::Listener;
use cachex::{Cache, Invalidation, Key};
use tokio::sync::Notify;

const TTL: Duration = Duration::from_secs(300);

/// Prices in cents: the source of truth.
type Source = Arc<Mutex<HashMap<&'static str, u64>>>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let source: Source = Arc::new(Mutex::new(HashMap::from([("chair", 4_900), ("table", 19_900)])));
    let stores: [Cache<u64>; 2] = match std::env::var("CACHEX_REDIS_ADDR") {
        Ok(address) => {
            let url = if address.contains("://") { address } else { format!("redis://{address}") };
            [Cache::redis(&url)?, Cache::redis(&url)?]
        }
        Err(_) => {
            let shared = Cache::memory(1_000);
            [shared.clone(), shared]
        }
    };
    let [catalogue, checkout] = stores;
    let catalogue = Service::start("catalogue", catalogue, &source).await?;
    let checkout = Service::start("checkout", checkout, &source).await?;

    checkout.price("chair").await?;
    checkout.price("chair").await?;
    catalogue.change("chair", 3_900).await?;
    // Only so that the output is the same every time: a real service does not wait.
    checkout.copies.changed.notified().await;
    checkout.price("chair").await?;

    catalogue.stop().await?;
    checkout.stop().await
}

/// Copies that cost no round trip: the smallest that show the messages. Better ones also mind a message that comes while a
/// price is on its way here.
#[derive(Default)]
struct Copies {
    prices: Mutex<HashMap<Key, u64>>,
    changed: Notify,
}

impl Copies {
    fn hear(&self, message: Invalidation) {
        let mut prices = self.prices.lock().unwrap_or_else(PoisonError::into_inner);
        match message {
            Invalidation::Keys(keys) => keys.iter().for_each(|key| _ = prices.remove(key)),
            // Some messages may have been lost, nobody knows which: then no copy can be trusted.
            _ => prices.clear(),
        }
        self.changed.notify_one();
    }
}

struct Service {
    name: &'static str,
    cache: Cache<u64>,
    source: Source,
    copies: Arc<Copies>,
    listener: Listener,
}

impl Service {
    async fn start(name: &'static str, cache: Cache<u64>, source: &Source) -> Result<Self, Box<dyn Error>> {
        let copies = Arc::new(Copies::default());
        let heard = Arc::clone(&copies);
        let listener = cache.subscribe_invalidations(move |message| heard.hear(message)).await?;
        Ok(Self { name, cache, source: Arc::clone(source), copies, listener })
    }

    /// From the copy, else from the shared cache, else from the source.
    async fn price(&self, article: &'static str) -> Result<u64, Box<dyn Error>> {
        let key = Key::new(format!("price:{article}"))?;
        let copy = self.copies.prices.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied();
        if let Some(price) = copy {
            println!("{}: {article} costs {price}, says the copy", self.name);
            return Ok(price);
        }
        let source = Arc::clone(&self.source);
        let load = move || async move {
            let price = source.lock().unwrap_or_else(PoisonError::into_inner).get(article).copied();
            price.ok_or("no such article")
        };
        let price = *self.cache.read_through(&key, TTL, load).await?;
        println!("{}: {article} costs {price}, says the shared cache", self.name);
        self.copies.prices.lock().unwrap_or_else(PoisonError::into_inner).insert(key, price);
        Ok(price)
    }

    /// The source first, then the shared cache, then the copies of everyone.
    async fn change(&self, article: &'static str, price: u64) -> Result<(), Box<dyn Error>> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner).insert(article, price);
        let key = Key::new(format!("price:{article}"))?;
        self.cache.del(&key).await?;
        let told = self.cache.publish_invalidation([key]).await?;
        println!("{}: {article} costs {price} now; {told} subscribers told", self.name);
        Ok(())
    }

    async fn stop(self) -> Result<(), Box<dyn Error>> {
        self.listener.close().await;
        Ok(self.cache.close().await?)
    }
}
