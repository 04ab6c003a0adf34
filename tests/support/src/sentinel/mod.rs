//! Sentinels of one's own.

mod builder;
mod view;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub use self::builder::SentinelBuilder;
use self::view::Peers;
use crate::eventually::poll;
use crate::redis::{RedisServer, blocking};

/// What the sentinels call the primary.
const NAME: &str = "mymaster";

/// A failover takes one to three seconds, and one soon after another up to six more.
const DEADLINE: Duration = Duration::from_secs(30);

/// A primary and a replica on 127.0.0.1, and three sentinels that watch over them.
///
/// ```no_run
/// # async fn example() {
/// use cachex_test_support::Sentinel;
///
/// let sentinel = Sentinel::start().await;
/// // … connect the code under test to `sentinel.urls()`, asking for `sentinel.master_name()` …
///
/// let old = sentinel.kill_primary().await;
/// let new = sentinel.wait_new_primary(old).await;
/// assert_ne!(old.addr(), new.addr());
/// old.restart().await;
/// sentinel.wait_ok().await;
/// # }
/// ```
///
/// Each of the five is a [`RedisServer`] and can be killed, frozen, restarted and questioned as one. A sentinel keeps
/// what it has learned over a restart, and takes no new settings from [`RedisServer::configure`]. They look at the
/// servers every half second instead of every ten. What is said
/// there of the end of servers holds here: dropping this kills all of them.
///
/// # Panics
///
/// Methods panic when the operating system or a server refuses, and when a wait takes longer than 30 s.
pub struct Sentinel {
    servers: [RedisServer; 2],
    sentinels: Vec<RedisServer>,
    peers: Arc<Peers>,
}

impl Sentinel {
    /// Starts all with the defaults: see [`SentinelBuilder::start`].
    ///
    /// # Panics
    ///
    /// When that fails; the message says why and what to do.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// Settings for what is not started yet.
    pub fn builder() -> SentinelBuilder {
        SentinelBuilder::new()
    }

    /// What the sentinels call the primary.
    #[must_use]
    pub fn master_name(&self) -> &str {
        NAME
    }

    /// The three sentinels, dead ones included, always in the same order.
    #[must_use]
    pub fn sentinels(&self) -> &[RedisServer] {
        &self.sentinels
    }

    /// Where the sentinels listen: for TLS, if the builder asked for it.
    #[must_use]
    pub fn sentinel_addrs(&self) -> Vec<SocketAddr> {
        self.sentinels.iter().map(|sentinel| sentinel.handle().link_addr()).collect()
    }

    /// The URLs of the sentinels, with their password if they have one: `rediss://`, if the builder asked for TLS.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.sentinels.iter().map(RedisServer::link_url).collect()
    }

    /// The two servers that are watched, whatever their parts, always in the same order.
    #[must_use]
    pub fn servers(&self) -> &[RedisServer] {
        &self.servers
    }

    /// The server that all running sentinels take for the primary, and that takes itself for it; waits for that.
    ///
    /// # Panics
    ///
    /// When there is none within 30 s.
    pub async fn primary(&self) -> &RedisServer {
        let primary = self.ask(|peers| poll(DEADLINE, || peers.primary())).await;
        self.server(primary.unwrap_or_else(|last| panic!("no primary within {DEADLINE:?}; last: {last}")))
    }

    /// The other server, dead or alive.
    ///
    /// # Panics
    ///
    /// As [`primary`](Self::primary).
    pub async fn replica(&self) -> &RedisServer {
        self.other(self.primary().await)
    }

    /// SIGKILL for the primary. Returns it when it is dead.
    ///
    /// # Panics
    ///
    /// As [`primary`](Self::primary).
    pub async fn kill_primary(&self) -> &RedisServer {
        let primary = self.primary().await;
        primary.kill().await;
        primary
    }

    /// Has a sentinel promote the replica though the primary is well (`SENTINEL FAILOVER`), and returns the primary
    /// that was. [`wait_new_primary`](Self::wait_new_primary) waits for the effect.
    ///
    /// # Panics
    ///
    /// When the sentinel does not agree to it within 30 s, for instance because the replica is dead.
    pub async fn failover(&self) -> &RedisServer {
        let old = self.primary().await;
        // Refused while another is going on, and until the sentinel has looked at the replica again.
        let asked = self.ask(|peers| poll(DEADLINE, || peers.failover())).await;
        asked.unwrap_or_else(|last| panic!("no failover within {DEADLINE:?}; last: {last}"));
        old
    }

    /// Waits until all running sentinels take another than `old` for the primary, and that one does too; returns it.
    ///
    /// # Panics
    ///
    /// When that does not happen within 30 s.
    pub async fn wait_new_primary(&self, old: &RedisServer) -> &RedisServer {
        let old = old.addr();
        let new = self.ask(move |peers| {
            poll(DEADLINE, || match peers.primary()? {
                addr if addr == old => Err(format!("{addr} is still the primary")),
                addr => Ok(addr),
            })
        });
        self.server(new.await.unwrap_or_else(|last| panic!("no failover within {DEADLINE:?}; last: {last}")))
    }

    /// Waits until the replica is in step with the primary, and every running sentinel sees both well, no failover
    /// going on, and enough of its kind for one (`SENTINEL CKQUORUM`).
    ///
    /// # Panics
    ///
    /// When that does not happen within 30 s.
    pub async fn wait_ok(&self) {
        if let Err(last) = self.ask(|peers| poll(DEADLINE, || peers.settled())).await {
            panic!("the sentinels were not ready after {DEADLINE:?}; last: {last}");
        }
    }

    async fn ask<T: Send + 'static>(&self, question: impl FnOnce(&Peers) -> T + Send + 'static) -> T {
        let peers = Arc::clone(&self.peers);
        blocking(move || question(&peers)).await
    }

    fn server(&self, addr: SocketAddr) -> &RedisServer {
        let server = self.servers.iter().find(|server| server.addr() == addr);
        server.unwrap_or_else(|| panic!("{addr} is neither of the two"))
    }

    fn other(&self, server: &RedisServer) -> &RedisServer {
        let [a, b] = &self.servers;
        if a.addr() == server.addr() { b } else { a }
    }
}

impl fmt::Debug for Sentinel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sentinel")
            .field("servers", &self.servers)
            .field("sentinels", &self.sentinels)
            .finish_non_exhaustive()
    }
}
