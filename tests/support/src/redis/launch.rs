//! From settings to a server that answers: the directory, the configuration file, the wait.

use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::builder::{Mode, PROGRAM, RedisServerBuilder, User};
use super::process::{self, Supervised};
use super::tls::TlsFiles;
use crate::error::StartError;
use crate::eventually::POLL;
use crate::port;
use crate::resp::{Connection, Reply};

/// A server alone is ready in about 20 ms; a loaded machine with two cores is granted more.
const START_DEADLINE: Duration = Duration::from_secs(30);

/// A bound for one probe. A server frozen by its own start-up is asked again.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// The exit code of a POSIX shell for a command that was not found.
const NOT_FOUND: i32 = 127;

/// Everything needed to start the same server again.
pub(super) struct Launcher {
    program: OsString,
    mode: Mode,
    port: u16,
    dir: TempDir,
    password: Option<String>,
    users: Vec<User>,
    unix_socket: Option<PathBuf>,
    tls: Option<(u16, TlsFiles)>,
    settings: Mutex<Vec<(String, String)>>,
}

impl Launcher {
    pub(super) fn prepare(program: OsString, builder: &RedisServerBuilder) -> Result<Self, StartError> {
        let dir = TempDir::with_prefix("cachex-redis-").map_err(StartError::io("making a directory"))?;
        let free = || port::free().map_err(StartError::io("looking for a free port"));
        // Redis derives the bus from the port over which the nodes speak to each other.
        let public = || match builder.mode {
            Mode::Single | Mode::Sentinel => free(),
            Mode::Cluster => port::free_with_bus().map_err(StartError::io("looking for two free ports")),
        };
        let port = public()?;
        let tls = builder.tls.clone().map(|files| public().map(|port| (port, files))).transpose()?;
        let launcher = Self {
            program,
            mode: builder.mode,
            port,
            password: builder.password.clone(),
            users: builder.users.clone(),
            unix_socket: builder.unix_socket.then(|| dir.path().join("redis.sock")),
            tls,
            settings: Mutex::default(),
            dir,
        };
        for (name, value) in &builder.settings {
            launcher.configure(name, value);
        }
        Ok(launcher)
    }

    pub(super) fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    pub(super) fn tls_addr(&self) -> Option<SocketAddr> {
        self.tls.as_ref().map(|(port, _)| (Ipv4Addr::LOCALHOST, *port).into())
    }

    pub(super) fn tls_files(&self) -> Option<&TlsFiles> {
        self.tls.as_ref().map(|(_, files)| files)
    }

    pub(super) fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    pub(super) fn password_of(&self, user: &str) -> Option<&str> {
        self.users.iter().find(|u| u.name == user).map(|u| u.password.as_str())
    }

    pub(super) fn unix_socket(&self) -> Option<&Path> {
        self.unix_socket.as_deref()
    }

    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("redis.log")
    }

    pub(super) fn configure(&self, name: &str, value: &str) {
        let mut settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        match settings.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
            Some(setting) => value.clone_into(&mut setting.1),
            None => settings.push((name.to_owned(), value.to_owned())),
        }
    }

    /// Starts the process. It does not answer yet.
    pub(super) fn launch(&self) -> Result<Supervised, StartError> {
        let config = self.dir.path().join("redis.conf");
        // A sentinel keeps there what it has learned: who is primary now, and in which epoch.
        if self.mode != Mode::Sentinel || !config.exists() {
            std::fs::write(&config, self.config()).map_err(StartError::io("writing the configuration"))?;
        }
        let mut args: Vec<&OsStr> = vec![config.as_os_str()];
        if self.mode == Mode::Sentinel {
            args.push("--sentinel".as_ref());
        }
        Supervised::spawn(self.dir.path(), &self.log_path(), &self.program, &args)
            .map_err(StartError::io("starting the server"))
    }

    /// A file rather than arguments: quoting is defined there, and passwords stay out of the process list.
    fn config(&self) -> String {
        let mut config = String::new();
        let mut line = |line: std::fmt::Arguments<'_>| {
            let _ = writeln!(config, "{line}");
        };
        line(format_args!("port {}", self.port));
        line(format_args!("bind 127.0.0.1"));
        line(format_args!("dir {}", quoted(&self.dir.path().to_string_lossy())));
        line(format_args!("save \"\""));
        line(format_args!("appendonly no"));
        if let Some(path) = &self.unix_socket {
            line(format_args!("unixsocket {}", quoted(&path.to_string_lossy())));
            line(format_args!("unixsocketperm 700"));
        }
        if let Some((port, files)) = &self.tls {
            line(format_args!("tls-port {port}"));
            line(format_args!("tls-ca-cert-file {}", quoted(&files.ca_cert.to_string_lossy())));
            line(format_args!("tls-cert-file {}", quoted(&files.cert.to_string_lossy())));
            line(format_args!("tls-key-file {}", quoted(&files.key.to_string_lossy())));
            line(format_args!("tls-auth-clients {}", if files.require_client_cert { "yes" } else { "no" }));
        }
        if let Some(password) = &self.password {
            line(format_args!("requirepass {}", quoted(password)));
            line(format_args!("masterauth {}", quoted(password)));
        }
        if self.mode == Mode::Cluster {
            line(format_args!("cluster-enabled yes"));
            if self.tls.is_some() {
                line(format_args!("tls-cluster yes"));
                line(format_args!("tls-replication yes"));
            }
        }
        for User { name, password, rules } in &self.users {
            line(format_args!("user {} on {} {rules}", quoted(name), quoted(&format!(">{password}"))));
        }
        for (name, value) in self.settings.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            line(format_args!("{name} {value}"));
        }
        config
    }

    /// Waits for PONG from the process just started, and from no other that may have taken the port.
    pub(super) fn wait_ready(&self, process: &mut Supervised) -> Result<(), StartError> {
        let start = Instant::now();
        loop {
            let ended = process.try_wait().map_err(StartError::io("waiting for the server"))?;
            if let Some(status) = ended {
                return Err(match status.code() {
                    Some(NOT_FOUND) => StartError::missing(&self.program.to_string_lossy(), PROGRAM),
                    _ => StartError::exited(process::describe(status), self.log()),
                });
            }
            let last = match self.probe(process.pid()) {
                Ok(()) => return Ok(()),
                Err(e) => e.to_string(),
            };
            if start.elapsed() > START_DEADLINE {
                return Err(StartError::late(START_DEADLINE, last, self.log()));
            }
            std::thread::sleep(POLL);
        }
    }

    fn probe(&self, pid: u32) -> io::Result<()> {
        let mut connection = Connection::open(self.addr(), self.password(), PROBE_TIMEOUT)?;
        let pong = connection.command(&["PING"])?;
        if pong != Reply::Status("PONG".to_owned()) {
            return Err(io::Error::other(format!("PING was answered with {pong:?}")));
        }
        let info = connection.command(&["INFO", "server"])?;
        let ours = format!("process_id:{pid}\r\n");
        match info.as_str() {
            Some(info) if info.contains(&ours) => Ok(()),
            _ => Err(io::Error::other("another server answers on this port")),
        }
    }
}

/// A double-quoted string of `redis.conf`. Everything beyond printable ASCII goes as `\xHH`.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => quoted.extend(['\\', char::from(byte)]),
            b' '..=b'~' => quoted.push(char::from(byte)),
            _ => {
                let _ = write!(quoted, "\\x{byte:02x}");
            }
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RedisServer;

    /// Another server that answers on the port must not be taken for the one that could not bind it.
    #[tokio::test]
    async fn a_lost_port_is_noticed_though_somebody_answers_on_it() {
        let winner = RedisServer::start().await;
        let mut launcher = Launcher::prepare("redis-server".into(), &RedisServer::builder())
            .expect("a directory and a port");
        launcher.port = winner.port();
        let lost = launcher.launch().and_then(|mut process| launcher.wait_ready(&mut process));
        assert!(lost.expect_err("the port is taken").lost_the_port());
    }

    #[test]
    fn quoting_leaves_nothing_special() {
        assert_eq!(quoted("a \"b\" \\ \n\u{f6}"), r#""a \"b\" \\ \x0a\xc3\xb6""#);
    }
}
