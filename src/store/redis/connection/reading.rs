//! Reads over connections of their own.

use std::sync::{Arc, Weak};

use cachex_core::{CacheError, CacheResponse, Key, StoredBytes};
use redis::ServerError;

use super::Connections;
use super::piping::Piping;
use crate::store::redis::direct::{Badge, Condition, Found, Reader};
use crate::store::redis::error;
use crate::store::redis::reply::Values;

/// The way a read takes to the server.
pub(in super::super) enum Way<'a> {
    /// A connection to itself.
    Own(Reading<'a>),
    /// One that is shared with other reads.
    Pipe(Piping<'a>),
    /// The one that is shared with requests of all kinds.
    Shared,
}

/// A read that has a connection to itself. Dropping it gives the connection back; an answer that was not waited for is
/// skipped by whoever has it next.
pub(in super::super) struct Reading<'a> {
    connections: &'a Arc<Connections>,
    slot: usize,
    at: usize,
    badge: Badge,
    /// `None` once it is known to be past use.
    reader: Option<Reader>,
}

impl Connections {
    /// The way for one read of keys that begin with one of this hash. Never waits.
    #[inline]
    pub(in super::super) fn way(self: &Arc<Self>, slot: usize, hash: u64, many: bool) -> Way<'_> {
        let Some(at) = self.readers.place_of(hash) else { return Way::Shared };
        let Some(connection) = self.slots[slot].current(self.source.moves()) else { return Way::Shared };
        let badge = Badge { connection, credentials: self.settings.credentials.version() };
        match self.readers.take(at, badge, many) {
            Found::Reader(reader) => {
                Way::Own(Reading { connections: self, slot, at, badge, reader: Some(reader) })
            }
            Found::Wanted => {
                self.make_reader(slot, at, badge);
                Way::Shared
            }
            Found::Company if !many => self.pipe(slot, badge),
            Found::Company | Found::Nothing => Way::Shared,
        }
    }

    /// Makes a reader in the background. One attempt, which does not keep the store alive.
    fn make_reader(self: &Arc<Self>, slot: usize, at: usize, badge: Badge) {
        let making = Making(Arc::downgrade(self), at);
        let Some(endpoint) = self.slots[slot].endpoint(badge.connection) else { return };
        let (source, limit) = (self.source.clone(), self.settings.connect_timeout);
        tokio::spawn(async move {
            let made = tokio::time::timeout(limit, source.socket(&endpoint)).await;
            let made = made.ok().and_then(Result::ok);
            making.done(made.map(|(socket, gives_way, credentials)| {
                (Reader::new(socket, gives_way), Badge { credentials, ..badge })
            }));
        });
    }
}

impl Reading<'_> {
    /// Reads one key, or several in one step. `None` when the connection turned out to be past use before anything
    /// was sent: the read can go another way.
    pub(in super::super) async fn read<P: StoredBytes>(
        mut self,
        keys: &[Key],
        many: bool,
    ) -> Option<Result<CacheResponse<P>, CacheError>> {
        let condition = self.reader.as_mut()?.look();
        if condition != Condition::Fit {
            self.reader = None;
            if condition == Condition::Silent {
                self.connections.silent(self.slot, self.badge.connection);
            }
            return None;
        }
        let mut values = Values::with_capacity(keys.len());
        Some(match self.ask(keys, many, &mut values).await {
            Ok(None) => values.into_response(many),
            Ok(Some(refusal)) => {
                if error::leads_astray(&refusal) {
                    self.connections.replace(self.slot, self.badge.connection);
                }
                Err(error::from_server(&refusal))
            }
            Err(error) => Err(error),
        })
    }

    async fn ask<P: StoredBytes>(
        &mut self,
        keys: &[Key],
        many: bool,
        values: &mut Values<P>,
    ) -> Result<Option<ServerError>, CacheError> {
        let (slot, id) = (self.slot, self.badge.connection);
        let Some(reader) = &mut self.reader else { return Err(error::unexpected_reply()) };
        let asked = reader.read(keys, many, |value, after| values.push(value, after));
        let asked = tokio::time::timeout(self.connections.settings.response_timeout, asked).await;
        match asked {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(failure)) => {
                self.reader = None;
                self.connections.lost(slot, id);
                Err(error::from_driver(failure))
            }
            Err(_) => {
                // The second in a row, and nothing came in between.
                if reader.was_given_up() {
                    self.reader = None;
                    self.connections.silent(slot, id);
                }
                Err(error::response_timeout())
            }
        }
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        match self.reader.take() {
            Some(mut reader) => {
                reader.rest();
                self.connections.readers.put_back(self.at, reader, self.badge);
            }
            None => self.connections.readers.lose(self.at),
        }
    }
}

/// Held by the task that makes a reader: when the task is dropped before it is done, as by a runtime that shuts down, the
/// place is free again.
struct Making(Weak<Connections>, usize);

impl Making {
    fn done(mut self, made: Option<(Reader, Badge)>) {
        if let Some(connections) = std::mem::take(&mut self.0).upgrade() {
            connections.readers.made(self.1, made);
        }
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        if let Some(connections) = self.0.upgrade() {
            connections.readers.forget(self.1);
        }
    }
}
