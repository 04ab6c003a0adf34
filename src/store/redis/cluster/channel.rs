//! Messages on a cluster: a shard channel has a slot as keys do, and whoever serves the slot serves the channel.
//!
//! Source: Redis documentation, "Sharded Pub/Sub",
//! <https://redis.io/docs/latest/develop/pubsub/#sharded-pubsub>.

use std::sync::{Arc, Weak};

use cachex_core::{CacheError, CacheResponse, StoredBytes};
use redis::aio::{AsyncPushSender, MultiplexedConnection};
use redis::{Pipeline, Value};

use super::layout::Redirect;
use super::map::Node;
use super::slot::slot_of;
use super::{Cluster, Place, route};
use crate::store::redis::error;
use crate::store::redis::reply::Expected;
use crate::store::redis::service::Wire;

/// The way to whoever serves a channel. Keeps nobody alive: its subscribers may outlast the store.
pub(in crate::store::redis) struct ShardChannel {
    cluster: Weak<Cluster>,
    slot: u16,
}

impl ShardChannel {
    pub(in crate::store::redis) fn new(cluster: &Arc<Cluster>, channel: &str) -> Self {
        Self { cluster: Arc::downgrade(cluster), slot: slot_of(channel) }
    }

    /// A connection of its own to the node that serves the channel, as far as is known; and that node.
    pub(in crate::store::redis) async fn open(
        &self,
        pushes: impl AsyncPushSender,
    ) -> Result<(MultiplexedConnection, Arc<Node>), CacheError> {
        let node = self.cluster()?.node_of(self.slot).await?;
        Ok((node.connections.dedicated(pushes).await?, node))
    }

    /// Learns from what `node` said to a subscriber. Whether it named another node, which is then the next to be asked.
    pub(in crate::store::redis) fn judge(&self, node: &Node, reply: &Result<Value, CacheError>) -> bool {
        let Some(cluster) = self.cluster.upgrade() else { return false };
        match cluster.judge(node, reply) {
            Some(Redirect::Moved(endpoint)) => cluster.moved(self.slot, &endpoint).is_ok(),
            // No answer to what names a channel and no key.
            Some(Redirect::Ask(_)) | None => false,
        }
    }

    /// Whether no other node than this is known to serve the channel.
    pub(in crate::store::redis) fn is_at(&self, node: &Node) -> bool {
        let owner = self.cluster.upgrade().and_then(|cluster| cluster.owner(self.slot));
        owner.is_none_or(|owner| owner.endpoint == node.endpoint)
    }

    /// Has the map of slots read again, and waits for it: for one attempt at most.
    pub(in crate::store::redis) async fn look_again(&self) {
        if let Some(cluster) = self.cluster.upgrade() {
            cluster.refreshed().await;
        }
    }

    fn cluster(&self) -> Result<Arc<Cluster>, CacheError> {
        self.cluster.upgrade().ok_or_else(error::closed)
    }
}

/// Sends messages on a channel, over the connection for `hash` to the node that serves it.
///
/// They follow the slot as a command does, all of them: some may then be heard twice, which does no harm.
pub(in crate::store::redis) async fn publish<P: StoredBytes>(
    cluster: &Arc<Cluster>,
    channel: &str,
    hash: u64,
    messages: Pipeline,
) -> Result<CacheResponse<P>, CacheError> {
    if cluster.is_closed() {
        return Err(error::closed());
    }
    let place = Place { slot: slot_of(channel), hash };
    Expected::Reached.decode(route::one(cluster, place, &Wire::Messages(messages)).await?)
}
