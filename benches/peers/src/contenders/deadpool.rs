//! deadpool-redis: a connection checked out for each operation, and checked by the pool each time.

use bytes::Bytes;
use deadpool_redis::{Manager, Pool, Runtime};
use redis::{AsyncCommands, AsyncConnectionConfig};

use super::{Client, Contender, Failure, Kind, Material, Target};
use crate::workload::MGET_KEYS;

/// How many connections the pool may hold.
const SIZES: [usize; 3] = [4, 16, 64];

#[derive(Clone)]
struct Checkout(Pool);

pub(super) async fn checkout(target: &Target) -> Result<Contender, Failure> {
    let material = Material::new()?;
    let mut contender = Contender::new("deadpool", "deadpool-redis, a checkout each", Kind::Peer);
    for size in SIZES {
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let manager = Manager::new_with_config(target.url.as_str(), config)?;
        let pool = Pool::builder(manager).max_size(size).runtime(Runtime::Tokio1).build()?;
        contender.setting(format!("a pool of {size}"), false, &material, vec![Checkout(pool)]);
    }
    Ok(contender)
}

impl Client for Checkout {
    type Value = Bytes;
    type Reply = Vec<u8>;

    fn value(bytes: Bytes) -> Result<Bytes, Failure> {
        Ok(bytes)
    }

    async fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>, Failure> {
        Ok(self.0.get().await?.get(key).await?)
    }

    async fn set(&mut self, key: &str, value: &Bytes) -> Result<(), Failure> {
        Ok(self.0.get().await?.set(key, value.as_ref()).await?)
    }

    async fn mget(&mut self, keys: [&str; MGET_KEYS]) -> Result<Vec<Option<Vec<u8>>>, Failure> {
        Ok(self.0.get().await?.mget(&keys).await?)
    }
}
