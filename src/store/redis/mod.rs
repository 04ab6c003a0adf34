//! Redis as the store at the end of a stack.
//!
//! [`RedisStore`] serves [`Encoded`](cachex_core::Encoded) and [`Sealed`](cachex_core::Sealed) bytes; declared
//! [`sealed`](RedisStore::sealed) it takes sealed ones alone, and a stack that forgot to encrypt does not compile.
//!
//! # Connections
//!
//! Making a store does no I/O, so that an application starts while Redis is down. The first request connects; requests that
//! come meanwhile wait for the same attempt. A few multiplexed connections ([`connections`](RedisStoreBuilder::connections))
//! are shared by all requests, each key keeping to one of them. None is checked out of the pool per operation: with the two
//! extra commands deadpool-redis sends each time, that costs most of the throughput. The pool is where connections
//! come from, and for what needs one of its own.
//!
//! Beside them there are a few [`read_connections`](RedisStoreBuilder::read_connections), each for one `get` or `mget` at a time: a batch, or a
//! caller that comes alone, is answered there without the detours of sharing. Where many `get`s meet, each shared connection has
//! one more beside it that these share, and that does nothing else: what meets is one write, and up to 256 commands go out ahead of
//! their answers. With hundreds of callers that is nearly twice as fast. An `mget` that finds its connection in use takes the shared one. Each of them belongs
//! to a shared connection, and goes when that one does.
//!
//! A lost connection fails the requests that were on it, and comes back by itself: at once, then after pauses of up to 2 s
//! with full jitter. While the last attempt failed, requests fail at once, with the reason and without effect. A connection
//! that leaves requests without any answer (two ran into the response timeout, or callers gave up on theirs for half a
//! second), or that leads to a read-only replica, is replaced in the background while it goes on serving.
//! [`RedisStore::state`] tells where things stand.
//!
//! # Topologies
//!
//! One server ([`connect`](RedisStore::connect), [`address`](RedisStoreBuilder::address)), the primary that sentinels name
//! ([`sentinel`](RedisStoreBuilder::sentinel)), or a Redis Cluster ([`cluster`](RedisStoreBuilder::cluster), `redis-cluster://`
//! URLs). On a cluster each key's request goes to the master of its slot, over shared connections per node; replicas are not
//! read from. A request follows a slot that moved or is on its way (`MOVED`, `ASK`), five times at most: whoever says so has
//! executed nothing. A connection that is lost is an error there as here, and has the map of slots read again.
//!
//! `mget`, `mset`, `del` and `exists` are taken apart by slot, each node gets its commands in one write, and the answers are put in
//! the order of the keys. `mset` is then all or nothing per slot only, and per key while a slot is on its way to another
//! node. When a part of a write fails, the error's [`Effect`](cachex_core::Effect) is `Unknown` unless no part can have been
//! carried out. `ping` asks every master. Invalidation messages go by the node that serves the slot of their channel.
//!
//! # Sentinel
//!
//! With [`RedisStoreBuilder::sentinel`], or a `redis-sentinel://` URL, the server is whichever the sentinels say is the
//! primary. A failover is noticed by what sentinels publish, by lost connections and by `READONLY`; connections to the old
//! primary are left as soon as the new one is known.
//!
//! # Time limits
//!
//! Every request ends within the [connect timeout](RedisStoreBuilder::connect_timeout) plus the
//! [response timeout](RedisStoreBuilder::response_timeout) (half as much again for the former, should a runtime stand still;
//! twice the latter for a lock, when the server turns out not to know its script). The
//! driver retries nothing: that is for a retry layer to decide.
//!
//! # What each operation is on the server
//!
//! | operation | command |
//! |---|---|
//! | get, mget | `GET`, `MGET`: a key of another type is an error to the former, missing to the latter |
//! | set | `SET … [PX] [NX or XX]` |
//! | mset | `MSET` without a lifetime, else `MULTI`, one `SET … PX` each, `EXEC`: all or nothing |
//! | del, exists | `UNLINK`, `EXISTS` |
//! | ttl | `PTTL` |
//! | expire | `PEXPIRE`; without a lifetime `MULTI`, `PERSIST`, `EXISTS`, `EXEC` |
//! | publish_invalidation | `PUBLISH`, on a cluster `SPUBLISH`, one for every 16 KiB of keys |
//! | subscribe_invalidations | `SUBSCRIBE`, on a cluster `SSUBSCRIBE`, on a connection of its own |
//! | incr_by | `INCRBY`; with a lifetime `MULTI`, `SET … 0 PX … NX`, `INCRBY`, `EXEC`: it counts for a new counter only |
//! | lock, extend_lock, unlock | a script by `EVALSHA`, and by `EVAL` where the server has not seen it |
//!
//! A fill ([`Intent::Fill`](cachex_core::Intent::Fill)) is a `SET … NX`: it never overwrites what anyone wrote since the load began. It may store
//! what was deleted on another node while the load ran: that takes a fence across nodes, which this store does not keep
//! by itself. Its misses carry [`FillToken::UNFENCED`](cachex_core::FillToken::UNFENCED).
//!
//! Tags are not served yet, and answered with `Unsupported`.
//!
//! # Locks
//!
//! A lock is a hash of its own, under the lock's name with a suffix (`\x1flock`) that no key can have: entries and locks of one
//! name do not touch. It keeps the last fencing token, and expires a day after the lock was given up or ran out. See
//! [`patterns::lock`](crate::patterns::lock) for the guard, and for what a lock does and does not guarantee. An ACL user needs
//! `+evalsha +eval +time +hmget +hset +hdel +pexpire`.
//!
//! # Invalidation messages
//!
//! They are Redis' own publish and subscribe, on one channel ([`invalidation_channel`](RedisStoreBuilder::invalidation_channel)).
//! All subscriptions of a store share a connection of their own, which is outside the pool and needs Redis 6: opened for the
//! first subscriber, closed with the last, brought back when it is lost. A subscription is answered when the server has
//! confirmed it. From then on every message is heard or its loss is told
//! ([`Invalidation::Missed`](cachex_core::Invalidation::Missed)): when the connection is lost, again when it is back, when a
//! subscriber lets 4 MiB pile up, when a message cannot be read. A server that vanished without a word is noticed within 3 s and
//! the response timeout. [`RedisStore::subscription_stats`] counts.
//!
//! On a cluster they are sharded, which needs Redis 7: the node that owns the slot of the channel's name carries it alone. When
//! the slot moves, or a replica takes over, the subscription moves along, and the gap is told like any other.
//!
//! # Example
//!
//! ```no_run
//! use cachex::store::redis::RedisStore;
//!
//! let store = RedisStore::connect("redis://app:s3cret@cache.internal:6379/0")?.sealed();
//! # Ok::<(), cachex_core::CacheError>(())
//! ```

mod address;
mod builder;
mod cluster;
mod command;
mod connection;
mod credentials;
mod direct;
mod error;
mod lock;
#[cfg(feature = "metrics")]
mod metrics;
mod pubsub;
mod reply;
mod script;
mod sentinel;
mod service;
#[cfg(feature = "redis-tls")]
mod tls;

use std::sync::Arc;
use std::time::Duration;

use cachex_core::{CacheError, SealedOnly};

pub use self::builder::RedisStoreBuilder;
use self::cluster::Cluster;
use self::connection::Connections;
pub use self::connection::{ConnectionState, PoolStatus};
pub use self::credentials::Credentials;
pub use self::pubsub::SubscriptionStats;
use self::pubsub::{Hub, Publishing};
pub use self::service::ResponseFuture;
#[cfg(feature = "redis-tls")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis-tls")))]
pub use self::tls::Tls;

/// A store on a Redis server. See the [module](self).
///
/// A clone is one reference count; clones share connections. Calls need a tokio runtime.
#[derive(Clone, Debug)]
pub struct RedisStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    topology: Topology,
    publishing: Arc<Publishing>,
    hub: Hub,
    default_ttl: Option<Duration>,
}

/// Who serves the store's requests.
#[derive(Debug)]
enum Topology {
    /// One server at a time.
    Standalone(Arc<Connections>),
    /// The nodes of a cluster, each for its slots.
    Cluster(Arc<Cluster>),
}

/// A server that a store talks to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeStatus {
    /// `host:port`, the path of a socket, or the name by which sentinels know the primary.
    pub address: String,
    /// How it is connected.
    pub state: ConnectionState,
    /// How its connections are used.
    pub pool: PoolStatus,
    /// How many of a cluster's 16384 slots it serves; `None` where there are no slots.
    pub slots: Option<usize>,
}

impl RedisStore {
    /// Makes a store for the server at `url`, with defaults for everything else. Nothing is sent: the first request
    /// connects.
    ///
    /// [`RedisStoreBuilder::url`] tells what a URL looks like.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](cachex_core::ErrorKind::InvalidInput) naming the part of the URL that is wrong, and showing nothing of it.
    pub fn connect(url: impl Into<String>) -> Result<Self, CacheError> {
        Self::builder().url(url).build()
    }

    /// Settings for a store that is not made yet.
    pub fn builder() -> RedisStoreBuilder {
        RedisStoreBuilder::default()
    }

    fn new(topology: Topology, publishing: Arc<Publishing>, hub: Hub, default_ttl: Option<Duration>) -> Self {
        Self(Arc::new(Inner { topology, publishing, hub, default_ttl }))
    }

    /// Declares the store sealed: it takes [`Sealed`](cachex_core::Sealed) bytes and no others.
    #[must_use]
    pub fn sealed(self) -> SealedOnly<Self> {
        SealedOnly::new(self)
    }

    /// How the store is connected, as far as requests have found out: an idle connection whose server died still counts as up.
    ///
    /// A cluster is [`Connected`](ConnectionState::Connected) when all nodes that were needed so far are,
    /// [`Degraded`](ConnectionState::Degraded) when only some are.
    #[must_use]
    pub fn state(&self) -> ConnectionState {
        match self.topology() {
            Topology::Standalone(connections) => connections.state(),
            Topology::Cluster(cluster) => cluster.state(),
        }
    }

    /// How its connections are used: those to all nodes together.
    #[must_use]
    pub fn pool_status(&self) -> PoolStatus {
        match self.topology() {
            Topology::Standalone(connections) => connections.pool_status(),
            Topology::Cluster(cluster) => cluster.pool_status(),
        }
    }

    /// What became of its subscriptions to invalidation messages.
    #[must_use]
    pub fn subscription_stats(&self) -> SubscriptionStats {
        self.0.hub.stats()
    }

    /// Changes the user name and the password while the store runs.
    ///
    /// New connections log in with them from now on. Those that are up authenticate again in place: no request fails or
    /// waits for it. Rotate a password by giving the server the new one beside the old, then the store, and then taking
    /// the old one from the server.
    ///
    /// Cancel safe: from the first poll on the new ones are in force for new connections.
    ///
    /// # Errors
    ///
    /// What a server said of them over a connection that is up: [`Auth`](cachex_core::ErrorKind::Auth) when they are
    /// wrong. That connection goes on as the user it was; the new credentials stay in force for new connections all the
    /// same, until others are set. Without a connection nobody is asked, and the next one tells.
    pub async fn set_credentials(&self, credentials: Credentials) -> Result<(), CacheError> {
        match self.topology() {
            Topology::Standalone(connections) => connections.set_credentials(credentials).await,
            Topology::Cluster(cluster) => cluster.set_credentials(credentials).await,
        }
    }

    /// The servers it talks to: one, or the nodes of a cluster that are known so far.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeStatus> {
        match self.topology() {
            Topology::Standalone(connections) => vec![NodeStatus {
                address: connections.address(),
                state: connections.state(),
                pool: connections.pool_status(),
                slots: None,
            }],
            Topology::Cluster(cluster) => cluster.nodes(),
        }
    }

    fn topology(&self) -> &Topology {
        &self.0.topology
    }

    fn default_ttl(&self) -> Option<Duration> {
        self.0.default_ttl
    }
}
