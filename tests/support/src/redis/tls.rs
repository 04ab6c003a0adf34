//! Certificates for servers that speak TLS.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use tempfile::TempDir;

/// The certificates of servers that speak TLS and of a client they accept, as PEM files.
///
/// ```no_run
/// # async fn example() {
/// use cachex_test_support::{RedisServer, TlsFiles};
///
/// let files = TlsFiles::generate().require_client_cert();
/// let server = RedisServer::builder().tls(files.clone()).start().await;
/// // … connect to `server.tls_url()`, trusting `files.ca_cert`, with `files.client_cert` and `files.client_key` …
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The authority that signed the server's certificate, and clients' where they need one.
    pub ca_cert: PathBuf,
    /// The server's certificate.
    pub cert: PathBuf,
    /// The server's private key.
    pub key: PathBuf,
    /// A client's certificate, signed by the same authority.
    pub client_cert: PathBuf,
    /// The client's private key.
    pub client_key: PathBuf,
    /// Whether clients must show a certificate signed by `ca_cert`.
    pub require_client_cert: bool,
    /// Removed with the last clone; a server that uses the files holds one.
    _dir: Arc<TempDir>,
}

impl TlsFiles {
    /// A new authority, and certificates for `localhost` and `127.0.0.1` and for a client. Clients need none.
    ///
    /// No two calls trust each other. The files are removed with the last clone of this value and the last server
    /// that uses them.
    ///
    /// # Panics
    ///
    /// When the files cannot be written.
    #[must_use]
    pub fn generate() -> Self {
        Self::generate_for(["localhost", "127.0.0.1"])
    }

    /// Like [`generate`](Self::generate), with a server's certificate for these names and addresses only: to see a
    /// client refuse a server under another name.
    ///
    /// # Panics
    ///
    /// When a name cannot be one, or the files cannot be written.
    #[must_use]
    pub fn generate_for<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let names = names.into_iter().map(str::to_owned).collect();
        write(names).unwrap_or_else(|e| panic!("making certificates: {e}"))
    }

    /// Refuses clients without a certificate (mutual TLS).
    #[must_use]
    pub fn require_client_cert(mut self) -> Self {
        self.require_client_cert = true;
        self
    }
}

fn write(names: Vec<String>) -> io::Result<TlsFiles> {
    use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};

    let mut params = params(Vec::new(), "cachex test authority")?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let ca_key = KeyPair::generate().map_err(io::Error::other)?;
    let ca = params.self_signed(&ca_key).map_err(io::Error::other)?;
    let issuer = Issuer::new(params, ca_key);

    // The nodes of a cluster and their sentinels are each other's clients.
    let server = signed(names, "cachex test server", vec![ServerAuth, ClientAuth], &issuer)?;
    let client = signed(Vec::new(), "cachex test client", vec![ClientAuth], &issuer)?;

    let dir = TempDir::with_prefix("cachex-tls-")?;
    let file = |name: &str, pem: String| {
        let path = dir.path().join(name);
        std::fs::write(&path, pem).map(|()| path)
    };
    Ok(TlsFiles {
        ca_cert: file("ca.crt", ca.pem())?,
        cert: file("server.crt", server.0)?,
        key: file("server.key", server.1)?,
        client_cert: file("client.crt", client.0)?,
        client_key: file("client.key", client.1)?,
        require_client_cert: false,
        _dir: Arc::new(dir),
    })
}

fn params(names: Vec<String>, common_name: &str) -> io::Result<CertificateParams> {
    let mut params = CertificateParams::new(names).map_err(io::Error::other)?;
    params.distinguished_name.push(DnType::CommonName, common_name);
    Ok(params)
}

/// A certificate and its private key.
fn signed(
    names: Vec<String>,
    common_name: &str,
    purposes: Vec<ExtendedKeyUsagePurpose>,
    issuer: &Issuer<'_, KeyPair>,
) -> io::Result<(String, String)> {
    let mut params = params(names, common_name)?;
    params.extended_key_usages = purposes;
    let key = KeyPair::generate().map_err(io::Error::other)?;
    let cert = params.signed_by(&key, issuer).map_err(io::Error::other)?;
    Ok((cert.pem(), key.serialize_pem()))
}
