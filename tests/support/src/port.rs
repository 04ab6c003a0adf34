//! Ports nobody listens on.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;

/// Below what Linux (32768) and macOS (49152) hand out to outgoing connections and to binds of port 0. A port from
/// there could be taken by anybody's connection while a killed server waits to come back on it; one from here is
/// only contested by other servers that choose the same number out of twenty thousand. The upper end leaves room
/// for the cluster bus, which Redis puts 10000 above.
const PORTS: Range<u16> = 10_000..22_000;

/// What Redis adds to a node's port for the bus of its cluster.
const BUS: u16 = 10_000;

/// A port on 127.0.0.1 that was free a moment ago. It is not held: the caller retries when it lost the race.
pub(crate) fn free() -> io::Result<u16> {
    probe(bind)
}

/// Like [`free`], and so was the port of the cluster bus that belongs to it.
pub(crate) fn free_with_bus() -> io::Result<u16> {
    probe(|port| bind(port).and_then(|()| bind(port + BUS)))
}

fn bind(port: u16) -> io::Result<()> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map(drop)
}

fn probe(is_free: impl Fn(u16) -> io::Result<()>) -> io::Result<u16> {
    let random = RandomState::new();
    let span = u64::from(PORTS.end - PORTS.start);
    let mut last = None;
    for attempt in 0..1_000_u32 {
        let offset = u16::try_from(random.hash_one(attempt) % span).unwrap_or_default();
        let port = PORTS.start + offset;
        match is_free(port) {
            Ok(()) => return Ok(port),
            Err(e) => last = Some(e),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
}
