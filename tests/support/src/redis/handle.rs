//! A server seen from a thread that may block.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{Inner, TlsFiles};
use crate::resp::Connection;

/// A bound for one question to a server that may be dead, frozen or busy with a failover.
const TIMEOUT: Duration = Duration::from_secs(2);

/// A server without the right to its life: it ends with its [`RedisServer`](super::RedisServer), whoever holds this.
#[derive(Clone)]
pub(crate) struct Handle(Arc<Inner>);

impl Handle {
    pub(super) fn new(inner: &Arc<Inner>) -> Self {
        Self(Arc::clone(inner))
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.0.launcher.addr()
    }

    /// Where other servers and their clients are sent to: the TLS port, if there is one.
    pub(crate) fn link_addr(&self) -> SocketAddr {
        self.0.launcher.tls_addr().unwrap_or_else(|| self.addr())
    }

    pub(crate) fn tls_files(&self) -> Option<&TlsFiles> {
        self.0.launcher.tls_files()
    }

    pub(crate) fn password(&self) -> Option<&str> {
        self.0.launcher.password()
    }

    pub(crate) fn is_running(&self) -> bool {
        self.0.pid().is_some()
    }

    pub(crate) fn log(&self) -> String {
        self.0.launcher.log()
    }

    pub(crate) fn connect(&self) -> io::Result<Connection> {
        Connection::open(self.addr(), self.password(), TIMEOUT)
    }
}
