//! Single reads over connections that many of them share.

use std::sync::{Arc, Weak};

use cachex_core::{CacheError, CacheResponse, Key, StoredBytes};
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::Connections;
use super::reading::Way;
use crate::store::redis::direct::{Asking, Badge, Lookup, Pipe, Shared, Told};
use crate::store::redis::{error, reply};

/// A pipe that a read can take.
pub(in super::super) struct Piping<'a> {
    connections: &'a Arc<Connections>,
    slot: usize,
    id: u64,
    pipe: Arc<Shared>,
}

/// A read through a pipe. Dropping it leaves its answer to be skipped.
struct Piped<'a> {
    connections: &'a Arc<Connections>,
    slot: usize,
    id: u64,
    pipe: Arc<Shared>,
    asking: Asking,
}

impl Connections {
    /// The pipe of a slot, if there is one.
    #[inline]
    pub(super) fn pipe(self: &Arc<Self>, slot: usize, badge: Badge) -> Way<'_> {
        match self.pipes.share(slot, badge) {
            Lookup::Pipe(pipe) => Way::Pipe(Piping { connections: self, slot, id: badge.connection, pipe }),
            Lookup::Wanted => {
                self.make_pipe(slot, badge);
                Way::Shared
            }
            Lookup::Nothing => Way::Shared,
        }
    }

    /// Makes a pipe in the background. One attempt, which does not keep the store alive; nor does the pipe.
    fn make_pipe(self: &Arc<Self>, slot: usize, badge: Badge) {
        let making = Making(Arc::downgrade(self), slot);
        let Some(endpoint) = self.slots[slot].endpoint(badge.connection) else { return };
        let (source, limit) = (self.source.clone(), self.settings.connect_timeout);
        tokio::spawn(async move {
            let made = tokio::time::timeout(limit, source.socket(&endpoint)).await;
            drop(source);
            let Some((socket, gives_way, credentials)) = made.ok().and_then(Result::ok) else {
                making.done(None);
                return;
            };
            let (pipe, driver) = Pipe::open(socket, gives_way);
            making.done(Some((pipe, Badge { credentials, ..badge })));
            driver.run().await;
        });
    }
}

/// What became of a read that took a pipe.
pub(in super::super) enum Outcome<P> {
    Answer(Result<CacheResponse<P>, CacheError>),
    /// Nothing: it can go another way, until then.
    Elsewhere(Instant),
}

impl Piping<'_> {
    /// Asks, and waits for the answer.
    pub(in super::super) async fn read<P: StoredBytes>(self, key: &Key) -> Outcome<P> {
        let Self { connections, slot, id, pipe } = self;
        let now = Instant::now();
        let until = now + connections.settings.response_timeout;
        let asking = Arc::clone(&pipe).ask(key.clone(), now);
        let mut piped = Piped { connections, slot, id, pipe, asking };
        Outcome::Answer(match tokio::time::timeout_at(until, &mut piped.asking).await {
            Ok(Told::Found(value)) => Ok(reply::found(value)),
            Ok(Told::Refused(refusal)) => {
                if error::leads_astray(&refusal) {
                    connections.replace(slot, id);
                }
                Err(error::from_server(&refusal))
            }
            Ok(Told::Failed(error)) => Err(error),
            Ok(Told::Unsent) => return Outcome::Elsewhere(until),
            Err(_) => {
                piped.give_up(true);
                Err(error::response_timeout())
            }
        })
    }
}

impl Piped<'_> {
    fn give_up(&mut self, timed_out: bool) {
        // A future may be dropped anywhere.
        if self.asking.give_up(timed_out) && Handle::try_current().is_ok() {
            self.connections.pipes.clear_this(self.slot, &self.pipe);
            if self.connections.slots[self.slot].current(self.connections.source.moves()) == Some(self.id) {
                self.connections.silent(self.slot, self.id);
            }
        }
    }
}

impl Drop for Piped<'_> {
    fn drop(&mut self) {
        self.give_up(false);
    }
}

/// Held by the task that makes a pipe: when the task is dropped before it is done, as by a runtime that shuts down, the
/// place is free again.
struct Making(Weak<Connections>, usize);

impl Making {
    fn done(mut self, made: Option<(Pipe, Badge)>) {
        if let Some(connections) = std::mem::take(&mut self.0).upgrade() {
            connections.pipes.made(self.1, made);
        }
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        if let Some(connections) = self.0.upgrade() {
            connections.pipes.forget(self.1);
        }
    }
}
