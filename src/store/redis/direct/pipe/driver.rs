//! The task that serves a pipe.

use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes, BytesMut};
use cachex_core::{CacheError, handover};
use redis::RedisResult;
use tokio::io::{AsyncReadExt, AsyncWrite};

use super::{Phase, Shared, Slot, Told, WINDOW};
use crate::store::redis::direct::Socket;
use crate::store::redis::direct::open::{malformed, refusal};
use crate::store::redis::direct::reader::{KEPT, ROOM, STEP};
use crate::store::redis::direct::resp::{self, Progress, Reply};
use crate::store::redis::error;

/// Serves a pipe.
pub(in super::super::super) struct Driver {
    shared: Arc<Shared>,
    socket: Box<dyn Socket>,
    /// Whether the server is on this machine and may have the core of whoever has sent it several commands.
    gives_way: bool,
    /// What is being written, how many commands it was, and whether it took more room than is kept.
    output: BytesMut,
    commands: usize,
    is_large: bool,
    /// Whether the socket may still have some of it to itself.
    flushing: bool,
    input: BytesMut,
    /// The most room `input` had since it was made.
    room: usize,
    /// The replies that are still to come for what was taken to be written.
    reply: Reply,
    missing: usize,
    /// Whether nothing has come since no reply was owed.
    is_unheard: bool,
    /// Whether replies came in the last poll: what is asked next goes out before more of them are looked for.
    has_answered: bool,
    /// Whether those who were ready to run have run since the last write, so that what they ask goes out together.
    others_ran: bool,
    // Used again and again.
    told: Vec<Told>,
    wakers: Vec<Waker>,
    /// How many bytes its buffers take.
    #[cfg(test)]
    held: Arc<std::sync::atomic::AtomicUsize>,
}

/// What a look at the socket has brought.
enum Came {
    Nothing,
    /// Part of a reply.
    Bytes,
    Replies,
}

impl Driver {
    pub(super) fn new(shared: Arc<Shared>, socket: Box<dyn Socket>, gives_way: bool) -> Self {
        Self {
            shared,
            socket,
            gives_way,
            output: BytesMut::new(),
            commands: 0,
            is_large: false,
            flushing: false,
            input: BytesMut::new(),
            room: 0,
            reply: Reply::default(),
            missing: 1,
            is_unheard: true,
            has_answered: false,
            others_ran: false,
            told: Vec::new(),
            wakers: Vec::new(),
            #[cfg(test)]
            held: Arc::default(),
        }
    }

    #[cfg(test)]
    pub(in super::super) fn watch_memory(&self) -> Arc<std::sync::atomic::AtomicUsize> {
        Arc::clone(&self.held)
    }

    /// Serves until the connection ends, or the pipe is closed and nobody waits.
    pub(in super::super::super) async fn run(mut self) {
        let ended = poll_fn(|cx| self.drive(cx)).await;
        let error = ended.err().map_or_else(error::closed, error::from_driver);
        self.end(&error);
    }

    fn drive(&mut self, cx: &mut Context<'_>) -> Poll<RedisResult<()>> {
        if std::mem::take(&mut self.has_answered) && (self.has_output() || self.take()) {
            // A socket that takes no more is looked at below, for what it has.
            if let Poll::Ready(sent) = self.send(cx) {
                sent?;
            }
        }
        loop {
            // Before anything is sent: a connection that was closed while nobody used it shall cost nobody an error.
            match self.receive(cx)? {
                Came::Replies => {
                    self.deliver();
                    // Who is answered comes back with more. They run first, and what they ask goes out together.
                    (self.has_answered, self.others_ran) = (true, true);
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Came::Bytes => {
                    self.shared.lock().hear();
                    continue;
                }
                Came::Nothing => {}
            }
            if !self.has_output() {
                if !self.others_ran && self.shared.lock().has_more() {
                    self.others_ran = true;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                if !self.take() {
                    return self.sleep(cx);
                }
            }
            if self.send(cx)?.is_pending() {
                return self.sleep(cx);
            }
        }
    }

    /// Waits: for the socket, for the end, and for a read if there is room for one.
    fn sleep(&mut self, cx: &mut Context<'_>) -> Poll<RedisResult<()>> {
        let is_writing = self.has_output();
        let waker = cx.waker().clone();
        let mut state = self.shared.lock();
        if state.is_done() {
            return Poll::Ready(Ok(()));
        }
        if !is_writing && state.has_more() {
            // It has just come.
            drop(state);
            waker.wake();
            return Poll::Pending;
        }
        state.is_hungry = !is_writing && state.owed.len() < WINDOW;
        let unused = state.driver.replace(waker);
        drop(state);
        drop(unused);
        self.others_ran = false;
        Poll::Pending
    }

    fn has_output(&self) -> bool {
        !self.output.is_empty() || self.flushing
    }

    /// Takes what is queued, as far as the window allows; `false` when that is nothing.
    fn take(&mut self) -> bool {
        let mut guard = self.shared.lock();
        let state = &mut *guard;
        let before = state.owed.len();
        while state.owed.len() < WINDOW
            && let Some((slot, key)) = state.queued.pop_front()
        {
            let place = &mut state.slots[slot as usize];
            match std::mem::replace(place, Slot::Free) {
                Slot::Queued(waker) => {
                    *place = Slot::Sent(waker);
                    state.owed.push_back(slot);
                    resp::ask(&mut self.output, std::slice::from_ref(&key), false);
                }
                _ => {
                    state.withdrawn -= 1;
                    state.vacate(slot);
                }
            }
        }
        self.commands = state.owed.len() - before;
        drop(guard);
        if before == 0 {
            self.is_unheard = true;
        }
        self.is_large = self.output.capacity() > KEPT;
        self.reply.add(self.commands);
        self.commands > 0
    }

    /// Hands what was taken to the system, all of it.
    fn send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.flushing = true;
        while !self.output.is_empty() {
            let written = ready!(Pin::new(&mut self.socket).poll_write(cx, &self.output)?);
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.output.advance(written);
        }
        if std::mem::take(&mut self.is_large) {
            self.output = BytesMut::new();
        }
        ready!(Pin::new(&mut self.socket).poll_flush(cx)?);
        self.flushing = false;
        if self.gives_way && self.commands > 1 {
            handover::give_way();
        }
        Poll::Ready(Ok(()))
    }

    /// Takes in what has come.
    fn receive(&mut self, cx: &mut Context<'_>) -> RedisResult<Came> {
        self.input.reserve(self.missing.clamp(ROOM, STEP.max(self.input.len())));
        self.room = self.room.max(self.input.capacity());
        match pin!(self.socket.read_buf(&mut self.input)).poll(cx)? {
            Poll::Pending => return Ok(Came::Nothing),
            Poll::Ready(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Poll::Ready(_) => self.is_unheard = false,
        }
        let told = &mut self.told;
        loop {
            let sink = |value: Option<&[u8]>, _| told.push(Told::Found(value.map(Bytes::copy_from_slice)));
            match self.reply.read(&mut self.input, sink).map_err(malformed)? {
                Progress::Refused(line) => told.push(Told::Refused(refusal(&line)?)),
                Progress::Short(missing) => {
                    self.missing = missing;
                    break;
                }
                // Nobody asked for what comes after the last reply.
                Progress::Done if !self.input.is_empty() => return Err(malformed(resp::Malformed)),
                Progress::Done => {
                    self.missing = 1;
                    break;
                }
            }
        }
        if self.room > KEPT && self.input.len() <= KEPT {
            self.input = BytesMut::from(&self.input[..]);
            self.room = 0;
        }
        #[cfg(test)]
        self.held.store(self.input.capacity().max(self.room) + self.output.capacity(), Ordering::Relaxed);
        Ok(if self.told.is_empty() { Came::Bytes } else { Came::Replies })
    }

    /// Hands out the replies that have come.
    fn deliver(&mut self) {
        let mut state = self.shared.lock();
        state.hear();
        for told in self.told.drain(..) {
            if let Some(slot) = state.owed.pop_front() {
                self.wakers.extend(state.tell(slot, told));
            }
        }
        drop(state);
        self.wake();
    }

    fn wake(&mut self) {
        for waker in self.wakers.drain(..) {
            // One that panics is no reason to leave the others asleep.
            let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
    }

    /// Tells all who wait that there will be no reply.
    fn end(&mut self, error: &CacheError) {
        // What had come before the end is an answer.
        self.deliver();
        self.shared.over.store(true, Ordering::Relaxed);
        let mut state = self.shared.lock();
        state.phase = Phase::Over;
        let driver = state.driver.take();
        while let Some(slot) = state.owed.pop_front() {
            let told = if self.is_unheard { Told::Unsent } else { Told::Failed(error.clone()) };
            self.wakers.extend(state.tell(slot, told));
        }
        let queued = std::mem::take(&mut state.queued);
        state.withdrawn = 0;
        for &(slot, _) in &queued {
            self.wakers.extend(state.tell(slot, Told::Unsent));
        }
        drop(state);
        drop((driver, queued));
        self.wake();
    }
}

/// Dropped before it was done, its runtime was shut down.
impl Drop for Driver {
    fn drop(&mut self) {
        if !self.shared.is_over() {
            self.end(&error::driver_gone());
        }
    }
}
