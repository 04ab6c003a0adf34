//! From five servers to a primary that is watched over.

use std::sync::Arc;
use std::time::Duration;

use super::view::Peers;
use super::{NAME, Sentinel};
use crate::error::StartError;
use crate::eventually::poll;
use crate::redis::{Handle, Mode, RedisServer, RedisServerBuilder, TlsFiles, blocking, quoted};

const SENTINELS: usize = 3;

/// How many sentinels must think the primary dead: the majority, which has to elect a leader anyway.
const QUORUM: usize = 2;

/// All is ready in about a second; a loaded machine with two cores is granted more.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// Settings of a [`Sentinel`].
///
/// Without any: no passwords, no persistence, a primary that is given up after a second of silence.
#[derive(Clone, Debug)]
#[must_use = "a builder starts nothing until `start` is awaited"]
pub struct SentinelBuilder {
    server: RedisServerBuilder,
    sentinel: RedisServerBuilder,
    password: Option<String>,
}

impl SentinelBuilder {
    pub(super) fn new() -> Self {
        Self {
            // Or the replica waits five seconds for others to synchronise with.
            server: RedisServer::builder().arg("repl-diskless-sync-delay", "0"),
            sentinel: RedisServer::builder().mode(Mode::Sentinel),
            password: None,
        }
    }

    /// Requires this password of the default user of the primary and the replica. The sentinels ask for none.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        let password = password.into();
        self.server = self.server.password(&password);
        self.password = Some(password);
        self
    }

    /// Requires this password of the default user of the sentinels, who need not have that of the servers.
    pub fn sentinel_password(mut self, password: impl Into<String>) -> Self {
        let password = password.into();
        self.sentinel = self.sentinel.arg("sentinel sentinel-pass", quoted(&password)).password(password);
        self
    }

    /// Adds an enabled ACL user to the primary and the replica: see [`RedisServerBuilder::user`].
    pub fn user(
        mut self,
        name: impl Into<String>,
        password: impl Into<String>,
        rules: impl Into<String>,
    ) -> Self {
        self.server = self.server.user(name, password, rules);
        self
    }

    /// Adds or replaces a line in the configuration file of the primary and the replica: see
    /// [`RedisServerBuilder::arg`].
    pub fn arg(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.server = self.server.arg(name, value);
        self
    }

    /// Speaks TLS on ports of its own, with clients and among the five: [`Sentinel::urls`] are those. The plain ports
    /// stay, for [`RedisServer::command`].
    pub fn tls(mut self, files: TlsFiles) -> Self {
        self.server = self.server.tls(files.clone()).arg("tls-replication", "yes");
        self.sentinel = self.sentinel.tls(files).arg("tls-replication", "yes");
        self
    }

    /// Starts all five, and waits until the replica is in step and the sentinels know it and each other.
    ///
    /// # Panics
    ///
    /// When that fails; the message says why and what to do.
    pub async fn start(self) -> Sentinel {
        self.try_start().await.unwrap_or_else(|e| panic!("{e}"))
    }

    /// Like [`start`](Self::start), which see. Waits 60 s at most. Dropping the future leaves no server behind.
    ///
    /// The program is `redis-server`, or what the environment variable `CACHEX_TEST_REDIS_SERVER` names.
    ///
    /// # Errors
    ///
    /// When the program is not installed, a server does not start, or they do not find each other in time.
    pub async fn try_start(self) -> Result<Sentinel, StartError> {
        blocking(move || self.start_blocking()).await
    }

    fn start_blocking(&self) -> Result<Sentinel, StartError> {
        let servers = [self.server.start_blocking()?, self.server.start_blocking()?];
        let [primary, replica] = servers.each_ref().map(RedisServer::handle);
        // Before the sentinels start: they look at a primary once every ten seconds, and first of all at once.
        replicate(&replica, &primary)?;
        let sentinel = self.watching(&primary);
        let sentinels = (0..SENTINELS).map(|_| sentinel.start_blocking()).collect::<Result<Vec<_>, _>>()?;
        let peers = Peers {
            servers: [primary, replica],
            sentinels: sentinels.iter().map(RedisServer::handle).collect(),
        };
        peers.sentinels.iter().try_for_each(hurry)?;
        poll(START_DEADLINE, || peers.settled()).map_err(|last| {
            let all = servers.iter().chain(&sentinels);
            let logs: Vec<_> = all.map(|server| format!("{}:\n{}", server.addr(), server.log())).collect();
            StartError::late(START_DEADLINE, last, logs.join("\n"))
        })?;
        Ok(Sentinel { servers, sentinels, peers: Arc::new(peers) })
    }

    fn watching(&self, primary: &Handle) -> RedisServerBuilder {
        let addr = primary.link_addr();
        let monitor = format!("{NAME} {} {} {QUORUM}", addr.ip(), addr.port());
        let sentinel = self
            .sentinel
            .clone()
            // First: the others speak of a name that this introduces.
            .arg("sentinel monitor", monitor)
            .arg("sentinel down-after-milliseconds", format!("{NAME} 1000"))
            .arg("sentinel failover-timeout", format!("{NAME} 3000"));
        match &self.password {
            Some(password) => sentinel.arg("sentinel auth-pass", format!("{NAME} {}", quoted(password))),
            None => sentinel,
        }
    }
}

/// Sentinels look at servers every ten seconds, tell of themselves every two, and give a primary that came back four
/// times as long before they make it a replica. Tests that wait for a cluster at rest should not wait twenty seconds.
/// How soon a dead primary is noticed and replaced is another matter, and left alone.
///
/// The others' word that the primary is down counts for five ask periods, even against the next primary: then one
/// sentinel that stalls for a second on a busy machine is enough for a second failover, back to a server that was
/// restarted empty. With 200 ms their word is void before that second is over.
fn hurry(sentinel: &Handle) -> Result<(), StartError> {
    let periods = ["SENTINEL", "DEBUG", "INFO-PERIOD", "500", "PUBLISH-PERIOD", "500", "ASK-PERIOD", "200"];
    let asked = sentinel.connect().and_then(|mut sentinel| sentinel.command(&periods));
    // An error reply is one of a server before 7.0, where everything takes its time.
    asked.map(drop).map_err(StartError::io("asking a sentinel to hurry"))
}

/// By command and not by configuration, which would make it a replica again when it restarts as a primary.
fn replicate(replica: &Handle, primary: &Handle) -> Result<(), StartError> {
    let addr = primary.link_addr();
    let (ip, port) = (addr.ip().to_string(), addr.port().to_string());
    let mut connection = replica.connect().map_err(StartError::io("connecting to the replica"))?;
    connection.ask(&["REPLICAOF", &ip, &port]).map_err(StartError::io("starting the replication"))?;
    poll(START_DEADLINE, || {
        let info = connection.ask_text(&["INFO", "replication"]).map_err(|e| e.to_string())?;
        if info.contains("master_link_status:up") { Ok(()) } else { Err(info) }
    })
    .map_err(|last| StartError::late(START_DEADLINE, last, replica.log()))
}
