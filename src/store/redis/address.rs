//! Where the server is and who asks: from a URL to its parts.

use std::fmt;
use std::path::PathBuf;

use cachex_core::{CacheError, ErrorKind};
use redis::{ConnectionAddr, IntoConnectionInfo};

/// The port of a URL that names none.
pub(super) const DEFAULT_PORT: u16 = 6379;

/// Where the server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// A text that nobody gets to see: `Debug` shows that there is one.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(pub(super) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// What a URL says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) endpoint: Endpoint,
    pub(super) tls: bool,
    pub(super) username: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) database: u32,
}

impl Address {
    /// Reads `redis://`, `rediss://` and `unix://` URLs, and their `valkey` spellings.
    ///
    /// # Errors
    ///
    /// `InvalidInput` naming the part that is wrong, and nothing of the text: any part may hold a misplaced password.
    pub(super) fn parse(text: &str) -> Result<Self, CacheError> {
        let url = url::Url::parse(text).map_err(|error| invalid(error.to_string()))?;
        let tls = match url.scheme() {
            "redis" | "valkey" | "unix" | "redis+unix" | "valkey+unix" => false,
            "rediss" | "valkeys" => true,
            _ => return Err(invalid("the scheme is none of redis, rediss and unix")),
        };
        let is_unix = url.scheme().ends_with("unix");
        if tls && cfg!(not(feature = "redis-tls")) {
            return Err(invalid("the scheme asks for TLS, which the feature `redis-tls` adds"));
        }
        if url.fragment().is_some() {
            return Err(invalid(
                "there is a fragment; certificates are ignored by `insecure_skip_verify` alone",
            ));
        }
        let parameters: &[&str] = if is_unix { &["db", "user", "pass"] } else { &[] };
        if url.query_pairs().any(|(name, _)| !parameters.contains(&name.as_ref())) {
            return Err(invalid("the query has a parameter that is not known"));
        }
        // The driver reads what is left, percent-encoding included; its errors are fixed texts.
        let info = url.into_connection_info().map_err(|error| match error.to_string() {
            text if text.contains("hostname") => invalid("the host is missing"),
            text if text.contains("wildcard") => invalid("the host is a wildcard address"),
            text if text.contains("database") => invalid("the database is not a number"),
            text if text.contains("Username") => invalid("the user name is not UTF-8"),
            text if text.contains("Password") => invalid("the password is not UTF-8"),
            text if text.contains("path") => invalid("the path of the socket is missing"),
            _ => invalid("the driver refused it"),
        })?;
        let endpoint = match info.addr() {
            ConnectionAddr::Tcp(host, port) => Endpoint::Tcp { host: host.clone(), port: *port },
            ConnectionAddr::TcpTls { host, port, .. } => Endpoint::Tcp { host: host.clone(), port: *port },
            ConnectionAddr::Unix(path) => Endpoint::Unix(path.clone()),
            _ => return Err(invalid("the address is of a kind that is not known")),
        };
        let redis = info.redis_settings();
        Ok(Self {
            endpoint,
            tls,
            username: redis.username().map(str::to_owned),
            password: redis.password().map(|password| Secret(password.to_owned())),
            database: u32::try_from(redis.db()).map_err(|_| invalid("the database is out of range"))?,
        })
    }
}

fn invalid(what: impl fmt::Display) -> CacheError {
    CacheError::new(ErrorKind::InvalidInput, format!("redis url: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Endpoint {
        Endpoint::Tcp { host: host.to_owned(), port }
    }

    #[test]
    fn every_part_is_read() {
        let address = Address::parse("redis://app:p%40ss%2Fword@cache.internal:6380/3").unwrap();
        assert_eq!(address.endpoint, tcp("cache.internal", 6380));
        assert_eq!(address.username.as_deref(), Some("app"));
        assert_eq!(address.password, Some(Secret("p@ss/word".to_owned())));
        assert_eq!((address.database, address.tls), (3, false));

        let bare = Address::parse("redis://localhost").unwrap();
        assert_eq!(bare.endpoint, tcp("localhost", DEFAULT_PORT));
        assert_eq!((bare.username, bare.password, bare.database), (None, None, 0));
        assert_eq!(Address::parse("redis://[::1]:1").unwrap().endpoint, tcp("::1", 1));

        let unix = Address::parse("unix:///run/redis.sock?db=2&user=u&pass=p").unwrap();
        assert_eq!(unix.endpoint, Endpoint::Unix("/run/redis.sock".into()));
        assert_eq!((unix.database, unix.username.as_deref()), (2, Some("u")));
        assert_eq!(unix.password, Some(Secret("p".to_owned())));
    }

    #[cfg(feature = "redis-tls")]
    #[test]
    fn tls_by_scheme() {
        assert!(Address::parse("rediss://cache").unwrap().tls);
        let error = Address::parse("rediss://cache/#insecure").unwrap_err();
        assert!(error.to_string().contains("insecure_skip_verify"), "{error}");
    }

    #[test]
    fn errors_name_the_part_and_show_nothing() {
        for (url, part) in [
            ("hunter2", "relative URL"),
            ("http://:hunter2@h", "scheme"),
            ("redis://:hunter2@h:99999", "port"),
            ("redis://:hunter2@/", "host"),
            ("redis://:hunter2@0.0.0.0", "wildcard"),
            ("redis://:hunter2@h/hunter2", "database"),
            ("redis://:hunter2@h/-1", "database"),
            ("redis://:hunter2@h/0?password=hunter2", "query"),
            ("redis://:hunter2@h/0#hunter2", "fragment"),
            ("redis://:%ffhunter2@h", "password"),
            ("redis://%ff:hunter2@h", "user name"),
        ] {
            let error = Address::parse(url).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains(part), "{url}: {error}");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let address = Address::parse("redis://:hunter2@h").unwrap();
        assert!(!format!("{address:?}").contains("hunter2"));
    }
}
