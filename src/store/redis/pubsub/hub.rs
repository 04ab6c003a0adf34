//! What the subscribers of one store share.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use cachex_core::{CacheError, Invalidation, Publisher, Subscription};
use futures_core::Stream;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::mailbox::{Mailbox, News};
use super::server::Server;
use super::{Publishing, link, message};
use crate::store::redis::error;

/// What became of a store's subscriptions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscriptionStats {
    /// How many subscriptions there are.
    pub subscribers: usize,
    /// Whether the server has confirmed that they hear.
    pub connected: bool,
    /// How many messages came in.
    pub received: u64,
    /// How many of them could not be read. Subscribers were told that they missed something.
    pub undecodable: u64,
    /// How often a subscriber did not read, so that what waited for it was dropped.
    pub overflows: u64,
    /// How often the connection was lost.
    pub losses: u64,
}

/// The subscribers of a store. Dropping it, or closing it, ends them.
pub(in super::super) struct Hub(Arc<Shared>);

pub(super) struct Shared {
    pub(super) server: Server,
    pub(super) publishing: Arc<Publishing>,
    pub(super) connect_timeout: Duration,
    pub(super) response_timeout: Duration,
    state: Mutex<State>,
    /// Told when the standing of those who wait for a confirmation may have changed.
    changed: Notify,
    received: AtomicU64,
    undecodable: AtomicU64,
    overflows: AtomicU64,
    losses: AtomicU64,
}

struct State {
    mailboxes: Vec<Arc<Mailbox>>,
    phase: Phase,
    /// Numbers links; that of the latest.
    link: u64,
    /// Numbers connections; what an earlier one than the latest still says is not heard.
    connection: u64,
    task: Option<AbortHandle>,
}

/// How the subscription stands. There is a link, and one only, in `Connecting`, `Live` and `Down`.
enum Phase {
    /// There are no subscribers.
    Idle,
    /// The first attempt of a link, or the first since a connection was lost.
    Connecting,
    /// The server has confirmed the subscription.
    Live,
    /// The last attempt failed; the link goes on.
    Down(CacheError),
    /// For good.
    Closed,
}

impl Hub {
    pub(in super::super) fn new(
        server: Server,
        publishing: Arc<Publishing>,
        connect_timeout: Duration,
        response_timeout: Duration,
    ) -> Self {
        let state = State { mailboxes: Vec::new(), phase: Phase::Idle, link: 0, connection: 0, task: None };
        Self(Arc::new(Shared {
            server,
            publishing,
            connect_timeout,
            response_timeout,
            state: Mutex::new(state),
            changed: Notify::new(),
            received: AtomicU64::new(0),
            undecodable: AtomicU64::new(0),
            overflows: AtomicU64::new(0),
            losses: AtomicU64::new(0),
        }))
    }

    /// A subscription that the server has confirmed: what is published from now on is heard, or its loss is told.
    ///
    /// Cancel safe: dropping the future is as if it had not been called.
    ///
    /// # Errors
    ///
    /// Why there is none; at once while the last attempt is known to have failed.
    pub(in super::super) fn subscribe(
        &self,
    ) -> impl Future<Output = Result<Subscription, CacheError>> + Send + use<> {
        let shared = Arc::clone(&self.0);
        async move {
            let receiver = shared.join()?;
            // The link has the same limits. This one is for a link whose runtime stands still.
            let limit = shared.connect_timeout + shared.connect_timeout / 2 + shared.response_timeout;
            match tokio::time::timeout(limit, shared.confirmed(&receiver.mailbox)).await {
                Ok(confirmed) => confirmed?,
                Err(_) => return Err(error::connect_timeout()),
            }
            Ok(Subscription::with_publisher(receiver))
        }
    }

    pub(in super::super) fn close(&self) {
        self.0.finish(Phase::Closed);
    }

    pub(in super::super) fn stats(&self) -> SubscriptionStats {
        let state = self.0.state();
        SubscriptionStats {
            subscribers: state.mailboxes.len(),
            connected: matches!(state.phase, Phase::Live),
            received: self.0.received.load(Ordering::Relaxed),
            undecodable: self.0.undecodable.load(Ordering::Relaxed),
            overflows: self.0.overflows.load(Ordering::Relaxed),
            losses: self.0.losses.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("publishing", &self.0.publishing).field("stats", &self.stats()).finish()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more subscriber, and a link if it is the first.
    fn join(self: &Arc<Self>) -> Result<Receiver, CacheError> {
        let mailbox = Arc::new(Mailbox::default());
        let mut state = self.state();
        let first = match &state.phase {
            Phase::Closed => return Err(error::closed()),
            Phase::Down(error) => return Err(error.clone()),
            Phase::Live => {
                mailbox.confirm();
                None
            }
            Phase::Connecting => None,
            Phase::Idle => {
                // Idle => Connecting
                state.phase = Phase::Connecting;
                state.link += 1;
                Some(state.link)
            }
        };
        state.mailboxes.push(Arc::clone(&mailbox));
        drop(state);
        let receiver = Receiver { shared: Arc::clone(self), mailbox };
        if let Some(link) = first {
            self.start(link);
        }
        Ok(receiver)
    }

    /// Outside the lock: a runtime that shuts down drops the task, and with it its guard, then and there.
    fn start(self: &Arc<Self>, link: u64) {
        let task = tokio::spawn(link::run(Guard { shared: Arc::clone(self), link })).abort_handle();
        let mut state = self.state();
        if state.is_current(link) {
            state.task = Some(task);
        } else {
            drop(state);
            task.abort();
        }
    }

    /// Waits until the mailbox hears.
    async fn confirmed(&self, mailbox: &Mailbox) -> Result<(), CacheError> {
        loop {
            // Before anyone looks: what changes from here on is not missed.
            let changed = self.changed.notified();
            if mailbox.hears() {
                return Ok(());
            }
            match &self.state().phase {
                Phase::Down(error) => return Err(error.clone()),
                Phase::Closed => return Err(error::closed()),
                Phase::Idle => return Err(error::link_gone()),
                Phase::Connecting | Phase::Live => {}
            }
            changed.await;
        }
    }

    fn leave(&self, mailbox: &Arc<Mailbox>) {
        let mut state = self.state();
        state.mailboxes.retain(|other| !Arc::ptr_eq(other, mailbox));
        let last = state.mailboxes.is_empty() && !matches!(state.phase, Phase::Idle | Phase::Closed);
        let task = if last { state.stop(Phase::Idle) } else { None };
        drop(state);
        if let Some(task) = task {
            task.abort();
        }
    }

    /// Ends the link, and every subscription with it.
    fn finish(&self, phase: Phase) {
        let mut state = self.state();
        let mailboxes = std::mem::take(&mut state.mailboxes);
        let task = state.stop(phase);
        drop(state);
        if let Some(task) = task {
            task.abort();
        }
        for mailbox in mailboxes {
            mailbox.end();
        }
        self.changed.notify_waiters();
    }

    /// A new attempt of a link, unless it was told to end: what earlier connections still say is not heard any more.
    fn attempt(&self, link: u64) -> Option<u64> {
        let mut state = self.state();
        if !state.is_current(link) {
            return None;
        }
        state.connection += 1;
        Some(state.connection)
    }

    /// `Connecting | Down => Live`, by the server's word on this connection.
    pub(super) fn confirm(&self, connection: u64) {
        let mut state = self.state();
        if state.connection != connection || !matches!(state.phase, Phase::Connecting | Phase::Down(_)) {
            return;
        }
        state.phase = Phase::Live;
        for mailbox in &state.mailboxes {
            mailbox.confirm();
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// `Live => Connecting`. From here on messages are missed.
    pub(super) fn lose(&self, connection: u64) {
        let mut state = self.state();
        if state.connection == connection && matches!(state.phase, Phase::Live) {
            state.phase = Phase::Connecting;
            self.losses.fetch_add(1, Ordering::Relaxed);
            state.mailboxes.iter().for_each(|mailbox| mailbox.miss());
        }
    }

    /// `Connecting | Down => Down`: the attempt failed.
    pub(super) fn fail(&self, connection: u64, error: CacheError) {
        // Confirmed, and lost before anyone could tell.
        self.lose(connection);
        let mut state = self.state();
        if state.connection == connection && matches!(state.phase, Phase::Connecting | Phase::Down(_)) {
            state.phase = Phase::Down(error);
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// A message came over this connection.
    pub(super) fn receive(&self, connection: u64, message: &[u8]) {
        let news = message::decode(message).map(|(publisher, keys)| {
            let own = self.publishing.publisher == publisher;
            News::new(if own { Publisher::Own } else { Publisher::Other }, keys)
        });
        let state = self.state();
        if state.connection != connection || !matches!(state.phase, Phase::Live) {
            return;
        }
        self.received.fetch_add(1, Ordering::Relaxed);
        let Some(news) = news else {
            // Something was invalidated, and nobody can tell what.
            self.undecodable.fetch_add(1, Ordering::Relaxed);
            state.mailboxes.iter().for_each(|mailbox| mailbox.miss());
            return;
        };
        for mailbox in &state.mailboxes {
            if !mailbox.put(&news) {
                self.overflows.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl State {
    /// Whether this link is the one that keeps the subscription.
    fn is_current(&self, link: u64) -> bool {
        self.link == link && !matches!(self.phase, Phase::Idle | Phase::Closed)
    }

    /// No link from now on. What is returned is to be aborted without the lock.
    fn stop(&mut self, phase: Phase) -> Option<AbortHandle> {
        if !matches!(self.phase, Phase::Closed) {
            self.phase = phase;
        }
        self.connection += 1;
        self.task.take()
    }
}

/// Held by the link: when its task is dropped without having been told to end, as by a runtime that shuts down, the
/// subscriptions end, and the next subscriber starts another.
pub(super) struct Guard {
    shared: Arc<Shared>,
    link: u64,
}

impl Guard {
    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// See [`Shared::attempt`].
    pub(super) fn attempt(&self) -> Option<u64> {
        self.shared.attempt(self.link)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let current = self.shared.state().is_current(self.link);
        if current {
            self.shared.finish(Phase::Idle);
        }
    }
}

/// A subscriber's end.
struct Receiver {
    shared: Arc<Shared>,
    mailbox: Arc<Mailbox>,
}

impl Stream for Receiver {
    type Item = (Publisher, Invalidation);

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.mailbox.poll_take(cx)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.leave(&self.mailbox);
    }
}
