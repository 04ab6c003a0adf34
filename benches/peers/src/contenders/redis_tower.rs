//! redis-tower: its multiplexed client, with its defaults, and with batches and a queue that hold more.

use bytes::Bytes;
use redis_tower::commands::{Get, MGet, Set};
use redis_tower::{AutoPipelineConfig, MultiplexedClient, RedisConnection};

use super::{CONNECTIONS, Client, Contender, Failure, Kind, Material, Target, connections};
use crate::workload::MGET_KEYS;

/// Its tuning guide: a batch's bound may grow with the callers, and the queue is a bound on them.
const LARGE_BATCH: usize = 512;
const LARGE_QUEUE: usize = 4_096;

#[derive(Clone)]
struct Tower(MultiplexedClient);

pub(super) async fn multiplexed(target: &Target) -> Result<Contender, Failure> {
    let material = Material::new()?;
    let mut contender = Contender::new("redis-tower", "redis-tower", Kind::Peer);
    for large in [false, true] {
        for count in CONNECTIONS {
            let mut clients = Vec::with_capacity(count);
            for _ in 0..count {
                let connection = RedisConnection::connect(&target.addr).await?;
                clients
                    .push(Tower(MultiplexedClient::from_connection_with_config(connection, config(large))));
            }
            let batches = if large { format!(", batches of {LARGE_BATCH}") } else { String::new() };
            contender.setting(connections(count) + &batches, count == 1 && !large, &material, clients);
        }
    }
    Ok(contender)
}

fn config(large: bool) -> AutoPipelineConfig {
    let defaults = AutoPipelineConfig::default();
    if large {
        AutoPipelineConfig { max_batch_size: LARGE_BATCH, queue_capacity: LARGE_QUEUE, ..defaults }
    } else {
        defaults
    }
}

impl Client for Tower {
    type Value = Bytes;
    type Reply = Bytes;

    fn value(bytes: Bytes) -> Result<Bytes, Failure> {
        Ok(bytes)
    }

    async fn get(&mut self, key: &str) -> Result<Option<Bytes>, Failure> {
        Ok(self.0.execute(Get::new(key)).await?)
    }

    async fn set(&mut self, key: &str, value: &Bytes) -> Result<(), Failure> {
        self.0.execute(Set::new(key, value)).await?;
        Ok(())
    }

    async fn mget(&mut self, keys: [&str; MGET_KEYS]) -> Result<Vec<Option<Bytes>>, Failure> {
        Ok(self.0.execute(MGet::new(keys)).await?)
    }
}
