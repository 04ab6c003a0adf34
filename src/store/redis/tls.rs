//! What a TLS connection trusts and shows.

use std::fmt;
use std::sync::{Arc, OnceLock};

use cachex_core::{CacheError, ErrorKind};
use redis::{Client, ClientTlsConfig, ConnectionInfo, TlsCertificates};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

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

    /// Reads the certificates into what the driver connects by.
    fn apply(&self, info: ConnectionInfo) -> Result<ConnectionInfo, CacheError> {
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

impl Tls {
    /// What read connections are made by: it trusts and shows what the driver's does. Reads the system's certificates from
    /// its files, where those count. `None` when one of them, or of those that were given, makes no sense, in which case the
    /// driver says what is wrong; and when any certificate is to be taken, which is for experiments.
    fn connector(&self) -> Option<TlsConnector> {
        if self.insecure {
            return None;
        }
        let mut trusted = RootCertStore::empty();
        match &self.ca {
            Some(pem) => {
                for certificate in CertificateDer::pem_slice_iter(pem) {
                    trusted.add(certificate.ok()?).ok()?;
                }
            }
            None => {
                let system = rustls_native_certs::load_native_certs();
                if !system.errors.is_empty() {
                    return None;
                }
                for certificate in system.certs {
                    trusted.add(certificate).ok()?;
                }
            }
        }
        let config = ClientConfig::builder().with_root_certificates(trusted);
        let config = match &self.identity {
            Some((chain, key)) => {
                let chain = CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>().ok()?;
                config.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key).ok()?).ok()?
            }
            None => config.with_no_client_auth(),
        };
        Some(TlsConnector::from(Arc::new(config)))
    }
}

/// TLS as the connections of a store use it.
#[derive(Clone)]
pub(super) struct Secured {
    tls: Tls,
    /// What read connections are made by, once one was to be made.
    connector: Arc<OnceLock<Option<TlsConnector>>>,
}

impl From<Tls> for Secured {
    fn from(tls: Tls) -> Self {
        Self { tls, connector: Arc::default() }
    }
}

impl Secured {
    pub(super) fn is_insecure(&self) -> bool {
        self.tls.insecure
    }

    /// As [`Tls::apply`].
    pub(super) fn apply(&self, info: ConnectionInfo) -> Result<ConnectionInfo, CacheError> {
        self.tls.apply(info)
    }

    /// As [`Tls::connector`], whose certificates are read once.
    pub(super) fn connector(&self) -> Option<&TlsConnector> {
        self.connector.get_or_init(|| self.tls.connector()).as_ref()
    }
}

impl fmt::Debug for Secured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tls.fmt(f)
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
