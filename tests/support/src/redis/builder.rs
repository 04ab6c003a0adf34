//! Settings of a server before it starts.

use std::ffi::OsString;

use super::RedisServer;
use super::blocking;
use super::launch::Launcher;
use super::tls::TlsFiles;
use crate::error::StartError;

/// How often a port that was taken between probe and bind is replaced by another.
const PORT_ATTEMPTS: usize = 10;

/// Names another program than the `redis-server` in the path.
pub(super) const PROGRAM: &str = "CACHEX_TEST_REDIS_SERVER";

/// What part a server plays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Alone, or as a primary or replica by `REPLICAOF`.
    #[default]
    Single,
    /// A node of a cluster.
    Cluster,
    /// Not a store, but one that watches over others.
    Sentinel,
}

/// Settings of a [`RedisServer`].
///
/// Without any: a free port on 127.0.0.1, no password, no persistence.
#[derive(Clone, Debug, Default)]
#[must_use = "a builder starts nothing until `start` is awaited"]
pub struct RedisServerBuilder {
    pub(super) mode: Mode,
    pub(super) password: Option<String>,
    pub(super) users: Vec<User>,
    pub(super) settings: Vec<(String, String)>,
    pub(super) unix_socket: bool,
    pub(super) tls: Option<TlsFiles>,
}

#[derive(Clone, Debug)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) password: String,
    pub(super) rules: String,
}

impl RedisServerBuilder {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Requires this password of the default user. [`RedisServer::url`] and [`RedisServer::command`] know it.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Adds an enabled ACL user. `rules` are those of `ACL SETUSER`, such as `~app:* &* +@all -@dangerous`.
    pub fn user(
        mut self,
        name: impl Into<String>,
        password: impl Into<String>,
        rules: impl Into<String>,
    ) -> Self {
        self.users.push(User { name: name.into(), password: password.into(), rules: rules.into() });
        self
    }

    /// Adds or replaces a line of the configuration file. The value is written as it would stand in `redis.conf`:
    /// `.arg("maxmemory", "2mb")`, `.arg("save", "900 1")`. Not for `port`, `bind` and `dir`, which are chosen here.
    pub fn arg(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Also listens on a Unix socket: see [`RedisServer::unix_socket`].
    pub fn unix_socket(mut self) -> Self {
        self.unix_socket = true;
        self
    }

    /// Also listens for TLS, on a port of its own: see [`RedisServer::tls_url`]. The plain port stays, for
    /// [`RedisServer::command`].
    pub fn tls(mut self, files: TlsFiles) -> Self {
        self.tls = Some(files);
        self
    }

    /// Starts the server and waits until it answers.
    ///
    /// # Panics
    ///
    /// When it cannot be started; the message says why and what to do.
    pub async fn start(self) -> RedisServer {
        self.try_start().await.unwrap_or_else(|e| panic!("{e}"))
    }

    /// Starts the server and waits until it answers: 30 s at most. Dropping the future leaves no server behind.
    ///
    /// The program is `redis-server`, or what the environment variable `CACHEX_TEST_REDIS_SERVER` names.
    ///
    /// # Errors
    ///
    /// When the program is not installed, ends while starting, or does not answer in time.
    pub async fn try_start(self) -> Result<RedisServer, StartError> {
        blocking(move || self.start_blocking()).await
    }

    pub(crate) fn start_blocking(&self) -> Result<RedisServer, StartError> {
        let program: OsString = std::env::var_os(PROGRAM).unwrap_or_else(|| "redis-server".into());
        let mut attempt = 1;
        loop {
            let launcher = Launcher::prepare(program.clone(), self)?;
            let mut process = launcher.launch()?;
            match launcher.wait_ready(&mut process) {
                Ok(()) => return Ok(RedisServer::new(launcher, process)),
                Err(e) if e.lost_the_port() && attempt < PORT_ATTEMPTS => attempt += 1,
                Err(e) => return Err(e),
            }
        }
    }
}
