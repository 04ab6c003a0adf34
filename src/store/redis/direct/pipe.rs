//! A connection that many reads of one key share.
//!
//! Whoever reads puts its `GET` behind those of the others and waits for its own reply. One task, the [`Driver`], writes
//! what has come together with one system call, and hands out the replies in the order of the commands, each as soon as
//! it is there. Nobody waits for anybody: a command goes out although earlier ones have no answer yet.
//!
//! ```text
//!   Open    a command comes             => Open       it is queued, and the driver woken if it sleeps
//!   Open    the pipe is dropped         => Closing    no more commands come; who waits is still answered
//!   Closing nobody waits any more       => Over
//!   Open, Closing   the connection ends => Over       who was sent fails; who was not can go another way
//! ```
//!
//! Wakers leave the lock before they are woken or dropped: that may run whatever code a runtime likes.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes, BytesMut};
use cachex_core::{CacheError, Key, handover};
use redis::{RedisResult, ServerError};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::time::Instant;

use super::Socket;
use super::open::{malformed, refusal};
use super::reader::{KEPT, ROOM, STEP};
use super::resp::{self, Progress, Reply};
use crate::store::redis::connection::SILENCE;
use crate::store::redis::error;

/// The way into a pipe. Dropping it closes the pipe, once nobody waits for an answer any more.
pub(in super::super) struct Pipe(Arc<Shared>);

/// What callers and driver share.
pub(in super::super) struct Shared {
    state: Mutex<State>,
    /// Set once, with the phase.
    over: AtomicBool,
}

#[derive(Default)]
struct State {
    phase: Phase,
    /// Commands that nobody has begun to write.
    output: BytesMut,
    /// Whose replies are to come, in the order of their commands.
    waiting: VecDeque<u32>,
    /// How many of those, the last ones, are in `output`.
    unsent: usize,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// How many callers wait for a reply.
    live: usize,
    /// The driver, while it sleeps.
    driver: Option<Waker>,
    /// When a read was first given up since anything came.
    silent_since: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Open,
    Closing,
    Over,
}

/// One caller's place.
enum Slot {
    Free,
    Waiting(Waker),
    /// The caller is gone, its reply is still to come.
    Left,
    Told(Told),
}

/// What became of a read.
#[derive(Debug)]
pub(in super::super) enum Told {
    Found(Option<Bytes>),
    Refused(ServerError),
    /// The connection was lost after the command had been sent, or some of it.
    Failed(CacheError),
    /// It was not sent and will not be: the read can go another way.
    Unsent,
}

impl Pipe {
    /// A pipe over a connection that is ready for commands, and the task that serves it.
    pub(in super::super) fn open(socket: Box<dyn Socket>, gives_way: bool) -> (Self, Driver) {
        let shared = Arc::new(Shared { state: Mutex::default(), over: AtomicBool::new(false) });
        (Self(Arc::clone(&shared)), Driver::new(shared, socket, gives_way))
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.0
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        if state.phase == Phase::Open {
            state.phase = Phase::Closing;
        }
        let driver = state.driver.take();
        drop(state);
        wake(driver);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // What could panic under it is the cloning of a foreign waker, before anything has changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether no command is taken any more, because the connection has ended.
    #[inline]
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Whether every place is free.
    #[cfg(test)]
    pub(super) fn is_tidy(&self) -> bool {
        let state = self.lock();
        state.live == 0 && state.slots.iter().all(|slot| matches!(slot, Slot::Free))
    }

    /// A read of this key: nothing happens until it is polled.
    pub(in super::super) fn ask(self: Arc<Self>, key: Key) -> Asking {
        Asking { shared: self, key: Some(key), slot: None }
    }

    /// Queues a command; `None` when no more are taken.
    fn push(&self, key: &Key, waker: &Waker) -> Option<u32> {
        let waker = waker.clone();
        let mut guard = self.lock();
        let state = &mut *guard;
        if state.phase != Phase::Open {
            drop(guard);
            return None;
        }
        resp::ask(&mut state.output, std::slice::from_ref(key), false);
        let slot = state.seat(Slot::Waiting(waker));
        state.waiting.push_back(slot);
        state.unsent += 1;
        state.live += 1;
        let driver = state.driver.take();
        drop(guard);
        wake(driver);
        Some(slot)
    }

    /// What the caller in this slot is told, which then is nobody's. Else `waker` is woken when there is something to tell.
    fn look(&self, slot: u32, waker: &Waker) -> Poll<Told> {
        let mut state = self.lock();
        let place = &mut state.slots[slot as usize];
        match place {
            Slot::Waiting(known) if known.will_wake(waker) => Poll::Pending,
            Slot::Waiting(known) => {
                let unused = std::mem::replace(known, waker.clone());
                drop(state);
                drop(unused);
                Poll::Pending
            }
            _ => {
                let told = std::mem::replace(place, Slot::Free);
                state.free.push(slot);
                drop(state);
                match told {
                    Slot::Told(told) => Poll::Ready(told),
                    _ => Poll::Ready(Told::Failed(error::unexpected_reply())),
                }
            }
        }
    }

    /// The caller in this slot goes. Whether the connection is to be taken for half open: reads were given up on it for
    /// [`SILENCE`], or a second one in a row ran into its time limit, and not a byte came.
    fn leave(&self, slot: u32, timed_out: bool) -> bool {
        let mut state = self.lock();
        let place = &mut state.slots[slot as usize];
        if !matches!(place, Slot::Waiting(_)) {
            let told = std::mem::replace(place, Slot::Free);
            state.free.push(slot);
            drop(state);
            drop(told);
            return false;
        }
        let left = std::mem::replace(place, Slot::Left);
        state.live -= 1;
        let before = state.silent_since;
        if before.is_none() {
            state.silent_since = Some(Instant::now());
        }
        let driver =
            if state.live == 0 && state.phase == Phase::Closing { state.driver.take() } else { None };
        drop(state);
        drop(left);
        wake(driver);
        before.is_some_and(|since| timed_out || since.elapsed() >= SILENCE)
    }
}

impl State {
    fn seat(&mut self, caller: Slot) -> u32 {
        match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = caller;
                slot
            }
            None => {
                self.slots.push(caller);
                (self.slots.len() - 1) as u32
            }
        }
    }

    /// Tells the caller whose reply is the next; answers whom to wake, and what nobody wants.
    fn tell_next(&mut self, told: Told) -> Result<Waker, Option<Told>> {
        let Some(slot) = self.waiting.pop_front() else { return Err(Some(told)) };
        let place = &mut self.slots[slot as usize];
        match std::mem::replace(place, Slot::Free) {
            Slot::Waiting(waker) => {
                *place = Slot::Told(told);
                self.live -= 1;
                Ok(waker)
            }
            _ => {
                self.free.push(slot);
                Err(Some(told))
            }
        }
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// A read under way. Dropping it leaves its reply to be skipped.
pub(in super::super) struct Asking {
    shared: Arc<Shared>,
    /// Until it is queued.
    key: Option<Key>,
    /// While its caller waits.
    slot: Option<u32>,
}

impl Asking {
    /// Gives the read up; see [`Shared::leave`].
    pub(in super::super) fn give_up(&mut self, timed_out: bool) -> bool {
        self.slot.take().is_some_and(|slot| self.shared.leave(slot, timed_out))
    }
}

impl Future for Asking {
    type Output = Told;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Told> {
        if let Some(key) = self.key.take() {
            self.slot = self.shared.push(&key, cx.waker());
            return if self.slot.is_some() { Poll::Pending } else { Poll::Ready(Told::Unsent) };
        }
        let Some(slot) = self.slot else { return Poll::Ready(Told::Failed(error::unexpected_reply())) };
        let told = ready!(self.shared.look(slot, cx.waker()));
        self.slot = None;
        Poll::Ready(told)
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.give_up(false);
    }
}

/// Serves a pipe.
pub(in super::super) struct Driver {
    shared: Arc<Shared>,
    socket: Box<dyn Socket>,
    /// Whether the server is on this machine and may have the core of whoever has sent it several commands.
    gives_way: bool,
    /// What is being written, and how many commands it was.
    output: BytesMut,
    commands: usize,
    input: BytesMut,
    /// The most room `input` had since it was made.
    room: usize,
    /// The replies that are still to come for what was taken to be written.
    reply: Reply,
    missing: usize,
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
    fn new(shared: Arc<Shared>, socket: Box<dyn Socket>, gives_way: bool) -> Self {
        Self {
            shared,
            socket,
            gives_way,
            output: BytesMut::new(),
            commands: 0,
            input: BytesMut::new(),
            room: 0,
            reply: Reply::default(),
            missing: 1,
            others_ran: false,
            told: Vec::new(),
            wakers: Vec::new(),
            #[cfg(test)]
            held: Arc::default(),
        }
    }

    #[cfg(test)]
    pub(super) fn watch_memory(&self) -> Arc<std::sync::atomic::AtomicUsize> {
        Arc::clone(&self.held)
    }

    /// Serves until the connection ends, or the pipe is closed and nobody waits.
    pub(in super::super) async fn run(mut self) {
        let ended = poll_fn(|cx| self.drive(cx)).await;
        let error = ended.err().map_or_else(error::closed, error::from_driver);
        self.end(&error);
    }

    fn drive(&mut self, cx: &mut Context<'_>) -> Poll<RedisResult<()>> {
        loop {
            // Before anything is sent: a connection that was closed while nobody used it shall cost nobody an error.
            match self.receive(cx)? {
                Came::Replies => {
                    self.deliver();
                    // Who is answered comes back with more. They run first, and what they ask goes out together.
                    self.others_ran = true;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Came::Bytes => continue,
                Came::Nothing => {}
            }
            if self.output.is_empty() && !ready!(self.take(cx)) {
                return Poll::Ready(Ok(()));
            }
            ready!(self.send(cx))?;
            self.others_ran = false;
            if self.gives_way && self.commands > 1 {
                handover::give_way();
            }
        }
    }

    /// Takes the commands that have come; `false` when none will come any more and nobody waits.
    fn take(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut state = self.shared.lock();
        if state.unsent == 0 {
            if state.phase != Phase::Open && state.live == 0 {
                return Poll::Ready(false);
            }
            state.driver = Some(cx.waker().clone());
            self.others_ran = false;
            return Poll::Pending;
        }
        if !self.others_ran {
            drop(state);
            self.others_ran = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        std::mem::swap(&mut state.output, &mut self.output);
        self.commands = std::mem::take(&mut state.unsent);
        drop(state);
        self.reply.add(self.commands);
        Poll::Ready(true)
    }

    /// Hands what was taken to the system, all of it.
    fn send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.output.is_empty() {
            let written = ready!(Pin::new(&mut self.socket).poll_write(cx, &self.output)?);
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.output.advance(written);
        }
        if self.output.capacity() > KEPT {
            self.output = BytesMut::new();
        }
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    /// Takes in what has come.
    fn receive(&mut self, cx: &mut Context<'_>) -> RedisResult<Came> {
        self.input.reserve(self.missing.clamp(ROOM, STEP.max(self.input.len())));
        self.room = self.room.max(self.input.capacity());
        match pin!(self.socket.read_buf(&mut self.input)).poll(cx)? {
            Poll::Pending => return Ok(Came::Nothing),
            Poll::Ready(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Poll::Ready(_) => {}
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
        state.silent_since = None;
        for told in self.told.drain(..) {
            if let Ok(waker) = state.tell_next(told) {
                self.wakers.push(waker);
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
        let sent = state.waiting.len() - state.unsent;
        for at in 0..state.waiting.len() {
            let told = if at < sent { Told::Failed(error.clone()) } else { Told::Unsent };
            if let Ok(waker) = state.tell_next(told) {
                self.wakers.push(waker);
            }
        }
        state.unsent = 0;
        state.output = BytesMut::new();
        drop(state);
        drop(driver);
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
