//! Invalidation messages between processes, over Redis' publish and subscribe; in a cluster, over those of the node that serves the channel's
//! slot.
//!
//! A [`Hub`] is what the subscribers of one store share. The first of them opens a connection that serves no requests, the
//! last one to leave closes it. One task, the link, keeps it: it subscribes, asks every few seconds whether the server is still
//! there, and when it is not, tells every subscriber that messages may be missed and begins again. What the server says goes
//! from the driver straight into the subscribers' mailboxes, in its order; nothing waits in between.

mod hub;
mod link;
mod mailbox;
mod message;
mod server;

use cachex_core::Keys;
use redis::{Cmd, Pipeline};

pub(super) use self::hub::Hub;
pub use self::hub::SubscriptionStats;
use self::message::PublisherId;
pub(super) use self::server::Server;

/// How a store publishes.
#[derive(Debug)]
pub(super) struct Publishing {
    channel: Box<str>,
    /// By shard channels, which a cluster has.
    sharded: bool,
    publisher: PublisherId,
}

impl Publishing {
    pub(super) fn new(channel: &str, sharded: bool) -> Self {
        Self { channel: channel.into(), sharded, publisher: PublisherId::random() }
    }

    pub(super) fn channel(&self) -> &str {
        &self.channel
    }

    /// The commands that tell of `keys`, each answered with the number of subscribers.
    pub(super) fn commands(&self, keys: &Keys) -> Pipeline {
        let messages = message::encode(self.publisher, keys.as_slice());
        let name = if self.sharded { "SPUBLISH" } else { "PUBLISH" };
        let mut pipeline = Pipeline::with_capacity(messages.len());
        for message in messages {
            pipeline.cmd(name).arg(&*self.channel).arg(message);
        }
        pipeline
    }

    fn subscribe(&self) -> Cmd {
        let mut command = redis::cmd(if self.sharded { "SSUBSCRIBE" } else { "SUBSCRIBE" });
        command.arg(&*self.channel);
        command
    }
}
