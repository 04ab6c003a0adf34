//! What the nodes say of their cluster, and whether they agree.

use std::collections::BTreeMap;
use std::io;
use std::ops::RangeInclusive;

use super::slot::SLOTS;
use crate::redis::Handle;
use crate::resp::Connection;

/// A node to ask.
#[derive(Clone)]
pub(super) struct Peer {
    pub(super) handle: Handle,
    pub(super) id: String,
}

/// A line of `CLUSTER NODES`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) id: String,
    flags: String,
    /// The id of the master, of a replica.
    pub(super) master: Option<String>,
    pub(super) epoch: u64,
    connected: bool,
    pub(super) slots: Vec<RangeInclusive<u16>>,
}

impl Member {
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split(' ');
        let mut next = || fields.next();
        let (id, _addr, flags, master) = (next()?, next()?, next()?, next()?);
        let (_ping, _pong, epoch, link) = (next()?, next()?, next()?, next()?);
        Some(Self {
            id: id.to_owned(),
            flags: flags.to_owned(),
            master: (master != "-").then(|| master.to_owned()),
            epoch: epoch.parse().ok()?,
            connected: link == "connected",
            // `[93-<-id]` and `[77->-id]` are slots on the move: they still belong to whom they belonged.
            slots: fields.filter(|field| !field.starts_with('[')).filter_map(range).collect(),
        })
    }

    fn is(&self, flag: &str) -> bool {
        self.flags.split(',').any(|have| have == flag)
    }

    pub(super) fn is_master(&self) -> bool {
        self.is("master")
    }

    pub(super) fn owns(&self, slot: u16) -> bool {
        self.slots.iter().any(|range| range.contains(&slot))
    }

    /// What keeps it from working as far as the node that says so can see.
    fn trouble(&self) -> Option<&str> {
        let bad = ["fail", "fail?", "handshake", "noaddr"].into_iter().find(|flag| self.is(flag));
        bad.or_else(|| (!self.connected && !self.is("myself")).then_some("disconnected"))
    }
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some(first.parse().ok()?..=last.parse().ok()?)
}

/// What one node says of all.
pub(super) fn members(connection: &mut Connection) -> io::Result<Vec<Member>> {
    let text = connection.ask_text(&["CLUSTER", "NODES"])?;
    text.lines()
        .map(|line| Member::parse(line).ok_or_else(|| io::Error::other(format!("not a node: {line}"))))
        .collect()
}

/// What every running node says of itself; those that do not answer are left out.
pub(super) fn selves(peers: &[Peer]) -> Vec<Member> {
    let running = peers.iter().filter(|peer| peer.handle.is_running());
    running
        .filter_map(|peer| {
            let members = peer.handle.connect().and_then(|mut connection| members(&mut connection)).ok()?;
            members.into_iter().find(|member| member.is("myself"))
        })
        .collect()
}

/// The master of each slot, as far as running nodes claim them: two may do for a moment, and the newer claim holds.
pub(super) fn owner(peers: &[Peer], slot: u16) -> Result<String, String> {
    let claims = selves(peers).into_iter().filter(|member| member.is_master() && member.owns(slot));
    let newest = claims.max_by_key(|member| member.epoch);
    newest.map(|member| member.id).ok_or_else(|| format!("no running node owns slot {slot}"))
}

/// What all running nodes agree on: the members that run, by their ids. `without` is not asked and not counted.
///
/// An error says in what they do not: the state is not `ok`, a slot has no running owner, somebody is suspected,
/// a replica has no link to its master, or two nodes say different things.
pub(super) fn agreed(peers: &[Peer], without: Option<&str>) -> Result<BTreeMap<String, Member>, String> {
    let running: Vec<_> =
        peers.iter().filter(|peer| peer.handle.is_running() && Some(peer.id.as_str()) != without).collect();
    let mut agreed: Option<BTreeMap<String, Member>> = None;
    for peer in &running {
        let at = |e: io::Error| format!("{}: {e}", peer.handle.addr());
        let mut connection = peer.handle.connect().map_err(at)?;
        let info = connection.ask_text(&["CLUSTER", "INFO"]).map_err(at)?;
        if !info.contains("cluster_state:ok") {
            return Err(format!("{}: {info}", peer.handle.addr()));
        }
        let mut view = BTreeMap::new();
        for mut member in members(&mut connection).map_err(at)? {
            if !running.iter().any(|peer| peer.id == member.id) {
                continue;
            }
            if let Some(trouble) = member.trouble() {
                return Err(format!("{}: {trouble}: {}", peer.handle.addr(), member.id));
            }
            // The same from wherever one looks.
            member.flags = if member.is_master() { "master" } else { "slave" }.to_owned();
            member.connected = true;
            member.epoch = 0;
            view.insert(member.id.clone(), member);
        }
        let owned: usize = view.values().flat_map(|member| &member.slots).map(ExactSizeIterator::len).sum();
        if view.len() != running.len() || owned != usize::from(SLOTS) {
            return Err(format!("{}: {} nodes own {owned} slots", peer.handle.addr(), view.len()));
        }
        if view.get(&peer.id).is_some_and(|me| !me.is_master()) {
            let info = connection.ask_text(&["INFO", "replication"]).map_err(at)?;
            if !info.contains("master_link_status:up") {
                return Err(format!("{}: {info}", peer.handle.addr()));
            }
        }
        match &agreed {
            None => agreed = Some(view),
            Some(other) if *other == view => {}
            Some(other) => {
                return Err(format!("{} says {view:?}, another {other:?}", peer.handle.addr()));
            }
        }
    }
    agreed.ok_or_else(|| "no node is running".to_owned())
}
