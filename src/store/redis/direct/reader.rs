//! A connection that one read has at a time.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use cachex_core::{Key, handover};
use futures_util::FutureExt;
use redis::{RedisResult, ServerError};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::task::unconstrained;
use tokio::time::Instant;

use super::Socket;
use super::open::{malformed, refusal};
use super::resp::{self, Progress, Reply, Stale};
use crate::store::redis::connection::SILENCE;

/// Room for what is read at a time: most replies to a batch of small values are one system call.
pub(super) const ROOM: usize = 32 * 1024;

/// Room for a large value is made in steps of this, or doubled: what a server says is to come costs nothing until it comes.
pub(super) const STEP: usize = 1024 * 1024;

/// A buffer that had to grow beyond this for a large value is not kept.
pub(super) const KEPT: usize = 256 * 1024;

/// A connection that owes more values than this, or has more than [`KEPT`] still to write, is not waited for.
pub(super) const MOST_OWED: u64 = 1024;

/// What became of a connection while nobody used it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Condition {
    Fit,
    /// It was closed, says what nobody asked for, or is too far behind.
    Gone,
    /// Reads were given up on it for [`SILENCE`], and not a byte came.
    Silent,
}

/// The connection, and what is still to pass over it.
///
/// Dropping the future of a read leaves it usable: what was not written is written by the next read, and what was not
/// answered is skipped by it.
pub(in super::super) struct Reader {
    socket: Box<dyn Socket>,
    /// Whether the server is on this machine and may have the core of whoever has sent it a batch.
    gives_way: bool,
    output: BytesMut,
    input: BytesMut,
    /// The most room `input` had since it was made; its capacity counts from where it is read.
    room: usize,
    /// The reply that is being read.
    reply: Reply,
    stale: Stale,
    /// When a read was first given up since anything came.
    silent_since: Option<Instant>,
}

impl Reader {
    pub(in super::super) fn new(socket: Box<dyn Socket>, gives_way: bool) -> Self {
        let (output, input) = (BytesMut::new(), BytesMut::new());
        let (reply, stale) = (Reply::default(), Stale::default());
        Self { socket, gives_way, output, input, room: 0, reply, stale, silent_since: None }
    }

    /// What became of it since the last read. Does not wait, and asks the system only where something is known to have come.
    pub(in super::super) fn look(&mut self) -> Condition {
        let owes = self.owes();
        if !owes && !self.input.is_empty() {
            return Condition::Gone;
        }
        self.make_room(1);
        // Whatever the task has used up of its budget: pending has to mean that nothing came.
        match unconstrained(self.socket.read_buf(&mut self.input)).now_or_never() {
            None if self.is_silent() => return Condition::Silent,
            None => {}
            Some(Ok(1..)) if owes => {
                self.silent_since = None;
                self.skip();
            }
            Some(_) => return Condition::Gone,
        }
        let behind = self.stale.elements() > MOST_OWED || self.output.len() > KEPT;
        if behind { Condition::Gone } else { Condition::Fit }
    }

    /// A read is over, or was given up: then what is there of its answer is for nobody, and takes no room.
    pub(in super::super) fn rest(&mut self) {
        if self.owes() {
            self.skip();
        }
        if self.owes() {
            self.silent_since.get_or_insert_with(Instant::now);
        }
    }

    /// Whether a read was given up before, and nothing came since.
    pub(in super::super) fn was_given_up(&self) -> bool {
        self.silent_since.is_some()
    }

    /// Writes what is to be written, or some of it and reads some of what is owed: there are servers that take no more
    /// requests until their answers have been taken. Whether all of it is on its way.
    async fn write(&mut self) -> RedisResult<bool> {
        let sent = poll_fn(|cx| -> Poll<io::Result<bool>> {
            if self.poll_send(cx)?.is_ready() {
                return Poll::Ready(Ok(true));
            }
            if self.stale.is_none() {
                return Poll::Pending;
            }
            let mut bytes = [0; 4096];
            let mut bytes = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut self.socket).poll_read(cx, &mut bytes)?);
            if bytes.filled().is_empty() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            self.input.extend_from_slice(bytes.filled());
            self.room = self.room.max(self.input.capacity());
            self.silent_since = None;
            Poll::Ready(Ok(false))
        })
        .await?;
        self.stale.skip(&mut self.input).map_err(malformed)?;
        Ok(sent)
    }

    /// Hands all there is to write to the system. A socket with TLS may keep some of it to itself until it is flushed.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.output.is_empty() {
            let written = ready!(Pin::new(&mut self.socket).poll_write(cx, &self.output)?);
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.output.advance(written);
        }
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    /// How many bytes its buffers take.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.input.capacity().max(self.room) + self.output.capacity()
    }

    fn is_silent(&self) -> bool {
        self.silent_since.is_some_and(|since| since.elapsed() >= SILENCE)
    }

    fn owes(&self) -> bool {
        !self.reply.is_over() || !self.stale.is_none()
    }

    fn skip(&mut self) {
        self.stale.add(std::mem::take(&mut self.reply));
        // What is malformed is found out by the next read.
        let _ = self.stale.skip(&mut self.input);
        self.tidy();
    }

    fn make_room(&mut self, missing: usize) {
        self.input.reserve(missing.clamp(ROOM, STEP.max(self.input.len())));
        self.room = self.room.max(self.input.capacity());
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
        let was_large = self.output.capacity() > KEPT;
        self.reply = if many { Reply::many(keys.len()) } else { Reply::ONE };
        while !self.write().await? {}
        if was_large {
            self.output = BytesMut::new();
        }
        if many && self.gives_way {
            handover::to_this_machine();
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
            self.make_room(missing);
            if self.socket.read_buf(&mut self.input).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            self.silent_since = None;
        }
    }

    fn tidy(&mut self) {
        if self.room > KEPT && self.input.len() <= KEPT {
            self.input = BytesMut::from(&self.input[..]);
            self.room = 0;
        }
    }
}
