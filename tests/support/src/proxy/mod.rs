//! A TCP proxy that misbehaves on demand.

mod link;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use crate::eventually::POLL;

/// What a [`FaultProxy`] does to the bytes and connections that pass through it.
///
/// A TCP stream never loses bytes from its middle. So a connection of which bytes were swallowed in one direction
/// ([`Blackhole`](Fault::Blackhole), [`DropReplies`](Fault::DropReplies)) delivers nothing more in that direction,
/// whatever is set later: it is half-open until it is closed, as after the death of a peer or of a NAT entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Forwards everything at once.
    #[default]
    Pass,
    /// Resets new connections at once; those that exist go on. See also [`FaultProxy::reset_connections`].
    Refuse,
    /// Accepts and reads, and forwards nothing either way. Not even a close is passed on.
    Blackhole,
    /// Requests reach the server, replies never return: the server has done what the client must not assume.
    DropReplies,
    /// Holds what arrives, either way, until another fault is set, and then delivers it: a partition that heals.
    Hold,
    /// Delivers each piece this much after it was read, either way.
    Latency(Duration),
    /// Delivers pieces of at most this many bytes (at least 1), each in a write of its own, either way.
    Slice(usize),
    /// Delivers this many more bytes of each connection to the server, then resets both of its ends.
    CutToServer(u64),
    /// Delivers this many more bytes of each connection to the client, then resets both of its ends.
    CutToClient(u64),
}

/// The fault in force. The generation tells a connection that a count of bytes starts anew.
#[derive(Clone, Copy, Debug, Default)]
struct Setting {
    fault: Fault,
    generation: u64,
}

#[derive(Debug)]
struct Shared {
    setting: watch::Sender<Setting>,
    upstream: watch::Sender<SocketAddr>,
    /// Counts the resets asked for: a connection ends when it sees the number change.
    resets: watch::Sender<u64>,
    accepted: AtomicU64,
    open: AtomicU64,
    to_server: AtomicU64,
    to_client: AtomicU64,
}

/// A TCP proxy in front of one server, whose [`Fault`] can be switched while connections are open.
///
/// It runs on the tokio runtime it was started on, and on its clock. Dropping it resets every connection and closes
/// the port.
///
/// ```no_run
/// # async fn example(server: cachex_test_support::RedisServer) {
/// use cachex_test_support::{Fault, FaultProxy};
///
/// let proxy = FaultProxy::start(server.addr()).await;
/// proxy.set(Fault::CutToClient(3)); // three bytes of the next reply, then a reset
/// # }
/// ```
pub struct FaultProxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    /// Dropped with the proxy, which is how the accepting task learns of it.
    _alive: oneshot::Sender<()>,
}

impl FaultProxy {
    /// Listens on a free port of 127.0.0.1 and forwards to `upstream`, which need not be up yet.
    ///
    /// # Panics
    ///
    /// When no port can be bound.
    pub async fn start(upstream: SocketAddr) -> Self {
        Self::try_start(upstream).await.unwrap_or_else(|e| panic!("the proxy cannot listen: {e}"))
    }

    async fn try_start(upstream: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared {
            setting: watch::Sender::default(),
            upstream: watch::Sender::new(upstream),
            resets: watch::Sender::default(),
            accepted: AtomicU64::new(0),
            open: AtomicU64::new(0),
            to_server: AtomicU64::new(0),
            to_client: AtomicU64::new(0),
        });
        let (alive, gone) = oneshot::channel();
        tokio::spawn(accept(listener, Arc::clone(&shared), gone));
        Ok(Self { addr, shared, _alive: alive })
    }

    /// Where clients connect.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `redis://127.0.0.1:PORT`. For a server with a password: [`RedisServer::url_through`].
    ///
    /// [`RedisServer::url_through`]: crate::RedisServer::url_through
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}", self.addr)
    }

    /// Sets the fault, for connections that exist and for new ones. Setting the same one again restarts its count
    /// of bytes.
    pub fn set(&self, fault: Fault) {
        self.shared.setting.send_modify(|setting| {
            *setting = Setting { fault, generation: setting.generation + 1 };
        });
    }

    /// The fault in force.
    #[must_use]
    pub fn fault(&self) -> Fault {
        self.shared.setting.borrow().fault
    }

    /// Sends new connections to another server; those that exist stay where they are.
    pub fn set_upstream(&self, upstream: SocketAddr) {
        self.shared.upstream.send_replace(upstream);
    }

    /// Resets (RST) both ends of every connection that is open now.
    pub fn reset_connections(&self) {
        self.shared.resets.send_modify(|resets| *resets += 1);
    }

    /// Connections accepted so far, refused ones included.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// Connections open now.
    #[must_use]
    pub fn open_connections(&self) -> u64 {
        self.shared.open.load(Ordering::Relaxed)
    }

    /// Bytes delivered to the server so far.
    #[must_use]
    pub fn bytes_to_server(&self) -> u64 {
        self.shared.to_server.load(Ordering::Relaxed)
    }

    /// Bytes delivered to clients so far.
    #[must_use]
    pub fn bytes_to_client(&self) -> u64 {
        self.shared.to_client.load(Ordering::Relaxed)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.reset_connections();
    }
}

impl fmt::Debug for FaultProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultProxy")
            .field("addr", &self.addr)
            .field("fault", &self.fault())
            .field("connections", &self.connections())
            .field("open_connections", &self.open_connections())
            .finish_non_exhaustive()
    }
}

/// Owns the connections, and outlives the proxy until they are reset.
async fn accept(listener: TcpListener, shared: Arc<Shared>, mut gone: oneshot::Receiver<()>) {
    let mut links = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            _ = &mut gone => break,
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => open(client, &shared, &mut links),
                // Out of descriptors, or a client that was gone before it was accepted: the next may fare better.
                Err(_) => tokio::time::sleep(POLL).await,
            },
            Some(_) = links.join_next() => {}
        }
    }
    drop(listener);
    while links.join_next().await.is_some() {}
}

fn open(client: TcpStream, shared: &Arc<Shared>, links: &mut JoinSet<()>) {
    if shared.setting.borrow().fault == Fault::Refuse {
        link::reset(&client);
    } else {
        // Subscribed before it is counted: a reset asked for by one who saw the count must reach it.
        let resets = shared.resets.subscribe();
        let guard = link::OpenGuard::new(Arc::clone(shared));
        links.spawn(link::run(client, guard, resets));
    }
    shared.accepted.fetch_add(1, Ordering::Relaxed);
}
