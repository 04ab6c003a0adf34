//! The redis crate: its multiplexed connection bare, and in its manager.
//!
//! Without time limits, which costs it least. `TCP_NODELAY` is off unless told, as in cachex.

use bytes::Bytes;
use redis::aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig};
use redis::{AsyncCommands, AsyncConnectionConfig};

use super::{BARE, CONNECTIONS, Client, Contender, Failure, Kind, Material, Target, connections};
use crate::workload::MGET_KEYS;

/// A handle on a connection that every caller keeps for itself.
#[derive(Clone)]
pub(super) struct Handle<C>(C);

pub(super) async fn multiplexed(target: &Target) -> Result<Contender, Failure> {
    let client = redis::Client::open(target.url.as_str())?;
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let material = Material::new()?;
    let mut contender = Contender::new(BARE, "redis MultiplexedConnection", Kind::Peer);
    for count in CONNECTIONS {
        let mut handles = Vec::with_capacity(count);
        for _ in 0..count {
            handles.push(Handle(client.get_multiplexed_async_connection_with_config(&config).await?));
        }
        contender.setting(connections(count), count == 1, &material, handles);
    }
    Ok(contender)
}

pub(super) async fn manager(target: &Target) -> Result<Contender, Failure> {
    let client = redis::Client::open(target.url.as_str())?;
    let config = ConnectionManagerConfig::new().set_response_timeout(None);
    let material = Material::new()?;
    let mut contender = Contender::new("redis-manager", "redis ConnectionManager", Kind::Peer);
    for count in CONNECTIONS {
        let mut handles = Vec::with_capacity(count);
        for _ in 0..count {
            handles.push(Handle(ConnectionManager::new_with_config(client.clone(), config.clone()).await?));
        }
        contender.setting(connections(count), count == 1, &material, handles);
    }
    Ok(contender)
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> Client for Handle<C> {
    type Value = Bytes;
    type Reply = Vec<u8>;

    fn value(bytes: Bytes) -> Result<Bytes, Failure> {
        Ok(bytes)
    }

    async fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>, Failure> {
        Ok(self.0.get(key).await?)
    }

    async fn set(&mut self, key: &str, value: &Bytes) -> Result<(), Failure> {
        Ok(self.0.set(key, value.as_ref()).await?)
    }

    async fn mget(&mut self, keys: [&str; MGET_KEYS]) -> Result<Vec<Option<Vec<u8>>>, Failure> {
        Ok(self.0.mget(&keys).await?)
    }
}
