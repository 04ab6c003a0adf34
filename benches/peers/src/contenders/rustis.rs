//! rustis: its client as a multiplexer, which is what it recommends to servers; several of them for several connections.

use bytes::Bytes;
use rustis::client::{Client as Connection, Config};
use rustis::commands::StringCommands;
use rustis::resp::{BulkString, RefBulkString};

use super::{CONNECTIONS, Client, Contender, Failure, Kind, Material, Target, connections};
use crate::workload::MGET_KEYS;

#[derive(Clone)]
struct Rustis(Connection);

pub(super) async fn multiplexed(target: &Target) -> Result<Contender, Failure> {
    let material = Material::new()?;
    let mut contender = Contender::new("rustis", "rustis", Kind::Peer);
    for no_delay in [true, false] {
        for count in CONNECTIONS {
            let mut clients = Vec::with_capacity(count);
            for _ in 0..count {
                let mut config: Config = target.url.parse()?;
                config.no_delay = no_delay;
                clients.push(Rustis(Connection::connect(config).await?));
            }
            let label = connections(count) + if no_delay { ", nodelay" } else { "" };
            contender.setting(label, count == 1 && no_delay, &material, clients);
        }
    }
    Ok(contender)
}

/// A value as the client hands it out.
pub(super) struct Reply(BulkString);

impl AsRef<[u8]> for Reply {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl Client for Rustis {
    type Value = Bytes;
    type Reply = Reply;

    fn value(bytes: Bytes) -> Result<Bytes, Failure> {
        Ok(bytes)
    }

    async fn get(&mut self, key: &str) -> Result<Option<Reply>, Failure> {
        let found: Option<BulkString> = self.0.get(key).await?;
        Ok(found.map(Reply))
    }

    async fn set(&mut self, key: &str, value: &Bytes) -> Result<(), Failure> {
        Ok(self.0.set(key, RefBulkString::new(value)).await?)
    }

    async fn mget(&mut self, keys: [&str; MGET_KEYS]) -> Result<Vec<Option<Reply>>, Failure> {
        let found: Vec<Option<BulkString>> = self.0.mget(keys).await?;
        Ok(found.into_iter().map(|value| value.map(Reply)).collect())
    }
}
