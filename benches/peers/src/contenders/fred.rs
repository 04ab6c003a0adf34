//! fred: its own pool, which takes its clients in turn. Every client pipelines what its callers send together; since version
//! 10 that needs no switch.

use bytes::Bytes;
use fred::clients::Pool;
use fred::interfaces::{ClientLike, KeysInterface};
use fred::types::Builder;
use fred::types::config::{Config, TcpConfig};

use super::{CONNECTIONS, Client, Contender, Failure, Kind, Material, Target, connections};
use crate::workload::MGET_KEYS;

#[derive(Clone)]
struct Fred(Pool);

pub(super) async fn pool(target: &Target) -> Result<Contender, Failure> {
    let material = Material::new()?;
    let mut contender = Contender::new("fred", "fred", Kind::Peer);
    for nodelay in [None, Some(true)] {
        for count in CONNECTIONS {
            let mut builder = Builder::from_config(Config::from_url(&target.url)?);
            builder
                .with_connection_config(|config| config.tcp = TcpConfig { nodelay, ..TcpConfig::default() });
            let pool = builder.build_pool(count)?;
            pool.init().await?;
            let label = connections(count) + if nodelay.is_some() { ", nodelay" } else { "" };
            contender.setting(label, count == 1 && nodelay.is_none(), &material, vec![Fred(pool)]);
        }
    }
    Ok(contender)
}

impl Client for Fred {
    type Value = Bytes;
    type Reply = Bytes;

    fn value(bytes: Bytes) -> Result<Bytes, Failure> {
        Ok(bytes)
    }

    async fn get(&mut self, key: &str) -> Result<Option<Bytes>, Failure> {
        Ok(self.0.get(key).await?)
    }

    async fn set(&mut self, key: &str, value: &Bytes) -> Result<(), Failure> {
        Ok(self.0.set(key, value.clone(), None, None, false).await?)
    }

    async fn mget(&mut self, keys: [&str; MGET_KEYS]) -> Result<Vec<Option<Bytes>>, Failure> {
        Ok(self.0.mget(keys.to_vec()).await?)
    }
}
