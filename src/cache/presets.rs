//! Caches in one line.

#[cfg(feature = "memory")]
use super::Cache;

#[cfg(feature = "memory")]
impl<V: Send + Sync + 'static> Cache<V> {
    /// A cache in this process' memory that holds at most `max_entries` entries, with metrics and traces where those
    /// features are on.
    ///
    /// Nothing is serialized: a hit is the very value that was stored. Entries expire as they were told to; when the cache
    /// is full, those that are read least make room.
    #[must_use]
    pub fn memory(max_entries: usize) -> Self {
        let stack = crate::store::memory::MemoryStore::new(max_entries);
        #[cfg(feature = "metrics")]
        let stack = tower_layer::Layer::layer(&cachex_layers::MetricsLayer::new(), stack);
        #[cfg(feature = "trace")]
        let stack = tower_layer::Layer::layer(&cachex_layers::TraceLayer::new(), stack);
        Cache::new(stack).boxed()
    }
}

#[cfg(all(feature = "redis", feature = "recommended", feature = "bincode"))]
mod redis {
    use cachex_core::{CacheError, Codec};
    use cachex_layers::Bincode;

    use crate::cache::Cache;
    use crate::preset::Recommended;
    use crate::store::redis::RedisStore;

    impl<V> Cache<V>
    where
        V: Send + Sync + 'static,
        Bincode: Codec<V>,
    {
        /// A cache in the Redis server at `url`, through the recommended stack with its default settings, values encoded
        /// with bincode.
        ///
        /// Connecting is lazy: this does no I/O, and an application starts when Redis is down.
        ///
        /// # Errors
        ///
        /// `InvalidInput` when the URL is not one.
        pub fn redis(url: &str) -> Result<Self, CacheError> {
            let stack = Recommended::new().typed(Bincode, RedisStore::connect(url)?);
            Ok(Cache::new(stack).boxed())
        }

        /// As [`Cache::redis`], with every value encrypted before it leaves the process.
        ///
        /// # Errors
        ///
        /// `InvalidInput` when the URL is not one.
        #[cfg(feature = "encrypt")]
        pub fn redis_sealed(url: &str, keys: cachex_layers::KeyRing) -> Result<Self, CacheError> {
            let stack = Recommended::new().sealed(Bincode, keys, RedisStore::connect(url)?.sealed());
            Ok(Cache::new(stack).boxed())
        }
    }
}
