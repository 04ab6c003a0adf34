//! What a node says of its cluster, and where it sends those who asked the wrong one.

use std::ops::RangeInclusive;

use cachex_core::{CacheError, ErrorKind};
use redis::{ServerError, Value};

use super::slot::SLOTS;
use crate::store::redis::address::Endpoint;
use crate::store::redis::error;

/// The reply to `CLUSTER SLOTS`: <https://redis.io/docs/latest/commands/cluster-slots/>.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Who serves which slots.
    pub(super) masters: Vec<(RangeInclusive<u16>, Endpoint)>,
    /// Who else can tell.
    pub(super) replicas: Vec<Endpoint>,
}

impl Layout {
    /// Reads what the node at `asked` said.
    ///
    /// # Errors
    ///
    /// What the server refused with, or that it is no such reply.
    pub(super) fn parse(reply: Value, asked: &Endpoint) -> Result<Self, CacheError> {
        let ranges = match reply {
            Value::Array(ranges) => ranges,
            Value::ServerError(refusal) => return Err(refused(&refusal)),
            _ => return Err(error::unexpected_reply()),
        };
        let mut layout = Self { masters: Vec::with_capacity(ranges.len()), replicas: Vec::new() };
        for range in ranges {
            let Value::Array(fields) = range else { return Err(error::unexpected_reply()) };
            let mut fields = fields.into_iter();
            let (first, last) = (slot(fields.next())?, slot(fields.next())?);
            // A master nobody can name leaves its slots uncovered.
            if let Some(master) = fields.next().and_then(|node| endpoint(node, asked)) {
                layout.masters.push((first..=last, master));
            }
            for replica in fields.filter_map(|node| endpoint(node, asked)) {
                if !layout.replicas.contains(&replica) {
                    layout.replicas.push(replica);
                }
            }
        }
        Ok(layout)
    }

    /// How many slots have a master.
    pub(super) fn covered(&self) -> usize {
        self.masters.iter().map(|(slots, _)| slots.len()).sum()
    }

    pub(super) fn is_complete(&self) -> bool {
        self.covered() >= usize::from(SLOTS)
    }
}

fn refused(refusal: &ServerError) -> CacheError {
    if refusal.details().is_some_and(|text| text.contains("cluster support disabled")) {
        let message = "the server is not part of a cluster";
        return CacheError::with_source(ErrorKind::InvalidInput, message, refusal.clone());
    }
    error::from_server(refusal)
}

fn slot(field: Option<Value>) -> Result<u16, CacheError> {
    match field {
        Some(Value::Int(slot)) => u16::try_from(slot).ok().filter(|slot| *slot < SLOTS),
        _ => None,
    }
    .ok_or_else(error::unexpected_reply)
}

/// `[host, port, id, [name, value, …]]`.
fn endpoint(node: Value, asked: &Endpoint) -> Option<Endpoint> {
    let Value::Array(fields) = node else { return None };
    let mut fields = fields.into_iter();
    let host = fields.next()?;
    let Some(Value::Int(port)) = fields.next() else { return None };
    let port = u16::try_from(port).ok().filter(|port| *port != 0)?;
    let host = match host {
        // It does not know how it is reached: as it just was.
        Value::Nil => host_of(asked)?,
        host => match text(host)?.as_str() {
            "" => host_of(asked)?,
            // A cluster of host names, and this node was told none: its address is among the particulars.
            "?" => particular(fields.nth(1)?, "ip")?,
            host => host.to_owned(),
        },
    };
    Some(Endpoint::Tcp { host, port })
}

/// A value in a list of names and values, or in a map.
fn particular(list: Value, name: &str) -> Option<String> {
    let pairs: Vec<(Value, Value)> = match list {
        Value::Map(pairs) => pairs,
        Value::Array(list) => {
            let mut list = list.into_iter();
            std::iter::from_fn(|| Some((list.next()?, list.next()?))).collect()
        }
        _ => return None,
    };
    let mut found =
        pairs.into_iter().filter(|(key, _)| matches!(key, Value::BulkString(key) if key == name.as_bytes()));
    found.next().and_then(|(_, value)| text(value)).filter(|text| !text.is_empty())
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

fn host_of(endpoint: &Endpoint) -> Option<String> {
    match endpoint {
        Endpoint::Tcp { host, .. } => Some(host.clone()),
        Endpoint::Unix(_) => None,
    }
}

/// Where a node sends a request it did not carry out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Redirect {
    /// The slot lives there now.
    Moved(Endpoint),
    /// The key, if anywhere, is there already; the slot still lives here.
    Ask(Endpoint),
}

impl Redirect {
    /// Reads `MOVED slot host:port` and `ASK slot host:port`, said by the node at `asked`.
    pub(super) fn parse(refusal: &ServerError, asked: &Endpoint) -> Option<Self> {
        let redirect = match refusal.code() {
            "MOVED" => Self::Moved,
            "ASK" => Self::Ask,
            _ => return None,
        };
        // An IPv6 address has colons of its own.
        let (host, port) = refusal.details()?.split_once(' ')?.1.rsplit_once(':')?;
        let host = if host.is_empty() { host_of(asked)? } else { host.to_owned() };
        let port = port.parse().ok().filter(|port| *port != 0)?;
        (host != "?").then(|| redirect(Endpoint::Tcp { host, port }))
    }
}

#[cfg(test)]
mod tests {
    use redis::parse_redis_value;

    use super::*;

    fn tcp(host: &str, port: u16) -> Endpoint {
        Endpoint::Tcp { host: host.to_owned(), port }
    }

    fn parsed(lines: &str) -> Value {
        parse_redis_value(lines.replace('|', "\r\n").as_bytes()).unwrap()
    }

    fn layout(lines: &str) -> Result<Layout, CacheError> {
        Layout::parse(parsed(lines), &tcp("asked", 1))
    }

    #[test]
    fn masters_and_replicas() {
        let layout = layout(
            "*2|*4|:0|:8191|*4|$1|a|:7000|$2|id|*0|*4|$1|b|:7001|$2|id|*0|\
             *4|:8192|:16383|*4|$1|c|:7002|$2|id|*0|*4|$1|b|:7001|$2|id|*0|",
        )
        .unwrap();
        assert_eq!(layout.masters, [(0..=8191, tcp("a", 7000)), (8192..=16383, tcp("c", 7002))]);
        assert_eq!(layout.replicas, [tcp("b", 7001)]);
        assert!(layout.is_complete());
    }

    #[test]
    fn names_that_are_not_told() {
        for (node, expected) in [
            ("*3|$0||:7000|$2|id|", Some(tcp("asked", 7000))),
            ("*3|$-1|:7000|$2|id|", Some(tcp("asked", 7000))),
            ("*4|$1|?|:7000|$2|id|*2|$2|ip|$8|10.0.0.9|", Some(tcp("10.0.0.9", 7000))),
            ("*4|$1|?|:7000|$2|id|%1|$2|ip|$8|10.0.0.9|", Some(tcp("10.0.0.9", 7000))),
            ("*4|$1|?|:7000|$2|id|*0|", None),
            ("*3|$1|a|:0|$2|id|", None),
            ("*3|$1|a|:65536|$2|id|", None),
        ] {
            let found = layout(&format!("*1|*3|:5|:5|{node}")).unwrap();
            assert_eq!(found.masters.first().map(|(_, master)| master), expected.as_ref(), "{node}");
            assert_eq!(found.covered(), usize::from(expected.is_some()));
        }
    }

    #[test]
    fn what_is_no_layout_is_an_error() {
        for lines in [":1|", "*1|:1|", "*1|*2|:0|:16384|", "*1|*2|:-1|:5|", "*1|*1|:0|"] {
            assert_eq!(layout(lines).unwrap_err().kind(), ErrorKind::Server, "{lines}");
        }
        let error = layout("-ERR This instance has cluster support disabled|").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!(layout("-NOPERM no|").unwrap_err().kind(), ErrorKind::PermissionDenied);
        assert_eq!(layout("*0|").unwrap().covered(), 0);
    }

    #[test]
    fn redirections() {
        let redirect = |line: &str| match parsed(&format!("-{line}|")) {
            Value::ServerError(refusal) => Redirect::parse(&refusal, &tcp("asked", 1)),
            other => panic!("{other:?}"),
        };
        assert_eq!(redirect("MOVED 1 10.0.0.1:7000"), Some(Redirect::Moved(tcp("10.0.0.1", 7000))));
        assert_eq!(redirect("ASK 1 node-1.local:7000"), Some(Redirect::Ask(tcp("node-1.local", 7000))));
        assert_eq!(redirect("MOVED 1 ::1:7000"), Some(Redirect::Moved(tcp("::1", 7000))));
        assert_eq!(redirect("MOVED 1 :7000"), Some(Redirect::Moved(tcp("asked", 7000))));
        for line in ["MOVED 1 ?:7000", "MOVED 1", "MOVED 1 host:0", "MOVED 1 host:x", "ERR 1 host:1"] {
            assert_eq!(redirect(line), None, "{line}");
        }
    }
}
