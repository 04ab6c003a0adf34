//! Certificates for servers that speak TLS.

use std::path::{Path, PathBuf};

/// The certificates of a server that speaks TLS, as PEM files.
///
/// [`TlsFiles::shipped`] comes with this crate and will do for most tests.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The authority that signed the server's certificate, and clients' where they need one.
    pub ca_cert: PathBuf,
    /// The server's certificate.
    pub cert: PathBuf,
    /// The server's private key.
    pub key: PathBuf,
    /// Whether clients must show a certificate signed by `ca_cert`.
    pub require_client_cert: bool,
}

impl TlsFiles {
    /// A certificate for `localhost` and `127.0.0.1`, signed by a test authority. Clients need none.
    #[must_use]
    pub fn shipped() -> Self {
        Self {
            ca_cert: shipped("ca.crt"),
            cert: shipped("server.crt"),
            key: shipped("server.key"),
            require_client_cert: false,
        }
    }

    /// Refuses clients without a certificate (mutual TLS).
    #[must_use]
    pub fn require_client_cert(mut self) -> Self {
        self.require_client_cert = true;
        self
    }

    /// A client's certificate and private key that servers with [`TlsFiles::shipped`] accept.
    #[must_use]
    pub fn shipped_client() -> (PathBuf, PathBuf) {
        (shipped("client.crt"), shipped("client.key"))
    }
}

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("certs").join(name)
}
