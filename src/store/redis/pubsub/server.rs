//! Whom the subscription is asked of.

use std::sync::Arc;

use cachex_core::CacheError;
use redis::Value;
use redis::aio::{AsyncPushSender, MultiplexedConnection};

use crate::store::redis::cluster::{Node, ShardChannel};
use crate::store::redis::connection::Source;

/// The way to the server that serves the channel.
pub(in super::super) enum Server {
    /// The one there is, or the primary.
    One(Source),
    /// The node of a cluster.
    Shard(ShardChannel),
}

/// The server that a connection leads to.
pub(super) enum Place {
    /// How often the primary had moved by then.
    One { moves: u64 },
    /// A node.
    Node(Arc<Node>),
}

impl Server {
    /// A connection of its own to whoever serves the channel now, as far as is known.
    pub(super) async fn open(
        &self,
        pushes: impl AsyncPushSender,
    ) -> Result<(MultiplexedConnection, Place), CacheError> {
        match self {
            Self::One(source) => {
                let (driver, moves) = source.dedicated(pushes).await?;
                Ok((driver, Place::One { moves }))
            }
            Self::Shard(channel) => {
                let (driver, node) = channel.open(pushes).await?;
                Ok((driver, Place::Node(node)))
            }
        }
    }

    /// Whether the connection that leads there was refused because the channel is elsewhere, and where is known.
    pub(super) fn redirects(&self, place: &Place, reply: &Result<Value, CacheError>) -> bool {
        match (self, place) {
            (Self::Shard(channel), Place::Node(node)) => channel.judge(node, reply),
            _ => false,
        }
    }

    /// Whether it serves the channel still, as far as is known.
    pub(super) fn is_at(&self, place: &Place) -> bool {
        match (self, place) {
            // What is published at the primary is not heard at the one it replaced.
            (Self::One(source), Place::One { moves }) => source.moves() == *moves,
            (Self::Shard(channel), Place::Node(node)) => channel.is_at(node),
            _ => false,
        }
    }

    /// What is known of it may be out of date: finds out, if that is not done by connecting.
    pub(super) async fn look_again(&self) {
        if let Self::Shard(channel) = self {
            channel.look_again().await;
        }
    }
}
