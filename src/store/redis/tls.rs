//! What a TLS connection trusts and shows.

use std::fmt;

use cachex_core::{CacheError, ErrorKind};
use redis::{Client, ClientTlsConfig, ConnectionInfo, TlsCertificates};

/// TLS settings of a [`RedisStore`](super::RedisStore), which rustls carries out.
///
/// Without any: the server must show a certificate for its host name that the system's certificates vouch for, and the
/// client shows none. `Debug` shows no key.
#[derive(Clone, Default)]
#[must_use = "settings do nothing until they are given to a builder"]
pub struct Tls {
    ca: Option<Vec<u8>>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
    insecure: bool,
}

impl Tls {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts these certificates, in PEM, instead of the system's.
    pub fn ca_pem(mut self, certificates: impl Into<Vec<u8>>) -> Self {
        self.ca = Some(certificates.into());
        self
    }

    /// Shows this certificate chain, with its private key, to a server that asks for one (mutual TLS). Both in PEM.
    pub fn client_pem(mut self, chain: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.identity = Some((chain.into(), key.into()));
        self
    }

    /// Takes any certificate from any server: whoever can reach the connection can read and change all of it, the
    /// password included. For experiments.
    pub fn insecure_skip_verify(mut self) -> Self {
        self.insecure = true;
        self
    }

    pub(super) fn is_insecure(&self) -> bool {
        self.insecure
    }

    /// Reads the certificates into what the driver connects by.
    pub(super) fn apply(&self, info: ConnectionInfo) -> Result<ConnectionInfo, CacheError> {
        // rustls refuses to choose where a program links several providers and installed none: ours is a fallback, and
        // one that is there already stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        if self.insecure || (self.ca.is_none() && self.identity.is_none()) {
            return Ok(info);
        }
        let certificates = TlsCertificates {
            client_tls: self
                .identity
                .clone()
                .map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key }),
            root_cert: self.ca.clone(),
        };
        // The error may quote from a PEM file, private keys included.
        let client = Client::build_with_tls(info, certificates).map_err(|_| {
            CacheError::new(
                ErrorKind::InvalidInput,
                "redis store: tls has a certificate or key that is not PEM",
            )
        })?;
        Ok(client.get_connection_info().clone())
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("ca", &self.ca.is_some())
            .field("identity", &self.identity.is_some())
            .field("insecure_skip_verify", &self.insecure)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use crate::store::redis::RedisStore;

    use super::*;

    #[test]
    fn settings_are_read_when_the_store_is_built() {
        let new = || RedisStore::builder().url("rediss://localhost");
        assert!(new().build().is_ok());
        assert!(new().tls(Tls::new().insecure_skip_verify()).build().is_ok());
        let error = new().tls(Tls::new().client_pem("hunter2", "hunter2")).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(!format!("{error:?}").contains("hunter2"));
        let error = RedisStore::builder().unix_socket("/x").tls(Tls::new()).build().unwrap_err();
        assert!(error.to_string().contains("tls"), "{error}");
    }

    #[test]
    fn no_key_is_shown() {
        let tls = Tls::new().client_pem("hunter2", "hunter2").ca_pem("hunter2");
        assert!(!format!("{tls:?}").contains("hunter2"));
    }
}
