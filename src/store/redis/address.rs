//! Where the server is and who asks: from a URL to its parts.

use std::fmt;
use std::path::PathBuf;

use cachex_core::{CacheError, ErrorKind};
use redis::{ConnectionAddr, IntoConnectionInfo};

use super::sentinel;

/// The port of a URL that names none.
pub(super) const DEFAULT_PORT: u16 = 6379;

/// What a URL may begin with to name sentinels.
const SENTINEL_SCHEMES: [(&str, &str); 4] = [
    ("redis-sentinel://", "redis"),
    ("rediss-sentinel://", "rediss"),
    ("valkey-sentinel://", "redis"),
    ("valkeys-sentinel://", "rediss"),
];

/// What the store is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// One server, wherever it is.
    Server(Endpoint),
    /// The primary of this name, which these sentinels know.
    Sentinel { master: String, nodes: Vec<Endpoint> },
}

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
    pub(super) target: Target,
    pub(super) tls: bool,
    pub(super) username: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) database: u32,
}

impl Address {
    /// Reads `redis://`, `rediss://`, `unix://`, `redis-sentinel://` and `rediss-sentinel://` URLs, and their `valkey`
    /// spellings.
    ///
    /// # Errors
    ///
    /// `InvalidInput` naming the part that is wrong, and nothing of the text: any part may hold a misplaced password.
    pub(super) fn parse(text: &str) -> Result<Self, CacheError> {
        for (scheme, server) in SENTINEL_SCHEMES {
            if let Some(rest) = text.strip_prefix(scheme) {
                return Self::parse_sentinel(server, rest);
            }
        }
        let url = url::Url::parse(text).map_err(|error| invalid(error.to_string()))?;
        let tls = match url.scheme() {
            "redis" | "valkey" | "unix" | "redis+unix" | "valkey+unix" => false,
            "rediss" | "valkeys" => true,
            _ => {
                return Err(invalid(
                    "the scheme is none of redis, rediss, unix, redis-sentinel and rediss-sentinel",
                ));
            }
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
            target: Target::Server(endpoint),
            tls,
            username: redis.username().map(str::to_owned),
            password: redis.password().map(|password| Secret(password.to_owned())),
            database: u32::try_from(redis.db()).map_err(|_| invalid("the database is out of range"))?,
        })
    }

    /// Reads `[user][:password@]host[:port][,…]/master[/database]`.
    fn parse_sentinel(scheme: &str, rest: &str) -> Result<Self, CacheError> {
        let (authority, path) = rest
            .split_once('/')
            .ok_or_else(|| invalid("the name of the primary is missing after the sentinels"))?;
        let split = authority.rfind('@').map_or(0, |at| at + 1);
        let (login, nodes) = authority.split_at(split);
        let (master, tail) = path.split_at(path.find(['/', '?', '#']).unwrap_or(path.len()));
        let nodes: Vec<&str> = nodes.split(',').collect();
        // What is like in any other URL is read like it.
        let server = Self::parse(&format!("{scheme}://{login}{}{tail}", nodes[0]))?;
        Ok(Self { target: Target::sentinel(master, nodes)?, ..server })
    }
}

impl Target {
    /// # Errors
    ///
    /// `InvalidInput` naming what is wrong.
    pub(super) fn sentinel<'a>(
        master: &str,
        nodes: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, CacheError> {
        // What Sentinel itself allows, so nothing in it can be mistaken for anything else.
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        if master.is_empty() || !master.bytes().all(allowed) {
            return Err(invalid(
                "the name of the primary must be letters, digits, dots, hyphens and underscores",
            ));
        }
        let nodes: Vec<_> = nodes.into_iter().map(sentinel_node).collect::<Result<_, _>>()?;
        if nodes.is_empty() {
            return Err(invalid("there is no sentinel"));
        }
        Ok(Self::Sentinel { master: master.to_owned(), nodes })
    }
}

/// Reads `host[:port]`.
fn sentinel_node(text: &str) -> Result<Endpoint, CacheError> {
    let url = url::Url::parse(&format!("redis://{text}"))
        .map_err(|error| invalid(format!("a sentinel: {error}")))?;
    let bare = url.username().is_empty()
        && url.password().is_none()
        && matches!(url.path(), "" | "/")
        && url.query().is_none()
        && url.fragment().is_none();
    if !bare {
        return Err(invalid("a sentinel must be `host` or `host:port`"));
    }
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    match url.port().unwrap_or(sentinel::DEFAULT_PORT) {
        _ if host.is_empty() => Err(invalid("the host of a sentinel is missing")),
        0 => Err(invalid("the port of a sentinel must be above zero")),
        port => Ok(Endpoint::Tcp { host: host.to_owned(), port }),
    }
}

fn invalid(what: impl fmt::Display) -> CacheError {
    CacheError::new(ErrorKind::InvalidInput, format!("redis url: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Target {
        Target::Server(node(host, port))
    }

    fn node(host: &str, port: u16) -> Endpoint {
        Endpoint::Tcp { host: host.to_owned(), port }
    }

    #[test]
    fn sentinels_are_read() {
        let url = "redis-sentinel://app:p%40ss@s1,s2:5000,[::1]:7/my.primary/3";
        let address = Address::parse(url).unwrap();
        let nodes = vec![node("s1", sentinel::DEFAULT_PORT), node("s2", 5000), node("::1", 7)];
        assert_eq!(address.target, Target::Sentinel { master: "my.primary".to_owned(), nodes });
        assert_eq!(address.username.as_deref(), Some("app"));
        assert_eq!(address.password, Some(Secret("p@ss".to_owned())));
        assert_eq!((address.database, address.tls), (3, false));

        let bare = Address::parse("redis-sentinel://s1/m").unwrap();
        assert_eq!((bare.username, bare.password, bare.database), (None, None, 0));
    }

    #[test]
    fn every_part_is_read() {
        let address = Address::parse("redis://app:p%40ss%2Fword@cache.internal:6380/3").unwrap();
        assert_eq!(address.target, tcp("cache.internal", 6380));
        assert_eq!(address.username.as_deref(), Some("app"));
        assert_eq!(address.password, Some(Secret("p@ss/word".to_owned())));
        assert_eq!((address.database, address.tls), (3, false));

        let bare = Address::parse("redis://localhost").unwrap();
        assert_eq!(bare.target, tcp("localhost", DEFAULT_PORT));
        assert_eq!((bare.username, bare.password, bare.database), (None, None, 0));
        assert_eq!(Address::parse("redis://[::1]:1").unwrap().target, tcp("::1", 1));

        let unix = Address::parse("unix:///run/redis.sock?db=2&user=u&pass=p").unwrap();
        assert_eq!(unix.target, Target::Server(Endpoint::Unix("/run/redis.sock".into())));
        assert_eq!((unix.database, unix.username.as_deref()), (2, Some("u")));
        assert_eq!(unix.password, Some(Secret("p".to_owned())));
    }

    #[cfg(feature = "redis-tls")]
    #[test]
    fn tls_by_scheme() {
        assert!(Address::parse("rediss://cache").unwrap().tls);
        assert!(Address::parse("rediss-sentinel://s1,s2/m").unwrap().tls);
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
            ("redis-sentinel://:hunter2@s1", "name of the primary"),
            ("redis-sentinel://:hunter2@s1/", "name of the primary"),
            ("redis-sentinel://:hunter2@s1/m%20", "name of the primary"),
            ("redis-sentinel://:hunter2@s1,/m", "a sentinel"),
            ("redis-sentinel://:hunter2@s1,s2:0/m", "port of a sentinel"),
            ("redis-sentinel://:hunter2@s1,s2:hunter2/m", "port"),
            ("redis-sentinel://:hunter2@s1,s2?hunter2/m", "a sentinel"),
            ("redis-sentinel://:hunter2@s1/m/hunter2", "database"),
            ("redis-sentinel://:hunter2@s1/m/0/hunter2", "database"),
            ("redis-sentinel://:hunter2@s1/m?x=hunter2", "query"),
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
