//! What settings say of the way to the servers.

use cachex_core::CacheError;

use super::{RedisStoreBuilder, SentinelSettings, check};
use crate::store::redis::address::{Address, Target};
use crate::store::redis::connection::{Route, Transport};
use crate::store::redis::credentials::Credentials;
use crate::store::redis::sentinel::Sentinels;
#[cfg(feature = "redis-tls")]
use crate::store::redis::tls::Secured;

impl RedisStoreBuilder {
    #[cfg_attr(
        not(feature = "redis-tls"),
        expect(unused_variables, reason = "without the feature no address asks for TLS")
    )]
    pub(super) fn transport(&self, address: &Address) -> Transport {
        Transport {
            tcp_nodelay: self.tcp_nodelay,
            #[cfg(feature = "redis-tls")]
            tls: address.tls.then(|| self.tls.clone().unwrap_or_default().into()),
        }
    }

    pub(super) fn route(&self, target: Target, servers: &Transport) -> Result<Route, CacheError> {
        let SentinelSettings { username, password, .. } = self.sentinel.clone();
        match target {
            Target::Server(endpoint) => {
                check("sentinel_username", "used with sentinels only", username.is_none())?;
                check("sentinel_password", "used with sentinels only", password.is_none())?;
                #[cfg(feature = "redis-tls")]
                check("sentinel_tls", "used with sentinels only", self.sentinel.tls.is_none())?;
                Ok(Route::Server(endpoint))
            }
            Target::Sentinel { master, nodes } => {
                check(
                    "sentinel_username",
                    "used with sentinel_password",
                    username.is_none() || password.is_some(),
                )?;
                let transport = servers.clone();
                #[cfg(feature = "redis-tls")]
                let transport = match &self.sentinel.tls {
                    Some(tls) => Transport { tls: tls.clone().map(Secured::from), ..transport },
                    None => transport,
                };
                let credentials = Credentials::from_parts(username, password);
                Ok(Route::Sentinel(Sentinels { master, nodes, transport, credentials }))
            }
        }
    }
}
