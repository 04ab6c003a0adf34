//! The state of a store as gauges.

use ::metrics::{Unit, describe_gauge, gauge};

use super::{ConnectionState, RedisStore};

/// Connections of the pool, by `store` and `state`: `in_use` or `idle`.
const CONNECTIONS: &str = "redis_pool_connections";
/// The most connections there may be, by `store`.
const MAX: &str = "redis_pool_max_connections";
/// Callers that wait for a connection, by `store`.
const WAITING: &str = "redis_pool_waiting";
/// 1 for the state the store is in, 0 for the others, by `store` and `state`.
const STATE: &str = "redis_connection_state";

impl RedisStore {
    /// Sets the gauges of the installed `metrics` recorder to how things stand now, under the label `store`:
    ///
    /// | gauge | label | value |
    /// |---|---|---|
    /// | `redis_pool_connections` | `state`: `in_use`, `idle` | how many there are; the shared ones are in use |
    /// | `redis_pool_max_connections` | | how many there may be |
    /// | `redis_pool_waiting` | | how many callers wait for one |
    /// | `redis_connection_state` | `state`, as [`ConnectionState::as_str`] | 1 for the state it is in, 0 for the others |
    ///
    /// No request pays for them: call it as often as they are read, such as before each scrape or from a task.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use cachex::store::redis::RedisStore;
    ///
    /// # async fn report() -> Result<(), cachex_core::CacheError> {
    /// let store = RedisStore::connect("redis://cache.internal")?;
    /// let reported = store.clone();
    /// tokio::spawn(async move {
    ///     let mut ticks = tokio::time::interval(Duration::from_secs(10));
    ///     loop {
    ///         ticks.tick().await;
    ///         reported.record_metrics("sessions");
    ///     }
    /// });
    /// # Ok(())
    /// # }
    /// ```
    #[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
    #[expect(clippy::cast_precision_loss, reason = "no pool is that large")]
    pub fn record_metrics(&self, store: &'static str) {
        let pool = self.pool_status();
        let in_use = pool.size.saturating_sub(pool.available);
        gauge!(CONNECTIONS, "store" => store, "state" => "in_use").set(in_use as f64);
        gauge!(CONNECTIONS, "store" => store, "state" => "idle").set(pool.available as f64);
        gauge!(MAX, "store" => store).set(pool.max_size as f64);
        gauge!(WAITING, "store" => store).set(pool.waiting as f64);
        let now = self.state();
        for state in ConnectionState::ALL {
            let value = if state == now { 1.0 } else { 0.0 };
            gauge!(STATE, "store" => store, "state" => state.as_str()).set(value);
        }
    }

    /// Tells the installed recorder the unit and the meaning of the gauges. Call it once, after the recorder is installed.
    #[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
    pub fn describe_metrics() {
        describe_gauge!(CONNECTIONS, Unit::Count, "Connections of the pool, in use or idle");
        describe_gauge!(MAX, Unit::Count, "The most connections the pool may have");
        describe_gauge!(WAITING, Unit::Count, "Callers that wait for a connection of the pool");
        describe_gauge!(STATE, "1 for the state the store is in, 0 for the others");
    }
}
