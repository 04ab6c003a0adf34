//! A store on Redis Cluster: requests are routed here, over [`Connections`] per node.
//!
//! The map of slots says which node a key's request goes to. A node that knows better says so (`MOVED`, `ASK`): the request
//! follows, since whoever answers so has done nothing. The map is read anew in the background when it was found wrong, or when
//! a node is out of reach; see [`discovery`].

mod channel;
mod discovery;
mod layout;
mod map;
mod route;
mod seeds;
mod slot;
mod split;

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use cachex_core::{CacheError, ErrorKind, Key};
use futures_util::future::join_all;
use tokio::sync::watch;

pub(super) use self::channel::{ShardChannel, publish};
use self::discovery::Phase;
pub(super) use self::map::Node;
use self::map::SlotMap;
pub(super) use self::route::serve;
pub(super) use self::seeds::Seeds;
use super::NodeStatus;
use super::address::Endpoint;
use super::connection::{ConnectionState, Connections, PoolStatus, Route, Settings, Source};
use super::credentials::Credentials;
use super::error;
use super::service::Wire;

/// A cluster, its nodes and their connections.
pub(super) struct Cluster {
    seeds: Box<[Endpoint]>,
    /// For every node, but for the way to it.
    settings: Settings,
    map: RwLock<SlotMap>,
    phase: watch::Sender<Phase>,
}

/// Where a key lives: its slot, and the hash that chooses among the connections of a node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) slot: u16,
    pub(super) hash: u64,
}

impl Place {
    pub(super) fn of(key: &Key) -> Self {
        Self { slot: slot::slot_of(key.as_str()), hash: key.hash_code() }
    }

    /// The same, but for a script, whose key on the server may be another than the request's.
    fn for_wire(self, wire: &Wire) -> Self {
        match wire {
            Wire::Script(script) => Self { slot: slot::slot_of(script.key()), ..self },
            Wire::Command(_) | Wire::Transaction(_) | Wire::Batch(_) | Wire::Messages(_) => self,
        }
    }
}

impl Cluster {
    /// # Errors
    ///
    /// What is wrong with the settings. Nothing is connected.
    pub(super) fn new(seeds: Vec<Endpoint>, settings: Settings) -> Result<Arc<Self>, CacheError> {
        let cluster = Self {
            seeds: seeds.into(),
            settings,
            map: RwLock::new(SlotMap::new()),
            phase: watch::Sender::new(Phase::Idle),
        };
        for seed in &cluster.seeds {
            cluster.make(seed)?;
        }
        Ok(Arc::new(cluster))
    }

    /// The node that serves a slot. Waits for the map if there is none yet.
    ///
    /// Cancel safe: reading the map goes on without the caller.
    ///
    /// # Errors
    ///
    /// Why there is no map; `ClusterDown` when nobody serves the slot. Nothing was sent then.
    pub(super) async fn node_of(self: &Arc<Self>, slot: u16) -> Result<Arc<Node>, CacheError> {
        if let Some(node) = self.owner(slot) {
            return Ok(node);
        }
        self.known().await?;
        self.owner(slot).ok_or_else(|| self.uncovered())
    }

    /// The node that serves a slot, if that is known.
    fn owner(&self, slot: u16) -> Option<Arc<Node>> {
        self.map().owner(slot).cloned()
    }

    /// All nodes that serve slots.
    ///
    /// # Errors
    ///
    /// Why there is no map; `ClusterDown` when nobody serves some slot.
    async fn masters(self: &Arc<Self>) -> Result<Vec<Arc<Node>>, CacheError> {
        self.known().await?;
        let (nodes, (shares, uncovered)) = {
            let map = self.map();
            (map.nodes().to_vec(), map.shares())
        };
        if uncovered > 0 {
            return Err(self.uncovered());
        }
        Ok(nodes.into_iter().zip(shares).filter(|(_, share)| *share > 0).map(|(node, _)| node).collect())
    }

    fn uncovered(self: &Arc<Self>) -> CacheError {
        if self.is_closed() {
            return error::closed();
        }
        self.refresh();
        CacheError::new(ErrorKind::ClusterDown, "no node of the cluster serves the slot")
    }

    /// The slot lives at `endpoint` now: so it was told.
    fn moved(self: &Arc<Self>, slot: u16, endpoint: &Endpoint) -> Result<Arc<Node>, CacheError> {
        self.add(endpoint, |map, index| map.assign(slot, index))
    }

    /// The node at `endpoint`, whether it serves slots or not yet.
    fn at(self: &Arc<Self>, endpoint: &Endpoint) -> Result<Arc<Node>, CacheError> {
        self.add(endpoint, |_, _| ())
    }

    fn add(
        &self,
        endpoint: &Endpoint,
        then: impl FnOnce(&mut SlotMap, usize),
    ) -> Result<Arc<Node>, CacheError> {
        let mut map = self.map_mut();
        // `close` says so before it takes the lock: what is added here in time, it finds.
        if self.is_closed() {
            return Err(error::closed());
        }
        let index = map.find_or_add(endpoint, || self.make(endpoint))?;
        then(&mut map, index);
        Ok(Arc::clone(map.node(index)))
    }

    fn make(&self, endpoint: &Endpoint) -> Result<Arc<Node>, CacheError> {
        let settings = Settings { route: Route::Server(endpoint.clone()), ..self.settings.clone() };
        let connections = Connections::new(Source::new(&settings)?, settings);
        Ok(Arc::new(Node { endpoint: endpoint.clone(), connections }))
    }

    /// The longest a request may take: until there is a connection, and then until there is an answer.
    fn patience(&self) -> Duration {
        self.settings.connect_timeout + self.settings.connect_timeout / 2 + self.settings.response_timeout
    }

    /// Logs in with these from now on at every node, on the connections that are up as well.
    pub(super) async fn set_credentials(&self, credentials: Credentials) -> Result<(), CacheError> {
        // The nodes that come later share them too.
        self.settings.credentials.set(credentials);
        let nodes = self.map().nodes().to_vec();
        let told = nodes.iter().map(|node| node.connections.authenticate_again());
        join_all(told).await.into_iter().collect()
    }

    /// Refuses all requests from now on, and lets go of all connections.
    pub(super) fn close(&self) {
        self.phase.send_replace(Phase::Closed);
        let map = std::mem::replace(&mut *self.map_mut(), SlotMap::new());
        for node in map.nodes() {
            node.connections.close();
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(*self.phase.borrow(), Phase::Closed)
    }

    pub(super) fn state(&self) -> ConnectionState {
        let without_map = match &*self.phase.borrow() {
            Phase::Closed => return ConnectionState::Closed,
            Phase::Failing(_) => ConnectionState::Down,
            Phase::Reading => ConnectionState::Connecting,
            Phase::Idle | Phase::Known(_) => ConnectionState::Idle,
        };
        let map = self.map();
        if map.is_known() { map.state() } else { without_map }
    }

    pub(super) fn pool_status(&self) -> PoolStatus {
        let none = PoolStatus { max_size: 0, size: 0, available: 0, waiting: 0 };
        self.map().nodes().iter().map(|node| node.connections.pool_status()).fold(none, |sum, status| {
            PoolStatus {
                max_size: sum.max_size + status.max_size,
                size: sum.size + status.size,
                available: sum.available + status.available,
                waiting: sum.waiting + status.waiting,
            }
        })
    }

    pub(super) fn nodes(&self) -> Vec<NodeStatus> {
        let map = self.map();
        let (shares, _) = map.shares();
        let status = |(node, slots): (&Arc<Node>, usize)| NodeStatus {
            address: node.connections.address(),
            state: node.connections.state(),
            pool: node.connections.pool_status(),
            slots: Some(slots),
        };
        map.nodes().iter().zip(shares).map(status).collect()
    }

    fn map(&self) -> RwLockReadGuard<'_, SlotMap> {
        // Nobody panics under the lock, and a map is never half written.
        self.map.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn map_mut(&self) -> RwLockWriteGuard<'_, SlotMap> {
        self.map.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("seeds", &self.seeds)
            .field("settings", &self.settings)
            .field("nodes", &self.map().nodes())
            .finish_non_exhaustive()
    }
}
