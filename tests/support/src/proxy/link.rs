//! One connection through the proxy.

use std::io;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;

use super::{Fault, Setting, Shared};

const BUFFER: usize = 16 * 1024;

/// Counts a connection as open for as long as it lives, however it ends.
pub(super) struct OpenGuard(Arc<Shared>);

impl OpenGuard {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        shared.open.fetch_add(1, Ordering::Relaxed);
        Self(shared)
    }
}

impl Deref for OpenGuard {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Makes closing the socket send a RST instead of a FIN.
pub(super) fn reset(stream: &TcpStream) {
    // Fails only on a socket that is closed already.
    let _ = stream.set_zero_linger();
}

/// How a connection is closed at both of its ends.
enum End {
    Orderly,
    Reset,
}

pub(super) async fn run(mut client: TcpStream, shared: OpenGuard, mut resets: watch::Receiver<u64>) {
    let swallows = shared.setting.borrow().fault == Fault::Blackhole;
    let upstream = *shared.upstream.borrow();
    // Outside the select: a connection dropped half made would end with a FIN.
    let mut server = match swallows {
        true => None,
        false => match TcpStream::connect(upstream).await {
            Ok(server) => Some(server),
            Err(_) => return reset(&client),
        },
    };
    let end = tokio::select! {
        biased;
        // An error would mean that the proxy is gone.
        _ = resets.changed() => End::Reset,
        end = serve(&mut client, &mut server, &shared) => end,
    };
    if matches!(end, End::Reset) {
        reset(&client);
        server.iter().for_each(reset);
    }
}

/// Pumps both ways.
async fn serve(client: &mut TcpStream, server: &mut Option<TcpStream>, shared: &Shared) -> End {
    let Some(server) = server else { return swallow(client).await };
    // Each piece leaves when it is written: slices would be merged again otherwise.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));

    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let mut requests = Pump::new(Direction::ToServer, shared, to_server);
    let mut replies = Pump::new(Direction::ToClient, shared, to_client);
    let (requests, replies) = (requests.run(from_client), replies.run(from_server));
    tokio::pin!(requests, replies);
    let last = tokio::select! {
        end = &mut requests => match end {
            // The client has finished speaking; the server may still be answering.
            Ok(Delivery::Delivered) => replies.await,
            // The client is gone, and the server was not to know.
            swallowed_or_failed => swallowed_or_failed,
        },
        end = &mut replies => match end {
            // Either the client knows that the server has finished, or it must not learn: it goes on speaking.
            Ok(_) => requests.await,
            failed => failed,
        },
    };
    if last.is_ok() { End::Orderly } else { End::Reset }
}

async fn swallow(client: &mut TcpStream) -> End {
    let mut buffer = [0; 1024];
    while !matches!(client.read(&mut buffer).await, Ok(0) | Err(_)) {}
    End::Orderly
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToServer,
    ToClient,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Delivery {
    Delivered,
    Swallowed,
}

/// One direction of a connection.
struct Pump<'a> {
    direction: Direction,
    setting: watch::Receiver<Setting>,
    delivered: &'a AtomicU64,
    to: WriteHalf<'a>,
    /// Bytes were swallowed: nothing may follow them.
    dead: bool,
    /// Bytes delivered under the setting of this generation.
    counted: (u64, u64),
}

impl<'a> Pump<'a> {
    fn new(direction: Direction, shared: &'a Shared, to: WriteHalf<'a>) -> Self {
        let delivered = match direction {
            Direction::ToServer => &shared.to_server,
            Direction::ToClient => &shared.to_client,
        };
        let setting = shared.setting.subscribe();
        let generation = setting.borrow().generation;
        Self { direction, setting, delivered, to, dead: false, counted: (generation, 0) }
    }

    /// Until the sender closes. An error means that the connection is to be reset.
    async fn run(&mut self, mut from: ReadHalf<'_>) -> io::Result<Delivery> {
        let mut buffer = vec![0; BUFFER];
        loop {
            let read = from.read(&mut buffer).await;
            let over = matches!(read, Ok(0) | Err(_));
            match self.fault().await? {
                None if over => return Ok(Delivery::Swallowed),
                None => {}
                Some(fault) => self.deliver(fault, &buffer[..read?]).await?,
            }
            if over {
                return Ok(Delivery::Delivered);
            }
        }
    }

    /// The fault under which to deliver what has just been read; `None` when it is to be swallowed.
    async fn fault(&mut self) -> io::Result<Option<Fault>> {
        loop {
            let Setting { fault, generation } = *self.setting.borrow_and_update();
            if self.counted.0 != generation {
                self.counted = (generation, 0);
            }
            self.dead |= match fault {
                Fault::Blackhole => true,
                Fault::DropReplies => self.direction == Direction::ToClient,
                _ => false,
            };
            if self.dead || fault != Fault::Hold {
                return Ok((!self.dead).then_some(fault));
            }
            self.setting.changed().await.map_err(io::Error::other)?;
        }
    }

    /// Passes on `bytes`, or the end of the stream when there are none.
    async fn deliver(&mut self, fault: Fault, bytes: &[u8]) -> io::Result<()> {
        match (fault, self.direction) {
            (Fault::Latency(delay), _) => tokio::time::sleep(delay).await,
            (Fault::Slice(size), _) => {
                for piece in bytes.chunks(size.max(1)) {
                    self.write(piece).await?;
                    // Gives the reader its chance to see this piece alone.
                    tokio::task::yield_now().await;
                }
                if !bytes.is_empty() {
                    return Ok(());
                }
            }
            (Fault::CutToServer(limit), Direction::ToServer)
            | (Fault::CutToClient(limit), Direction::ToClient) => {
                return self.deliver_up_to(limit, bytes).await;
            }
            _ => {}
        }
        self.write(bytes).await
    }

    async fn deliver_up_to(&mut self, limit: u64, bytes: &[u8]) -> io::Result<()> {
        let left = usize::try_from(limit.saturating_sub(self.counted.1)).unwrap_or(usize::MAX);
        match bytes.get(..left) {
            None => self.write(bytes).await,
            Some([]) => Err(io::ErrorKind::ConnectionReset.into()),
            Some(last) => {
                self.write(last).await?;
                Err(io::ErrorKind::ConnectionReset.into())
            }
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return self.to.shutdown().await;
        }
        self.to.write_all(bytes).await?;
        let count = bytes.len() as u64;
        self.counted.1 += count;
        self.delivered.fetch_add(count, Ordering::Relaxed);
        Ok(())
    }
}
