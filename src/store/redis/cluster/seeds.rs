//! Where a cluster is found.

use cachex_core::{CacheError, ErrorKind};

use crate::store::redis::address::{Address, Endpoint, Secret, Target};

/// The schemes of URLs that name a cluster, and those of a single node's.
const SCHEMES: [(&str, &str); 4] = [
    ("redis-cluster://", "redis://"),
    ("rediss-cluster://", "rediss://"),
    ("valkey-cluster://", "valkey://"),
    ("valkeys-cluster://", "valkeys://"),
];

/// Some nodes of a cluster, and what holds for all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store::redis) struct Seeds {
    pub(in crate::store::redis) endpoints: Vec<Endpoint>,
    /// With the first of the endpoints.
    pub(in crate::store::redis) address: Address,
}

impl Seeds {
    /// Reads `redis-cluster://[user][:password@]host[:port][,host[:port]]…`; `None` for a URL of another scheme.
    ///
    /// # Errors
    ///
    /// As [`Address::parse`].
    pub(in crate::store::redis) fn parse(url: &str) -> Option<Result<Self, CacheError>> {
        let (rest, scheme) =
            SCHEMES.iter().find_map(|(cluster, node)| Some((url.strip_prefix(cluster)?, node)))?;
        // What belongs to the hosts ends where the path, the query or the fragment begins.
        let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (user, hosts) = match authority.rfind('@') {
            Some(at) => authority.split_at(at + 1),
            None => ("", authority),
        };
        Some(Self::of(hosts.split(',').map(|host| format!("{scheme}{user}{host}{tail}"))))
    }

    /// Reads nodes: each `host`, `host:port`, or a URL of its own.
    ///
    /// # Errors
    ///
    /// `InvalidInput` naming what is wrong: one is not an address, they differ in more than that, or there is none.
    pub(in crate::store::redis) fn list(nodes: &[Secret]) -> Result<Self, CacheError> {
        Self::of(
            nodes.iter().map(
                |Secret(node)| {
                    if node.contains("://") { node.clone() } else { format!("redis://{node}") }
                },
            ),
        )
    }

    fn of(urls: impl Iterator<Item = String>) -> Result<Self, CacheError> {
        let mut seeds: Option<Self> = None;
        for url in urls {
            let address = Address::parse(&url)?;
            let endpoint = match &address.target {
                Target::Server(endpoint @ Endpoint::Tcp { .. }) => endpoint.clone(),
                _ => return Err(invalid("has a node that is not reached by TCP")),
            };
            let seeds = seeds.get_or_insert_with(|| Self { endpoints: Vec::new(), address: address.clone() });
            if (Address { target: seeds.address.target.clone(), ..address }) != seeds.address {
                return Err(invalid("has nodes that differ in TLS, user, password or database"));
            }
            if !seeds.endpoints.contains(&endpoint) {
                seeds.endpoints.push(endpoint);
            }
        }
        seeds.ok_or_else(|| invalid("has no node"))
    }
}

fn invalid(what: &str) -> CacheError {
    CacheError::new(ErrorKind::InvalidInput, format!("redis store: cluster {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::redis::address::DEFAULT_PORT;

    fn tcp(host: &str, port: u16) -> Endpoint {
        Endpoint::Tcp { host: host.to_owned(), port }
    }

    fn list(nodes: &[&str]) -> Result<Seeds, CacheError> {
        Seeds::list(&nodes.iter().map(|node| Secret((*node).to_owned())).collect::<Vec<_>>())
    }

    #[test]
    fn urls_of_several_hosts() {
        let seeds =
            Seeds::parse("redis-cluster://app:p%40ss@h1:7000,h2:7001,[::1],h1:7000/0").unwrap().unwrap();
        assert_eq!(seeds.endpoints, [tcp("h1", 7000), tcp("h2", 7001), tcp("::1", DEFAULT_PORT)]);
        assert_eq!(seeds.address.username.as_deref(), Some("app"));
        assert_eq!(seeds.address.password, Some(Secret("p@ss".to_owned())));
        assert!(!seeds.address.tls);
        assert!(Seeds::parse("redis://h1").is_none());
    }

    #[cfg(feature = "redis-tls")]
    #[test]
    fn tls_by_scheme() {
        assert!(Seeds::parse("rediss-cluster://h1,h2").unwrap().unwrap().address.tls);
        assert!(list(&["rediss://h1", "h2"]).is_err());
    }

    #[test]
    fn lists_of_nodes() {
        let seeds = list(&["h1:7000", "h2", "redis://h3:7001"]).unwrap();
        assert_eq!(seeds.endpoints, [tcp("h1", 7000), tcp("h2", DEFAULT_PORT), tcp("h3", 7001)]);
    }

    #[test]
    fn errors_name_the_part_and_show_nothing() {
        for (seeds, part) in [
            (list(&[]), "no node"),
            (list(&["unix:///hunter2"]), "TCP"),
            (list(&["redis://:hunter2@h1", "h2"]), "differ"),
            (list(&["h1:hunter2"]), "port"),
            (Seeds::parse("redis-cluster://:hunter2@h1,,h2").unwrap(), "host"),
            (Seeds::parse("redis-cluster://:hunter2@h1,h2/hunter2").unwrap(), "database"),
            (Seeds::parse("redis-cluster://:hunter2@h1?x=hunter2").unwrap(), "query"),
        ] {
            let error = seeds.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains(part), "{error}");
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }
}
