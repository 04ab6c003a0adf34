//! A cluster of one's own.

mod builder;
mod migrate;
mod slot;
mod view;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

pub use self::builder::ClusterBuilder;
use self::migrate::Route;
use self::view::Peer;
use crate::eventually::poll;
use crate::redis::{RedisServer, blocking};

/// A failover takes about two seconds; a loaded machine with two cores is granted more.
const DEADLINE: Duration = Duration::from_secs(30);

/// Three masters and three replicas on 127.0.0.1, joined by `redis-cli --cluster create`.
///
/// ```no_run
/// # async fn example() {
/// use cachex_test_support::Cluster;
///
/// let cluster = Cluster::start().await;
/// let slot = Cluster::slot("user:7");
/// // … connect the code under test to `cluster.urls()` …
///
/// let old = cluster.kill_master(slot).await;
/// let new = cluster.wait_promoted(slot, old).await;
/// assert_ne!(old.addr(), new.addr());
/// old.restart().await;
/// cluster.wait_ok().await;
/// # }
/// ```
///
/// Each node is a [`RedisServer`] and can be killed, frozen, restarted and questioned as one. What is said there of
/// the end of servers holds here: dropping the cluster kills all of them.
///
/// Who is master and who is replica is what the running nodes say of themselves at that moment. While they are about
/// to change it, [`wait_ok`](Self::wait_ok) first.
///
/// # Panics
///
/// Methods panic when the operating system or a node refuses, and when a wait takes longer than 30 s.
pub struct Cluster {
    nodes: Vec<RedisServer>,
    peers: Arc<[Peer]>,
}

impl Cluster {
    /// Starts a cluster with the defaults: see [`ClusterBuilder::start`].
    ///
    /// # Panics
    ///
    /// When it cannot be started; the message says why and what to do.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// Settings for a cluster that is not started yet.
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder::new()
    }

    /// The slot of `key`, by its hash tag if it has one.
    #[must_use]
    pub fn slot(key: impl AsRef<[u8]>) -> u16 {
        slot::slot(key.as_ref())
    }

    /// All six nodes, dead ones included, always in the same order.
    #[must_use]
    pub fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }

    /// The URL of the first node: enough for a client to find the others, as long as that one runs.
    /// A `rediss://` one, if the builder asked for TLS.
    #[must_use]
    pub fn url(&self) -> String {
        self.nodes.first().map(RedisServer::link_url).unwrap_or_default()
    }

    /// The URLs of all nodes, as [`url`](Self::url).
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(RedisServer::link_url).collect()
    }

    /// The running nodes that are masters.
    pub async fn masters(&self) -> Vec<&RedisServer> {
        let selves = self.ask(view::selves).await;
        let masters = selves.iter().filter(|member| member.is_master());
        masters.map(|member| self.node(&member.id)).collect()
    }

    /// The running node that owns `slot`.
    ///
    /// # Panics
    ///
    /// When there is none: it was killed and no replica has taken over yet.
    pub async fn master_for_slot(&self, slot: u16) -> &RedisServer {
        let owner = self.ask(move |peers| view::owner(peers, slot)).await;
        self.node(&owner.unwrap_or_else(|e| panic!("{e}")))
    }

    /// The running replica of `master`, which need not run itself.
    ///
    /// # Panics
    ///
    /// When `master` is not a node of this cluster.
    pub async fn replica_of(&self, master: &RedisServer) -> Option<&RedisServer> {
        let master = &self.peer(master).id;
        let selves = self.ask(view::selves).await;
        let replica = selves.iter().find(|member| member.master.as_ref() == Some(master))?;
        Some(self.node(&replica.id))
    }

    /// SIGKILL for the master that owns `slot`. Returns it when it is dead.
    ///
    /// # Panics
    ///
    /// As [`master_for_slot`](Self::master_for_slot).
    pub async fn kill_master(&self, slot: u16) -> &RedisServer {
        let master = self.master_for_slot(slot).await;
        master.kill().await;
        master
    }

    /// Waits until all running nodes agree that another than `old` owns `slot`, and returns that one.
    ///
    /// `old` may be dead or frozen. For the others it means the same as [`wait_ok`](Self::wait_ok).
    ///
    /// # Panics
    ///
    /// When that does not happen within 30 s.
    pub async fn wait_promoted(&self, slot: u16, old: &RedisServer) -> &RedisServer {
        let old = self.peer(old).id.clone();
        let new = self.ask(move |peers| {
            poll(DEADLINE, || {
                let members = view::agreed(peers, Some(&old))?;
                let owner = members.values().find(|member| member.owns(slot));
                owner.map(|member| member.id.clone()).ok_or_else(|| format!("nobody owns slot {slot}"))
            })
        });
        let new = new.await.unwrap_or_else(|last| panic!("no failover within {DEADLINE:?}; last: {last}"));
        self.node(&new)
    }

    /// Waits until all running nodes agree: the state is `ok`, each slot has an owner that runs, nobody who runs is
    /// suspected, and each replica has a link to its master.
    ///
    /// # Panics
    ///
    /// When that does not happen within 30 s.
    pub async fn wait_ok(&self) {
        let agreed = self.ask(|peers| poll(DEADLINE, || view::agreed(peers, None))).await;
        if let Err(last) = agreed {
            panic!("the cluster was not ready after {DEADLINE:?}; last: {last}");
        }
    }

    /// Moves `count` slots, the lowest first, with their keys, as a resharding does; waits until all agree, and
    /// returns the slots.
    ///
    /// # Panics
    ///
    /// When either is not a master of this cluster, or `from` has fewer slots.
    pub async fn move_slots(&self, from: &RedisServer, to: &RedisServer, count: usize) -> Vec<u16> {
        let (giver, taker) = (self.peer(from).clone(), self.peer(to).clone());
        let moved = self.ask(move |peers| {
            let selves = view::selves(peers);
            let ranges =
                selves.into_iter().filter(|member| member.id == giver.id).flat_map(|member| member.slots);
            let slots: Vec<u16> = ranges.flatten().take(count).collect();
            if slots.len() < count {
                return Err(io::Error::other(format!("it has only {} slots", slots.len())));
            }
            let mut route = Route::open(peers, &giver, &taker)?;
            for slot in &slots {
                route.begin(*slot)?;
                route.finish(*slot)?;
            }
            Ok(slots)
        });
        let moved = moved.await.unwrap_or_else(|e| panic!("moving slots from {from:?} to {to:?}: {e}"));
        self.wait_ok().await;
        moved
    }

    /// Begins to move `slot` from its owner `from` to the master `to`, and leaves it at that; no key moves.
    ///
    /// From now on `from` answers ASK to whoever names a key it does not have, and TRYAGAIN to whoever names several
    /// of which it has only some. [`finish_migration`](Self::finish_migration) or
    /// [`cancel_migration`](Self::cancel_migration) ends it.
    ///
    /// # Panics
    ///
    /// When a node refuses, for instance because `from` does not own the slot.
    pub async fn set_slot_migrating(&self, slot: u16, from: &RedisServer, to: &RedisServer) {
        self.on_the_way(from, to, move |route| route.begin(slot)).await;
    }

    /// Moves what keys of `slot` are left at `from`, makes `to` its owner, and waits until all agree.
    ///
    /// # Panics
    ///
    /// When a node refuses.
    pub async fn finish_migration(&self, slot: u16, from: &RedisServer, to: &RedisServer) {
        self.on_the_way(from, to, move |route| route.finish(slot)).await;
        self.wait_ok().await;
    }

    /// Takes [`set_slot_migrating`](Self::set_slot_migrating) back. Keys that clients stored at `to` meanwhile stay
    /// there, out of reach.
    ///
    /// # Panics
    ///
    /// When a node refuses.
    pub async fn cancel_migration(&self, slot: u16, from: &RedisServer, to: &RedisServer) {
        self.on_the_way(from, to, move |route| route.cancel(slot)).await;
    }

    async fn on_the_way(
        &self,
        from: &RedisServer,
        to: &RedisServer,
        step: impl FnOnce(&mut Route) -> io::Result<()> + Send + 'static,
    ) {
        let (source, target) = (self.peer(from).clone(), self.peer(to).clone());
        let done = self.ask(move |peers| step(&mut Route::open(peers, &source, &target)?)).await;
        done.unwrap_or_else(|e| panic!("moving a slot from {from:?} to {to:?}: {e}"));
    }

    async fn ask<T: Send + 'static>(&self, question: impl FnOnce(&[Peer]) -> T + Send + 'static) -> T {
        let peers = Arc::clone(&self.peers);
        blocking(move || question(&peers)).await
    }

    fn node(&self, id: &str) -> &RedisServer {
        let index = self.peers.iter().position(|peer| peer.id == id);
        index.and_then(|index| self.nodes.get(index)).unwrap_or_else(|| panic!("there is no node {id}"))
    }

    fn peer(&self, node: &RedisServer) -> &Peer {
        let peer = self.peers.iter().find(|peer| peer.handle.addr() == node.addr());
        peer.unwrap_or_else(|| panic!("{node:?} is not part of this cluster"))
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("nodes", &self.nodes).finish_non_exhaustive()
    }
}
