//! Which node serves which slot, as far as is known.

use std::fmt;
use std::sync::Arc;

use cachex_core::CacheError;

use super::layout::Layout;
use super::slot::SLOTS;
use crate::store::redis::address::Endpoint;
use crate::store::redis::connection::{ConnectionState, Connections};

/// A node, with its connections. None is made before it is needed.
pub(in crate::store::redis) struct Node {
    pub(super) endpoint: Endpoint,
    pub(in crate::store::redis) connections: Arc<Connections>,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.endpoint, self.connections.state().as_str())
    }
}

/// No node.
const NOBODY: u16 = u16::MAX;

/// The map of slots. Every request reads it, under a lock that is held for a few instructions.
pub(super) struct SlotMap {
    /// By slot, an index into `nodes`.
    owners: Box<[u16]>,
    /// The masters, and whom requests were sent to besides since the map was read.
    nodes: Vec<Arc<Node>>,
    replicas: Vec<Endpoint>,
    known: bool,
}

impl SlotMap {
    pub(super) fn new() -> Self {
        Self {
            owners: vec![NOBODY; usize::from(SLOTS)].into(),
            nodes: Vec::new(),
            replicas: Vec::new(),
            known: false,
        }
    }

    /// Whether a node has ever told.
    pub(super) fn is_known(&self) -> bool {
        self.known
    }

    pub(super) fn owner(&self, slot: u16) -> Option<&Arc<Node>> {
        self.nodes.get(usize::from(self.owners[usize::from(slot)]))
    }

    pub(super) fn nodes(&self) -> &[Arc<Node>] {
        &self.nodes
    }

    pub(super) fn replicas(&self) -> &[Endpoint] {
        &self.replicas
    }

    pub(super) fn find(&self, endpoint: &Endpoint) -> Option<&Arc<Node>> {
        self.nodes.iter().find(|node| node.endpoint == *endpoint)
    }

    /// How many slots each node serves, in the order of the nodes; and how many nobody does.
    pub(super) fn shares(&self) -> (Vec<usize>, usize) {
        let (mut shares, mut uncovered) = (vec![0; self.nodes.len()], 0);
        for owner in self.owners.iter() {
            match shares.get_mut(usize::from(*owner)) {
                Some(share) => *share += 1,
                None => uncovered += 1,
            }
        }
        (shares, uncovered)
    }

    /// The node at `endpoint`, made by `make` if there is none.
    pub(super) fn find_or_add(
        &mut self,
        endpoint: &Endpoint,
        make: impl FnOnce() -> Result<Arc<Node>, CacheError>,
    ) -> Result<usize, CacheError> {
        if let Some(index) = self.nodes.iter().position(|node| node.endpoint == *endpoint) {
            return Ok(index);
        }
        self.nodes.push(make()?);
        Ok(self.nodes.len() - 1)
    }

    pub(super) fn node(&self, index: usize) -> &Arc<Node> {
        &self.nodes[index]
    }

    /// The slot is known to live at the node with this index.
    pub(super) fn assign(&mut self, slot: u16, index: usize) {
        self.owners[usize::from(slot)] = u16::try_from(index).unwrap_or(NOBODY);
    }

    /// The map as `layout` has it. Nodes that stay keep their connections, those of `spare` included; the others are let
    /// go.
    pub(super) fn rebuilt(
        &self,
        layout: Layout,
        spare: &Arc<Node>,
        make: impl Fn(&Endpoint) -> Result<Arc<Node>, CacheError>,
    ) -> Result<Self, CacheError> {
        let mut map = Self { replicas: layout.replicas, known: true, ..Self::new() };
        for (slots, endpoint) in layout.masters {
            let index = map.find_or_add(&endpoint, || match self.find(&endpoint) {
                Some(node) => Ok(Arc::clone(node)),
                None if spare.endpoint == endpoint => Ok(Arc::clone(spare)),
                None => make(&endpoint),
            })?;
            for slot in slots {
                map.assign(slot, index);
            }
        }
        Ok(map)
    }

    /// What the states of all nodes come to.
    pub(super) fn state(&self) -> ConnectionState {
        let (mut up, mut connecting, mut down, mut degraded) = (false, false, false, false);
        for node in &self.nodes {
            match node.connections.state() {
                ConnectionState::Idle | ConnectionState::Closed => {}
                ConnectionState::Connecting => connecting = true,
                ConnectionState::Connected => up = true,
                ConnectionState::Degraded => degraded = true,
                ConnectionState::Down => down = true,
            }
        }
        match (up, degraded || connecting || down) {
            (true, false) => ConnectionState::Connected,
            (true, true) => ConnectionState::Degraded,
            (false, _) if degraded => ConnectionState::Degraded,
            (false, _) if down => ConnectionState::Down,
            (false, _) if connecting => ConnectionState::Connecting,
            (false, _) => ConnectionState::Idle,
        }
    }
}
