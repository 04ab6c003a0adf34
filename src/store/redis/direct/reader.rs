//! A connection that one read has at a time.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;

use bytes::{Buf, BytesMut};
use cachex_core::Key;
use redis::{RedisResult, ServerError};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};

use super::Socket;
use super::open::{malformed, refusal};
use super::resp::{self, Progress, Reply, Stale};

/// Room for what is read at a time: most replies to a batch of small values are one system call.
const ROOM: usize = 32 * 1024;

/// A buffer that had to grow beyond this for a large value is not kept.
const KEPT: usize = 256 * 1024;

/// The connection, and what is still to pass over it.
///
/// Dropping the future of a read leaves it usable: what was not written is written by the next read, and what was not
/// answered is skipped by it.
pub(in super::super) struct Reader {
    socket: Box<dyn Socket>,
    output: BytesMut,
    input: BytesMut,
    /// The reply that is being read; that of a dropped read until the next one.
    reply: Reply,
    stale: Stale,
}

impl Reader {
    pub(in super::super) fn new(socket: Box<dyn Socket>) -> Self {
        let (output, input) = (BytesMut::new(), BytesMut::new());
        Self { socket, output, input, reply: Reply::default(), stale: Stale::default() }
    }

    /// Whether the server closed the connection while nobody used it, or says what nobody asked for. Looks at what is
    /// known without asking the system.
    pub(in super::super) async fn is_gone(&mut self) -> bool {
        if !self.stale.is_none() || self.reply != Reply::default() {
            return false;
        }
        poll_fn(|cx| {
            let mut byte = [0];
            let polled = Pin::new(&mut self.socket).poll_read(cx, &mut ReadBuf::new(&mut byte));
            Poll::Ready(polled.is_ready())
        })
        .await
    }

    /// Reads keys, and hands what was found to `sink` in their order, each with how many come after it. `Ok(Some)` when
    /// the server refuses.
    ///
    /// # Errors
    ///
    /// The connection is past use.
    pub(in super::super) async fn read(
        &mut self,
        keys: &[Key],
        many: bool,
        mut sink: impl FnMut(Option<&[u8]>, usize),
    ) -> RedisResult<Option<ServerError>> {
        self.stale.add(std::mem::take(&mut self.reply));
        resp::ask(&mut self.output, keys, many);
        self.reply = if many { Reply::many(keys.len()) } else { Reply::ONE };
        while !self.output.is_empty() {
            match self.socket.write(&self.output).await? {
                0 => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                written => self.output.advance(written),
            }
        }
        loop {
            let missing = match self.stale.skip(&mut self.input).map_err(malformed)? {
                Some(missing) => missing,
                None => match self.reply.read(&mut self.input, &mut sink).map_err(malformed)? {
                    Progress::Short(missing) => missing,
                    Progress::Done => {
                        self.tidy();
                        return Ok(None);
                    }
                    Progress::Refused(line) => return refusal(&line).map(Some),
                },
            };
            self.input.reserve(missing.max(ROOM));
            if self.socket.read_buf(&mut self.input).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }

    fn tidy(&mut self) {
        if self.input.is_empty() && self.input.capacity() > KEPT {
            self.input = BytesMut::new();
        }
        if self.output.capacity() > KEPT {
            self.output = BytesMut::new();
        }
    }
}
