//! What sentinels and servers say, and whether they agree.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;

use super::NAME;
use crate::redis::Handle;
use crate::resp::{Connection, Reply};

/// Everybody there is to ask.
pub(super) struct Peers {
    pub(super) servers: [Handle; 2],
    pub(super) sentinels: Vec<Handle>,
}

impl Peers {
    /// The server that all running sentinels give for the primary, and that says itself that it is one.
    pub(super) fn primary(&self) -> Result<SocketAddr, String> {
        let mut agreed = None;
        for sentinel in self.running_sentinels() {
            let addr = at(sentinel, primary(sentinel))?;
            if *agreed.get_or_insert(addr) != addr {
                return Err(format!("{} says {addr}, another {agreed:?}", sentinel.addr()));
            }
        }
        let addr = agreed.ok_or("no sentinel is running")?;
        let server = self.servers.iter().find(|server| server.link_addr() == addr);
        let server = server.ok_or_else(|| format!("{addr} is neither of the two"))?;
        let info = replication(server)?;
        if info.contains("role:master") { Ok(server.addr()) } else { Err(format!("{addr}: {info}")) }
    }

    /// Whether the replica is in step, and every running sentinel would be ready to put it in the primary's place.
    pub(super) fn settled(&self) -> Result<(), String> {
        let primary = self.primary()?;
        for replica in self.servers.iter().filter(|server| server.addr() != primary) {
            let info = replication(replica)?;
            if !info.contains("role:slave") || !info.contains("master_link_status:up") {
                return Err(format!("{}: {info}", replica.addr()));
            }
        }
        let usable = format!("OK {} usable", self.running_sentinels().count());
        for sentinel in self.running_sentinels() {
            let ready =
                at(sentinel, sentinel.connect().and_then(|mut connection| ready(&mut connection, &usable)))?;
            ready.map_err(|complaint| format!("{}: {complaint}", sentinel.addr()))?;
        }
        Ok(())
    }

    /// Asks a running sentinel to make the replica the primary, without waiting for it.
    pub(super) fn failover(&self) -> Result<(), String> {
        let sentinel = self.running_sentinels().next().ok_or("no sentinel is running")?;
        let asked = sentinel.connect().and_then(|mut sentinel| sentinel.ask(&["SENTINEL", "FAILOVER", NAME]));
        at(sentinel, asked.map(drop))
    }

    fn running_sentinels(&self) -> impl Iterator<Item = &Handle> {
        self.sentinels.iter().filter(|sentinel| sentinel.is_running())
    }
}

fn at<T>(handle: &Handle, result: io::Result<T>) -> Result<T, String> {
    result.map_err(|e| format!("{}: {e}", handle.addr()))
}

fn primary(sentinel: &Handle) -> io::Result<SocketAddr> {
    let reply = sentinel.connect()?.ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME])?;
    let parts = reply.as_array().unwrap_or_default();
    let parts: Vec<_> = parts.iter().filter_map(Reply::as_str).collect();
    parts.join(":").parse().map_err(|_| io::Error::other(format!("not an address: {reply:?}")))
}

fn replication(server: &Handle) -> Result<String, String> {
    at(server, server.connect().and_then(|mut server| server.ask_text(&["INFO", "replication"])))
}

/// Whether a sentinel is at rest and could begin a failover, or what is in its way.
fn ready(sentinel: &mut Connection, usable: &str) -> io::Result<Result<(), String>> {
    let primary = fields(&sentinel.ask(&["SENTINEL", "MASTER", NAME])?);
    let replicas = sentinel.ask(&["SENTINEL", "REPLICAS", NAME])?;
    let replicas: Vec<_> = replicas.as_array().unwrap_or_default().iter().map(fields).collect();
    let quorum = sentinel.command(&["SENTINEL", "CKQUORUM", NAME])?;
    let healthy = |replica: &HashMap<String, String>| {
        is(replica, "flags", "slave") && is(replica, "master-link-status", "ok")
    };
    let ready = is(&primary, "flags", "master")
        && matches!(replicas.as_slice(), [replica] if healthy(replica))
        && quorum.as_str().is_some_and(|text| text.starts_with(usable));
    Ok(if ready { Ok(()) } else { Err(format!("{quorum:?}; {primary:?}; {replicas:?}")) })
}

fn is(fields: &HashMap<String, String>, name: &str, value: &str) -> bool {
    fields.get(name).is_some_and(|have| have == value)
}

/// Names and values by turns.
fn fields(reply: &Reply) -> HashMap<String, String> {
    let text = |reply: &Reply| reply.as_str().unwrap_or_default().to_owned();
    let pairs = reply.as_array().unwrap_or_default().chunks_exact(2);
    pairs.map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
}
