//! From six servers to a cluster.

use std::ffi::OsString;
use std::io;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::Cluster;
use super::view::{self, Peer};
use crate::error::StartError;
use crate::eventually::poll;
use crate::redis::{Handle, Mode, RedisServer, RedisServerBuilder, TlsFiles, blocking};

const MASTERS: usize = 3;
const NODES: usize = 2 * MASTERS;

/// Names another program than the `redis-cli` in the path.
const PROGRAM: &str = "CACHEX_TEST_REDIS_CLI";

/// A cluster is ready in about three seconds; a loaded machine with two cores is granted more.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// Settings of a [`Cluster`].
///
/// Without any: no password, no persistence, nodes that are suspected after a second of silence.
#[derive(Clone, Debug)]
#[must_use = "a builder starts nothing until `start` is awaited"]
pub struct ClusterBuilder {
    node: RedisServerBuilder,
}

impl ClusterBuilder {
    pub(super) fn new() -> Self {
        let node = RedisServer::builder()
            .mode(Mode::Cluster)
            .arg("cluster-node-timeout", "1000")
            // A replica that synchronised late, or lost its master long ago, may still be promoted; and it
            // synchronises at once. Otherwise the first failover of a young cluster may never come.
            .arg("cluster-replica-validity-factor", "0")
            .arg("repl-diskless-sync-delay", "0")
            // A master that gave its last slot away stays a master, and replicas stay where a test put them.
            .arg("cluster-allow-replica-migration", "no");
        Self { node }
    }

    /// Requires this password of the default user, and of the nodes among themselves.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.node = self.node.password(password);
        self
    }

    /// Adds an enabled ACL user to every node: see [`RedisServerBuilder::user`].
    pub fn user(
        mut self,
        name: impl Into<String>,
        password: impl Into<String>,
        rules: impl Into<String>,
    ) -> Self {
        self.node = self.node.user(name, password, rules);
        self
    }

    /// Adds or replaces a line in the configuration file of every node: see [`RedisServerBuilder::arg`].
    pub fn arg(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.node = self.node.arg(name, value);
        self
    }

    /// Speaks TLS on ports of its own, with clients and between the nodes: [`Cluster::urls`] are those. The plain
    /// ports stay, for [`RedisServer::command`].
    pub fn tls(mut self, files: TlsFiles) -> Self {
        self.node = self.node.tls(files);
        self
    }

    /// Starts the nodes, joins them, and waits until all agree and every replica is in step.
    ///
    /// # Panics
    ///
    /// When that fails; the message says why and what to do.
    pub async fn start(self) -> Cluster {
        self.try_start().await.unwrap_or_else(|e| panic!("{e}"))
    }

    /// Like [`start`](Self::start), which see. Waits 60 s at most. Dropping the future leaves no server behind.
    ///
    /// The programs are `redis-server` and `redis-cli`, or what the environment variables `CACHEX_TEST_REDIS_SERVER`
    /// and `CACHEX_TEST_REDIS_CLI` name.
    ///
    /// # Errors
    ///
    /// When a program is not installed, a node does not start, or they do not come together in time.
    pub async fn try_start(self) -> Result<Cluster, StartError> {
        blocking(move || self.start_blocking()).await
    }

    fn start_blocking(&self) -> Result<Cluster, StartError> {
        let nodes = self.start_nodes()?;
        join(&nodes)?;
        let peers = nodes.iter().map(peer).collect::<Result<Vec<_>, _>>()?;
        poll(START_DEADLINE, || {
            let members = view::agreed(&peers, None)?;
            let masters = members.values().filter(|member| member.is_master());
            let replicas = masters
                .map(|master| members.values().filter(|m| m.master.as_ref() == Some(&master.id)).count());
            let replicas: Vec<_> = replicas.collect();
            if replicas == [1; MASTERS] {
                Ok(())
            } else {
                Err(format!("the masters have {replicas:?} replicas"))
            }
        })
        .map_err(|last| {
            let logs: Vec<_> = nodes.iter().map(|node| format!("{}:\n{}", node.addr(), node.log())).collect();
            StartError::late(START_DEADLINE, last, logs.join("\n"))
        })?;
        Ok(Cluster { nodes, peers: peers.into() })
    }

    /// At the same time: each waits mostly for its process.
    fn start_nodes(&self) -> Result<Vec<RedisServer>, StartError> {
        std::thread::scope(|scope| {
            let starting: Vec<_> = (0..NODES).map(|_| scope.spawn(|| self.node.start_blocking())).collect();
            starting
                .into_iter()
                .map(|node| node.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        })
    }
}

/// `redis-cli --cluster create`: deals out the slots, makes half of the nodes replicas, and introduces all to each other.
fn join(nodes: &[RedisServer]) -> Result<(), StartError> {
    let program: OsString = std::env::var_os(PROGRAM).unwrap_or_else(|| "redis-cli".into());
    let mut create = Command::new(&program);
    create.args(["--cluster", "create"]);
    let nodes: Vec<_> = nodes.iter().map(RedisServer::handle).collect();
    create.args(nodes.iter().map(|node| node.link_addr().to_string()));
    create.args(["--cluster-replicas", "1", "--cluster-yes"]).stdin(Stdio::null());
    if let Some(password) = nodes.first().and_then(Handle::password) {
        // Not an argument: those are seen in the list of processes.
        create.env("REDISCLI_AUTH", password);
    }
    if let Some(files) = nodes.first().and_then(Handle::tls_files) {
        create.arg("--tls").arg("--cacert").arg(&files.ca_cert);
        create.arg("--cert").arg(&files.client_cert).arg("--key").arg(&files.client_key);
    }
    let done = create.output().map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => StartError::missing(&program.to_string_lossy(), PROGRAM),
        _ => StartError::io("starting redis-cli")(e),
    })?;
    if done.status.success() {
        return Ok(());
    }
    let output = [done.stdout, done.stderr].concat();
    Err(StartError::refused("redis-cli --cluster create", String::from_utf8_lossy(&output).into_owned()))
}

fn peer(node: &RedisServer) -> Result<Peer, StartError> {
    let handle = node.handle();
    let id = handle.connect().and_then(|mut connection| connection.ask_text(&["CLUSTER", "MYID"]));
    Ok(Peer { id: id.map_err(StartError::io("asking a node for its id"))?, handle })
}
