//! How a server is reached: TCP, TLS or a Unix socket.

use std::time::Duration;

use cachex_core::CacheError;
use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo};

use crate::store::redis::address::Endpoint;
use crate::store::redis::error;
#[cfg(feature = "redis-tls")]
use crate::store::redis::tls::Tls;

/// How long a connection may be silent before TCP asks whether the other side is still there.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// What is the same for every server of a kind, wherever it is.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Transport {
    pub(in super::super) tcp_nodelay: bool,
    /// TLS and what it goes by.
    #[cfg(feature = "redis-tls")]
    pub(in super::super) tls: Option<Tls>,
}

impl Transport {
    /// The way to one server. Who asks is the login's business: the driver's own hides what the server answered.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when a certificate cannot be read.
    pub(in super::super) fn info(&self, endpoint: &Endpoint) -> Result<ConnectionInfo, CacheError> {
        // A peer that vanished without a word is noticed by probes when nothing is sent, and by missing acknowledgements
        // when something is.
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 3);
        let tcp = TcpSettings::default().set_nodelay(self.tcp_nodelay).set_keepalive(keepalive);
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

    fn addr(&self, endpoint: &Endpoint) -> ConnectionAddr {
        match endpoint {
            Endpoint::Unix(path) => ConnectionAddr::Unix(path.clone()),
            #[cfg(feature = "redis-tls")]
            Endpoint::Tcp { host, port } if self.tls.is_some() => {
                let insecure = self.tls.as_ref().is_some_and(Tls::is_insecure);
                ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure, tls_params: None }
            }
            Endpoint::Tcp { host, port } => ConnectionAddr::Tcp(host.clone(), *port),
        }
    }
}
