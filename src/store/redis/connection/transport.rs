//! How a server is reached: TCP, TLS or a Unix socket.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use cachex_core::CacheError;
use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::{SockRef, TcpKeepalive};
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo};
#[cfg(feature = "redis-tls")]
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

use crate::store::redis::address::Endpoint;
use crate::store::redis::direct::Socket;
use crate::store::redis::error;
#[cfg(feature = "redis-tls")]
use crate::store::redis::tls::Secured;

/// How long a connection may be silent before TCP asks whether the other side is still there.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// A peer that vanished without a word is noticed by probes when nothing is sent, and by missing acknowledgements when
/// something is.
fn keepalive() -> TcpKeepalive {
    TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 3)
}

/// Whether a connection stays on this machine.
fn is_local(peer: IpAddr, own: IpAddr) -> bool {
    peer == own || peer.to_canonical().is_loopback()
}

/// What is the same for every server of a kind, wherever it is.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Transport {
    pub(in super::super) tcp_nodelay: bool,
    /// TLS and what it goes by.
    #[cfg(feature = "redis-tls")]
    pub(in super::super) tls: Option<Secured>,
}

impl Transport {
    /// The way to one server. Who asks is the login's business: the driver's own hides what the server answered.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when a certificate cannot be read.
    pub(in super::super) fn info(&self, endpoint: &Endpoint) -> Result<ConnectionInfo, CacheError> {
        let tcp = TcpSettings::default().set_nodelay(self.tcp_nodelay).set_keepalive(keepalive());
        #[cfg(target_os = "linux")]
        let tcp = tcp.set_user_timeout(2 * KEEPALIVE);
        let info = self
            .addr(endpoint)
            .into_connection_info()
            .map_err(error::from_driver)?
            .set_tcp_settings(tcp)
            .set_redis_settings(RedisConnectionInfo::default().set_skip_set_lib_name());
        #[cfg(feature = "redis-tls")]
        if let Some(tls) = &self.tls {
            return tls.apply(info);
        }
        Ok(info)
    }

    /// Whether [`open`](Self::open) can serve.
    pub(in super::super) fn opens(&self) -> bool {
        #[cfg(feature = "redis-tls")]
        return !self.tls.as_ref().is_some_and(Secured::is_insecure);
        #[cfg(not(feature = "redis-tls"))]
        true
    }

    /// A socket that is connected, and whether the other end is on this machine. It sends at once: what a read has to say
    /// is one write.
    pub(super) async fn open(&self, endpoint: &Endpoint) -> io::Result<(Box<dyn Socket>, bool)> {
        let (host, port) = match endpoint {
            #[cfg(unix)]
            Endpoint::Unix(path) => return Ok((Box::new(UnixStream::connect(path).await?), true)),
            #[cfg(not(unix))]
            Endpoint::Unix(_) => return Err(io::ErrorKind::Unsupported.into()),
            Endpoint::Tcp { host, port } => (host.as_str(), *port),
        };
        #[cfg(feature = "redis-tls")]
        let tls = match &self.tls {
            // Before anything is opened: what makes no sense now will not later.
            Some(tls) => {
                let connector = tls.connector().ok_or(io::ErrorKind::Unsupported)?;
                Some((connector, ServerName::try_from(host.to_owned()).map_err(io::Error::other)?))
            }
            None => None,
        };
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        let socket = SockRef::from(&stream);
        socket.set_tcp_keepalive(&keepalive())?;
        #[cfg(target_os = "linux")]
        socket.set_tcp_user_timeout(Some(2 * KEEPALIVE))?;
        // A hint: what is wrong with a socket shows when it is used.
        let ends = stream.peer_addr().and_then(|peer| Ok((peer.ip(), stream.local_addr()?.ip())));
        let is_local = ends.is_ok_and(|(peer, own)| is_local(peer, own));
        #[cfg(feature = "redis-tls")]
        if let Some((connector, name)) = tls {
            return Ok((Box::new(connector.connect(name, stream).await?), is_local));
        }
        Ok((Box::new(stream), is_local))
    }

    fn addr(&self, endpoint: &Endpoint) -> ConnectionAddr {
        match endpoint {
            Endpoint::Unix(path) => ConnectionAddr::Unix(path.clone()),
            #[cfg(feature = "redis-tls")]
            Endpoint::Tcp { host, port } if self.tls.is_some() => {
                let insecure = self.tls.as_ref().is_some_and(Secured::is_insecure);
                ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure, tls_params: None }
            }
            Endpoint::Tcp { host, port } => ConnectionAddr::Tcp(host.clone(), *port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_stays_here_by_loopback_or_by_one_s_own_address() {
        for (peer, own, stays) in [
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.2", "127.0.0.1", true),
            ("::1", "::1", true),
            ("::ffff:127.0.0.1", "::ffff:127.0.0.1", true),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.4", "10.1.2.3", false),
            ("fd00::2", "fd00::1", false),
        ] {
            assert_eq!(is_local(peer.parse().unwrap(), own.parse().unwrap()), stays, "{peer} from {own}");
        }
    }
}
