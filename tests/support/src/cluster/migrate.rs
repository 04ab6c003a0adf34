//! Moving slots between masters: <https://redis.io/docs/latest/commands/cluster-setslot/>.

use std::io;

use super::view::{self, Peer};
use crate::resp::{Connection, Reply};

/// How many keys one MIGRATE takes along. The server does nothing else meanwhile.
const BATCH: &str = "100";

/// For one MIGRATE, in milliseconds.
const TIMEOUT: &str = "5000";

/// The way from one master to another, with a connection to every running one.
pub(super) struct Route {
    source: Connection,
    target: Connection,
    others: Vec<Connection>,
    from: Peer,
    to: Peer,
}

impl Route {
    pub(super) fn open(peers: &[Peer], from: &Peer, to: &Peer) -> io::Result<Self> {
        let masters = view::selves(peers).into_iter().filter(view::Member::is_master);
        let others: Vec<_> =
            masters.map(|member| member.id).filter(|id| ![&from.id, &to.id].contains(&id)).collect();
        let others = peers.iter().filter(|peer| others.contains(&peer.id));
        Ok(Self {
            source: from.handle.connect()?,
            target: to.handle.connect()?,
            others: others.map(|peer| peer.handle.connect()).collect::<io::Result<_>>()?,
            from: from.clone(),
            to: to.clone(),
        })
    }

    /// The target takes keys from those who say ASKING, and the source sends there whoever wants a key it lacks.
    ///
    /// In this order, or a client could be sent to a target that does not know of it yet.
    pub(super) fn begin(&mut self, slot: u16) -> io::Result<()> {
        let slot = slot.to_string();
        self.target.ask(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &self.from.id])?;
        self.source.ask(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &self.to.id])?;
        Ok(())
    }

    /// Moves the keys that are left, then tells everybody who owns the slot: the target first, so that it is never
    /// without an owner.
    pub(super) fn finish(&mut self, slot: u16) -> io::Result<()> {
        let slot = slot.to_string();
        while let Some(keys) = self.keys(&slot)? {
            self.migrate(keys)?;
        }
        for connection in [&mut self.target, &mut self.source].into_iter().chain(&mut self.others) {
            connection.ask(&["CLUSTER", "SETSLOT", &slot, "NODE", &self.to.id])?;
        }
        Ok(())
    }

    /// Neither migrates nor imports it any longer. Keys that have moved are lost to the owner.
    pub(super) fn cancel(&mut self, slot: u16) -> io::Result<()> {
        for connection in [&mut self.source, &mut self.target] {
            connection.ask(&["CLUSTER", "SETSLOT", &slot.to_string(), "STABLE"])?;
        }
        Ok(())
    }

    fn keys(&mut self, slot: &str) -> io::Result<Option<Vec<Vec<u8>>>> {
        match self.source.ask(&["CLUSTER", "GETKEYSINSLOT", slot, BATCH])? {
            Reply::Array(keys) if keys.is_empty() => Ok(None),
            Reply::Array(keys) => Ok(Some(keys.into_iter().filter_map(Reply::into_bytes).collect())),
            other => Err(io::Error::other(format!("not a list of keys: {other:?}"))),
        }
    }

    fn migrate(&mut self, keys: Vec<Vec<u8>>) -> io::Result<()> {
        let addr = self.to.handle.link_addr();
        let words = ["MIGRATE", &addr.ip().to_string(), &addr.port().to_string(), "", "0", TIMEOUT];
        let mut parts: Vec<_> = words.map(|word| word.as_bytes().to_vec()).into();
        if let Some(password) = self.to.handle.password() {
            parts.extend([b"AUTH".to_vec(), password.as_bytes().to_vec()]);
        }
        parts.push(b"KEYS".to_vec());
        parts.extend(keys);
        self.source.ask(&parts)?;
        Ok(())
    }
}
