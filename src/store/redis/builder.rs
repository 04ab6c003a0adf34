//! Settings of a store before it is built.

mod route;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cachex_core::{CacheError, ErrorKind, Ttl};

use super::address::{Address, DEFAULT_PORT, Endpoint, Secret, Target};
use super::cluster::{Cluster, Seeds, ShardChannel};
use super::connection::{Connections, Settings, Source};
use super::credentials::{Credentials, Keychain};
use super::pubsub::{Hub, Publishing, Server};
#[cfg(feature = "redis-tls")]
use super::tls::Tls;
use super::{RedisStore, Topology};

/// How many connections all requests share unless told otherwise.
const DEFAULT_CONNECTIONS: usize = 2;
/// How many serve one read at a time: as many as a batch layer has lanes unless told otherwise.
const DEFAULT_READ_CONNECTIONS: usize = 4;
/// More have never been seen to help: the server is one thread.
const MAX_CONNECTIONS: usize = 64;
const DEFAULT_POOL_SIZE: usize = 8;
/// The channel of invalidation messages unless told otherwise.
const DEFAULT_CHANNEL: &str = "cachex:invalidations";
const MAX_CHANNEL: usize = 512;
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);

/// Settings of a [`RedisStore`].
///
/// Without any: `127.0.0.1:6379`, database 0, no credentials, no TLS. What a setter says wins over what the URL says,
/// in whatever order they are called. `Debug` shows no password.
///
/// ```
/// use std::time::Duration;
/// use cachex::store::redis::RedisStore;
///
/// let store = RedisStore::builder()
///     .url("redis://app@cache.internal:6379/0")
///     .password("s3cret")
///     .response_timeout(Duration::from_millis(250))
///     .default_ttl(Duration::from_secs(3600))
///     .build()?;
/// # Ok::<(), cachex_core::CacheError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder makes no store until `build` is called"]
pub struct RedisStoreBuilder {
    url: Option<Secret>,
    place: Option<Place>,
    cluster: Option<Vec<Secret>>,
    sentinel: SentinelSettings,
    username: Option<String>,
    password: Option<Secret>,
    database: Option<u32>,
    client_name: Option<String>,
    #[cfg(feature = "redis-tls")]
    tls: Option<Tls>,
    connect_timeout: Duration,
    response_timeout: Duration,
    connections: usize,
    read_connections: usize,
    give_way: bool,
    pool_size: usize,
    tcp_nodelay: bool,
    default_ttl: Option<Duration>,
    invalidation_channel: String,
}

/// What the setters say of where the server is.
#[derive(Clone, Debug)]
enum Place {
    Server(Endpoint),
    Sentinel { master: String, nodes: Vec<String> },
}

/// What only sentinels need.
#[derive(Clone, Debug, Default)]
struct SentinelSettings {
    username: Option<String>,
    password: Option<Secret>,
    /// What was said of TLS, if anything.
    #[cfg(feature = "redis-tls")]
    tls: Option<Option<Tls>>,
}

impl Default for RedisStoreBuilder {
    fn default() -> Self {
        Self {
            url: None,
            place: None,
            cluster: None,
            sentinel: SentinelSettings::default(),
            username: None,
            password: None,
            database: None,
            client_name: None,
            #[cfg(feature = "redis-tls")]
            tls: None,
            connect_timeout: DEFAULT_TIMEOUT,
            response_timeout: DEFAULT_TIMEOUT,
            connections: DEFAULT_CONNECTIONS,
            read_connections: DEFAULT_READ_CONNECTIONS,
            give_way: true,
            pool_size: DEFAULT_POOL_SIZE,
            tcp_nodelay: false,
            default_ttl: None,
            invalidation_channel: DEFAULT_CHANNEL.to_owned(),
        }
    }
}

impl RedisStoreBuilder {
    /// Where the server is, as a URL:
    ///
    /// - `redis://[user][:password@]host[:port][/database]`;
    /// - `rediss://…`, the same over TLS (feature `redis-tls`);
    /// - `unix:///path[?db=…&user=…&pass=…]`;
    /// - `redis-sentinel://[user][:password@]host[:port][,host[:port]…]/name[/database]`: the primary that these sentinels
    ///   know by this name. User and password are the servers'; see [`sentinel`](Self::sentinel);
    /// - `rediss-sentinel://…`, the same over TLS, to servers and sentinels;
    /// - `redis-cluster://[user][:password@]host[:port][,host[:port]]…`, some nodes of a cluster; `rediss-cluster://…`, the
    ///   same over TLS. See [`cluster`](Self::cluster).
    ///
    /// User name and password are percent-encoded. The port is 6379 unless told, a sentinel's 26379. `valkey` instead of
    /// `redis` is understood as well, and so is `redis+unix`.
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.url = Some(Secret(url.into()));
        self
    }

    /// Where the server listens for TCP.
    pub fn address(mut self, host: impl Into<String>, port: u16) -> Self {
        self.place = Some(Place::Server(Endpoint::Tcp { host: host.into(), port }));
        self
    }

    /// The path of the Unix socket the server listens on.
    pub fn unix_socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.place = Some(Place::Server(Endpoint::Unix(path.into())));
        self
    }

    /// The primary that sentinels know by the name `master`, wherever it is. Each sentinel is `host` or `host:port`, by
    /// default port 26379; name all there are. They must be of Redis 6 or newer.
    ///
    /// Every connection is to the server a sentinel names, after that server has said itself that it is a primary (`ROLE`,
    /// or `HELLO` for a user who may not ask for that). The store also listens to every sentinel: when another server
    /// becomes the primary, all requests from then on go to that one, although the old one may still answer. Requests
    /// wait for the new connection, within the connect timeout. What a sentinel says that is older than what another said
    /// before is not believed while the newer primary still is one.
    ///
    /// Asking one sentinel may take an even share of the connect timeout. User, password and database are the servers';
    /// sentinels have [credentials](Self::sentinel_password) of their own or none.
    ///
    /// ```
    /// use cachex::store::redis::RedisStore;
    ///
    /// let store = RedisStore::builder()
    ///     .sentinel("mymaster", ["10.0.0.1:26379", "10.0.0.2:26379", "10.0.0.3:26379"])
    ///     .password("s3cret")
    ///     .build()?;
    /// // The same as a URL:
    /// let store = RedisStore::connect("redis-sentinel://:s3cret@10.0.0.1,10.0.0.2,10.0.0.3/mymaster")?;
    /// # Ok::<(), cachex_core::CacheError>(())
    /// ```
    pub fn sentinel(
        mut self,
        master: impl Into<String>,
        sentinels: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        let nodes = sentinels.into_iter().map(Into::into).collect();
        self.place = Some(Place::Sentinel { master: master.into(), nodes });
        self
    }

    /// The name of the user at the sentinels; their default user unless told.
    pub fn sentinel_username(mut self, username: impl Into<String>) -> Self {
        self.sentinel.username = Some(username.into());
        self
    }

    /// The password at the sentinels, who are never shown that of the servers.
    pub fn sentinel_password(mut self, password: impl Into<String>) -> Self {
        self.sentinel.password = Some(Secret(password.into()));
        self
    }

    /// TLS to the sentinels, or `None` for none. Unless told, they are spoken to as the servers are.
    #[cfg(feature = "redis-tls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "redis-tls")))]
    pub fn sentinel_tls(mut self, tls: impl Into<Option<Tls>>) -> Self {
        self.sentinel.tls = Some(tls.into());
        self
    }

    /// Some nodes of a cluster, to find the others by: any that is up will do, master or replica. Each is `host`, `host:port`
    /// or a URL; the URLs must agree in all but host and port.
    ///
    /// Every other setting holds for every node: credentials, TLS, time limits, the numbers of
    /// [connections](Self::connections). A cluster has no database but 0.
    ///
    /// ```
    /// use cachex::store::redis::RedisStore;
    ///
    /// let store = RedisStore::builder().cluster(["10.0.0.1:7000", "10.0.0.2:7000"]).password("s3cret").build()?;
    /// # Ok::<(), cachex_core::CacheError>(())
    /// ```
    pub fn cluster(mut self, nodes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.cluster = Some(nodes.into_iter().map(|node| Secret(node.into())).collect());
        self
    }

    /// The name of the ACL user; the server's default user unless told.
    pub fn username(mut self, username: impl Into<String>) -> Self {
        self.username = Some(username.into());
        self
    }

    /// The password.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(Secret(password.into()));
        self
    }

    /// The number of the database; 0 unless told.
    pub fn database(mut self, database: u32) -> Self {
        self.database = Some(database);
        self
    }

    /// The name every connection carries in `CLIENT LIST`; none unless told. A server that refuses to take it is used
    /// without.
    pub fn client_name(mut self, name: impl Into<String>) -> Self {
        self.client_name = Some(name.into());
        self
    }

    /// Talks TLS, with what `tls` says. Without it a `rediss://` URL talks TLS with the certificates of the system.
    #[cfg(feature = "redis-tls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "redis-tls")))]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// How long making a connection may take, name resolution, TLS and authentication included: 1 s unless told.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long an answer may take, counted from the moment a connected request is queued: 1 s unless told.
    pub fn response_timeout(mut self, timeout: Duration) -> Self {
        self.response_timeout = timeout;
        self
    }

    /// How many connections all requests share: 2 unless told, 1 to 64.
    ///
    /// All requests for one key take the same connection. Where 2 comes from: on one machine with two cores, 512 callers
    /// got about a tenth more reads per second than with 1, and fewer again with 4.
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// How many connections serve one read at a time, beside the shared ones: 4 unless told, 0 to 64.
    ///
    /// A read that finds the one of its key's place unused has it to itself, and its answer comes without the detours that
    /// sharing a connection takes: a batch of small values costs the client a third less. Meant for the lanes of a
    /// [`BatchLayer`](crate::layers::BatchLayer), and for callers that come alone. They are made when they are first needed,
    /// outside the pool, and rounded up to a multiple of [`connections`](Self::connections).
    ///
    /// Reads of one key that find it in use share another one, of which there is one for each of the
    /// [`connections`](Self::connections) as soon as it is needed; reads of many take the shared connection. On a cluster, with TLS that
    /// is to trust anybody (`insecure_skip_verify`), and with 0 here, all reads do.
    pub fn read_connections(mut self, connections: usize) -> Self {
        self.read_connections = connections;
        self
    }

    /// Whether a server on this very machine may have the core of a thread that has sent it a batch of reads; yes unless
    /// told. It matters where a [`BatchLayer`](crate::layers::BatchLayer) serves callers enough to keep every core busy: the
    /// server, whom they all wait for, would wait behind them.
    ///
    /// The thread gives up its core ([`std::thread::yield_now`]) when the batch is written and those whose batch came
    /// back before are woken. That is a system call without effect while no other thread waits for this core. Whoever does may
    /// have it: where that turns out to be a thread that computes, and takes more than a millisecond, the thread yields less and less
    /// ([`give_way`](cachex_core::handover::give_way)). A server is on this machine when the connection is: by loopback, by an
    /// address of one's own, by a Unix socket. So whatever forwards connections counts, such as a tunnel, and a container with an address of its own does not.
    ///
    /// Only batches over [`read_connections`](Self::read_connections), and single reads that go out together, yield. Measured on Linux, where since 6.6 it helps only a
    /// server in the same scheduling group: the same cgroup and, with autogroups, the same session.
    pub fn yield_to_local_server(mut self, yes: bool) -> Self {
        self.give_way = yes;
        self
    }

    /// How many connections there may be beyond the shared ones, for what needs one of its own: 8 unless told. They are
    /// made when they are first needed.
    pub fn pool_size(mut self, size: usize) -> Self {
        self.pool_size = size;
        self
    }

    /// Whether TCP sends every request at once (`TCP_NODELAY`): no unless told.
    ///
    /// Unless told, requests that come while earlier ones are unacknowledged go out together (Nagle's algorithm, RFC 896),
    /// which is a batch for free: on one machine, 64 callers got a fifth to a third more reads per second. An answer
    /// acknowledges its request, so a lone caller never waits. Over a network whose round trip is long beside the
    /// server's work, and with callers that overlap, sending at once is up to one round trip quicker.
    pub fn tcp_nodelay(mut self, nodelay: bool) -> Self {
        self.tcp_nodelay = nodelay;
        self
    }

    /// The lifetime of entries stored with [`Ttl::Default`]: unlimited unless told.
    pub fn default_ttl(mut self, ttl: impl Into<Option<Duration>>) -> Self {
        self.default_ttl = ttl.into();
        self
    }

    /// The channel on which invalidation messages are published and heard: `cachex:invalidations` unless told. 1 to 512
    /// bytes without control characters.
    ///
    /// Channels are the server's, whatever the [`database`](Self::database): applications that share a server and not
    /// their keys should each have one of their own. An ACL user needs `&` and the name of the channel.
    ///
    /// On a cluster the name has a slot, as a key has, and the node that owns the slot carries the channel: names spread
    /// applications over the shards.
    ///
    /// ```
    /// use cachex::store::redis::RedisStore;
    ///
    /// let nodes = ["10.0.0.1:7000", "10.0.0.2:7000"];
    /// let store = RedisStore::builder().cluster(nodes).invalidation_channel("orders:invalidations").build()?;
    /// # Ok::<(), cachex_core::CacheError>(())
    /// ```
    pub fn invalidation_channel(mut self, channel: impl Into<String>) -> Self {
        self.invalidation_channel = channel.into();
        self
    }

    /// Makes the store. Nothing is sent: the first request connects.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] naming the setting, or the part of the URL, that is wrong;
    /// [`ErrorKind::InvalidTtl`] for a default lifetime out of range. No error shows a password.
    pub fn build(self) -> Result<RedisStore, CacheError> {
        check("connect_timeout", "above zero", !self.connect_timeout.is_zero())?;
        check("response_timeout", "above zero", !self.response_timeout.is_zero())?;
        check("connections", "1 to 64", (1..=MAX_CONNECTIONS).contains(&self.connections))?;
        check("read_connections", "0 to 64", self.read_connections <= MAX_CONNECTIONS)?;
        if let Some(name) = &self.client_name {
            // What CLIENT SETNAME takes.
            check(
                "client_name",
                "printable ASCII without spaces",
                name.bytes().all(|b| b.is_ascii_graphic()),
            )?;
        }
        let channel = &self.invalidation_channel;
        check(
            "invalidation_channel",
            "1 to 512 bytes without control characters",
            (1..=MAX_CHANNEL).contains(&channel.len()) && !channel.contains(char::is_control),
        )?;
        let default_ttl = match self.default_ttl {
            Some(ttl) => Ttl::After(ttl).validated()?.resolve(None),
            None => None,
        };
        let (address, seeds) = self.resolved_address()?;
        let transport = self.transport(&address);
        let settings = Settings {
            route: self.route(address.target, &transport)?,
            transport,
            credentials: Keychain::new(Credentials::from_parts(address.username, address.password)),
            database: address.database,
            client_name: self.client_name,
            connect_timeout: self.connect_timeout,
            response_timeout: self.response_timeout,
            connections: self.connections,
            read_connections: self.read_connections,
            give_way: self.give_way,
            pool_size: self.pool_size,
        };
        let publishing = Arc::new(Publishing::new(&self.invalidation_channel, seeds.is_some()));
        let (connect, response) = (settings.connect_timeout, settings.response_timeout);
        let (topology, server) = match seeds {
            Some(seeds) => {
                let cluster = Cluster::new(seeds, settings)?;
                let channel = ShardChannel::new(&cluster, publishing.channel());
                (Topology::Cluster(cluster), Server::Shard(channel))
            }
            None => {
                let source = Source::new(&settings)?;
                (Topology::Standalone(Connections::new(source.clone(), settings)), Server::One(source))
            }
        };
        let hub = Hub::new(server, Arc::clone(&publishing), connect, response);
        Ok(RedisStore::new(topology, publishing, hub, default_ttl))
    }

    /// The address, and the nodes to find the others by if it is that of a cluster.
    fn resolved_address(&self) -> Result<(Address, Option<Vec<Endpoint>>), CacheError> {
        let seeds = self.seeds()?;
        let mut address = match (&self.url, &seeds) {
            (_, Some(seeds)) => seeds.address.clone(),
            (Some(Secret(url)), None) => Address::parse(url)?,
            (None, None) => Address {
                target: Target::Server(Endpoint::Tcp { host: "127.0.0.1".to_owned(), port: DEFAULT_PORT }),
                tls: false,
                username: None,
                password: None,
                database: 0,
            },
        };
        match &self.place {
            Some(Place::Server(endpoint)) => address.target = Target::Server(endpoint.clone()),
            Some(Place::Sentinel { master, nodes }) => {
                address.target = Target::sentinel(master, nodes.iter().map(String::as_str))?;
            }
            None => {}
        }
        #[cfg(feature = "redis-tls")]
        {
            address.tls |= self.tls.is_some();
        }
        match &address.target {
            Target::Server(Endpoint::Tcp { host, port }) => {
                check("host", "not empty", !host.is_empty())?;
                check("port", "above zero", *port != 0)?;
            }
            Target::Server(Endpoint::Unix(_)) => check("tls", "used with TCP only", !address.tls)?,
            Target::Sentinel { .. } => {}
        }
        address.username = self.username.clone().or(address.username);
        address.password = self.password.clone().or(address.password);
        address.database = self.database.unwrap_or(address.database);
        check("database", "0 in a cluster", seeds.is_none() || address.database == 0)?;
        Ok((address, seeds.map(|seeds| seeds.endpoints)))
    }

    /// Some nodes of a cluster, if the settings name one.
    fn seeds(&self) -> Result<Option<Seeds>, CacheError> {
        let seeds = match (&self.cluster, &self.url) {
            (Some(nodes), url) => {
                check("url", "left out where cluster names the nodes", url.is_none())?;
                Some(Seeds::list(nodes)?)
            }
            (None, Some(Secret(url))) => Seeds::parse(url).transpose()?,
            (None, None) => None,
        };
        let alone = seeds.is_none() || self.place.is_none();
        check("address, unix_socket or sentinel", "left out where there is a cluster", alone)?;
        Ok(seeds)
    }
}

fn check(setting: impl fmt::Display, rule: &str, holds: bool) -> Result<(), CacheError> {
    if holds {
        return Ok(());
    }
    Err(CacheError::new(ErrorKind::InvalidInput, format!("redis store: {setting} must be {rule}")))
}

#[cfg(test)]
mod tests;
