//! The connections all requests share, and their coming back.
//!
//! Each of the N slots holds one multiplexed connection that stays checked out of the pool; a request clones its handle,
//! which is a few reference counts. A key always takes the same slot. All waiting on a connection attempt is shared: an
//! attempt is a task of its own, so that cancelling a caller, or all of them, neither stops nor repeats it.

mod login;
mod piping;
mod reading;
mod role;
mod slot;
mod source;
mod transport;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cachex_core::CacheError;
use futures_util::future::join_all;
use redis::Value;
use redis::aio::{AsyncPushSender, MultiplexedConnection};
use tokio::runtime::Handle;
use tokio::sync::Notify;

pub(super) use self::piping::Outcome;
pub(super) use self::reading::Way;
use self::slot::{Connector, Phase, Replacement, Slot, State};
pub(super) use self::source::Source;
pub(super) use self::transport::Transport;
use super::address::Endpoint;
use super::credentials::{Credentials, Keychain};
use super::direct::{Pipes, Readers};
use super::error;
use super::sentinel::Sentinels;

/// Bounds of the wait between two attempts: full jitter (M. Brooker, "Exponential Backoff And Jitter", AWS, 2015), so that
/// the many clients of a server that comes back do not come all at once.
pub(super) const FIRST_BACKOFF: Duration = Duration::from_millis(20);
pub(super) const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// The least time between two replacements of a connection that still works: a server that answers every write with
/// READONLY is not helped by a new connection for each.
const REPLACE_PAUSE: Duration = Duration::from_secs(1);

/// So many timeouts in a row without one answer, and the connection is taken for half open.
const SUSPICIOUS_TIMEOUTS: u32 = 2;

/// Callers gave up for so long, and not one answer came: the same. Those above the store may be less patient than it is, and
/// then no request is ever under way for as long as the response timeout.
pub(super) const SILENCE: Duration = Duration::from_millis(500);

/// What connections are made by.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) route: Route,
    pub(super) transport: Transport,
    pub(super) credentials: Keychain,
    pub(super) database: u32,
    pub(super) client_name: Option<String>,
    pub(super) connect_timeout: Duration,
    pub(super) response_timeout: Duration,
    pub(super) connections: usize,
    /// For one read at a time, besides.
    pub(super) read_connections: usize,
    /// Whether a server on this machine may have the core of whoever sends it a batch.
    pub(super) give_way: bool,
    pub(super) pool_size: usize,
}

impl Settings {
    /// Twice the shared ones: while one is replaced, the old one still serves.
    fn max_connections(&self) -> usize {
        2 * self.connections + self.pool_size
    }

    /// How many connections for reads go with each shared one.
    fn readers_each(&self) -> usize {
        if self.transport.opens() { self.read_connections.div_ceil(self.connections) } else { 0 }
    }
}

/// How the server is found.
#[derive(Clone, Debug)]
pub(super) enum Route {
    /// It is always the same.
    Server(Endpoint),
    /// Sentinels know which it is.
    Sentinel(Sentinels),
}

/// How a store is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectionState {
    /// Nobody has asked for anything yet.
    Idle,
    /// A first attempt, or the first after a loss, is under way: requests wait for it.
    Connecting,
    /// Every connection that was needed so far is up.
    Connected,
    /// Some connections are up, others are being made again.
    Degraded,
    /// The last attempt failed: requests fail at once while attempts go on in the background.
    Down,
    /// The store was closed.
    Closed,
}

impl ConnectionState {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Idle, Self::Connecting, Self::Connected, Self::Degraded, Self::Down, Self::Closed];

    /// The state as a metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Degraded => "degraded",
            Self::Down => "down",
            Self::Closed => "closed",
        }
    }
}

/// How the connections of a store are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStatus {
    /// The most connections there may be.
    pub max_size: usize,
    /// How many there are, the shared ones included.
    pub size: usize,
    /// How many of them nobody uses.
    pub available: usize,
    /// How many callers wait for one.
    pub waiting: usize,
}

/// The shared connections of a store.
pub(super) struct Connections {
    source: Source,
    slots: Box<[Slot]>,
    /// Connections for one read at a time, which belong to the shared ones.
    readers: Readers,
    /// Connections that many reads of one key share, one for each of the shared ones.
    pipes: Pipes,
    settings: Settings,
    /// Numbers connections, so that a late report about one is not held against its successor.
    next_id: AtomicU64,
    /// Told when a connection was made: whoever waits for another attempt need not.
    reachable: Arc<Notify>,
}

/// A handle on a shared connection.
pub(super) struct Lease {
    pub(super) connection: MultiplexedConnection,
    pub(super) id: u64,
}

impl Connections {
    pub(super) fn new(source: Source, settings: Settings) -> Arc<Self> {
        let slots = (0..settings.connections).map(|_| Slot::new()).collect();
        let readers = Readers::new(settings.connections, settings.readers_each());
        let pipes = Pipes::new(if settings.readers_each() == 0 { 0 } else { settings.connections });
        let (next_id, reachable) = (AtomicU64::new(0), Arc::default());
        Arc::new(Self { source, slots, readers, pipes, settings, next_id, reachable })
    }

    /// The slot for a key with this hash.
    pub(super) fn slot_of(&self, hash: u64) -> usize {
        // The high bits of the product: as good as the remainder of a division, and cheaper (D. Lemire, 2016).
        ((u128::from(hash) * self.slots.len() as u128) >> 64) as usize
    }

    /// The connection of a slot, if it is up. Never waits.
    pub(super) fn try_lease(&self, slot: usize) -> Option<Lease> {
        self.slots[slot].lease(self.source.moves())
    }

    /// The connection of a slot, made if there is none. Waits for one attempt at most, and not at all while the server is
    /// known to be out of reach.
    ///
    /// Cancel safe: the attempt goes on without the caller.
    ///
    /// # Errors
    ///
    /// Why there is none; nothing was sent then.
    pub(super) async fn lease(self: &Arc<Self>, slot: usize) -> Result<Lease, CacheError> {
        let wait = async {
            let mut changes = self.slots[slot].subscribe();
            loop {
                if let Some(lease) = self.try_lease(slot) {
                    return Ok(lease);
                }
                let phase = changes.borrow_and_update().phase();
                match phase {
                    Phase::Idle => self.connect(slot),
                    Phase::Connecting => {}
                    Phase::Ready => {
                        self.leave_old_primary(slot);
                        continue;
                    }
                    Phase::Down(error) => return Err(error),
                    Phase::Closed => return Err(error::closed()),
                }
                // The sender lives in the slot.
                let _ = changes.changed().await;
            }
        };
        // The attempt has the same limit. This one is for an attempt whose runtime was shut down or stands still.
        let limit = self.settings.connect_timeout + self.settings.connect_timeout / 2;
        tokio::time::timeout(limit, wait).await.unwrap_or_else(|_| Err(error::connect_timeout()))
    }

    /// A request was answered over the connection.
    pub(super) fn answered(&self, slot: usize) {
        self.slots[slot].answered();
    }

    /// The connection broke under a request.
    pub(super) fn broke(self: &Arc<Self>, slot: usize, lease: &Lease) {
        self.lost(slot, lease.id);
    }

    /// The same, of the connection with this number, or of one that belongs to it.
    fn lost(self: &Arc<Self>, slot: usize, id: u64) {
        if self.slots[slot].lose(id) {
            self.clear_reads(slot);
            self.spawn_connector(slot);
        }
    }

    /// Lets go of the connections for reads that belong to a shared one.
    fn clear_reads(&self, slot: usize) {
        self.readers.clear(slot);
        self.pipes.clear(slot);
    }

    /// Gives up a connection that leads to a server which was seen to be the primary no longer: not after another is up,
    /// since every read until then may be a stale one.
    fn leave_old_primary(self: &Arc<Self>, slot: usize) {
        if self.slots[slot].leave(self.source.moves()) {
            self.clear_reads(slot);
            self.spawn_connector(slot);
        }
    }

    /// A request over the connection was not answered in time.
    pub(super) fn timed_out(self: &Arc<Self>, slot: usize, id: u64) {
        if self.slots[slot].timed_out() >= SUSPICIOUS_TIMEOUTS {
            self.replace(slot, id);
        }
    }

    /// The caller of a request over the connection stopped waiting for the answer.
    pub(super) fn given_up(self: &Arc<Self>, slot: usize, id: u64) {
        self.slots[slot].given_up();
        // A future may be dropped anywhere.
        if self.is_silent(slot) && Handle::try_current().is_ok() {
            self.replace(slot, id);
        }
    }

    /// A reader that belongs to the connection left reads without any answer for too long: so may the connection.
    fn silent(self: &Arc<Self>, slot: usize, id: u64) {
        self.slots[slot].given_up();
        self.replace(slot, id);
    }

    /// Whether requests have been given up on the slot's connection for some time, and none was answered.
    pub(super) fn is_silent(&self, slot: usize) -> bool {
        self.slots[slot].silence().is_some_and(|silence| silence >= SILENCE)
    }

    /// The connection works, but leads to the wrong place: makes another one in the background and changes over.
    pub(super) fn replace(self: &Arc<Self>, slot: usize, old: u64) {
        if !self.slots[slot].begin_replacing() {
            return;
        }
        let replacement = Replacement::new(Arc::downgrade(self), slot);
        let mut attempt = self.attempt();
        tokio::spawn(async move {
            let mut backoff = FIRST_BACKOFF;
            loop {
                let made = attempt.await;
                let Some(connections) = replacement.upgrade() else { return };
                match made {
                    Ok(shared) => {
                        let version = shared.version;
                        connections.slots[slot].replace(old, shared, connections.new_id());
                        connections.clear_reads(slot);
                        connections.catch_up(slot, version);
                        break;
                    }
                    // As needed as before, and whoever would ask for it may be held back by a breaker.
                    Err(_) if connections.slots[slot].is_unheard(old) => {}
                    Err(_) => break,
                }
                drop(connections);
                tokio::time::sleep(backoff.mul_f64(fastrand::f64())).await;
                backoff = (backoff * 2).min(MAX_BACKOFF);
                let Some(connections) = replacement.upgrade() else { return };
                attempt = connections.attempt();
            }
            tokio::time::sleep(REPLACE_PAUSE).await;
            drop(replacement);
        });
    }

    /// Logs in with these from now on, on the connections that are up as well.
    pub(super) async fn set_credentials(
        self: &Arc<Self>,
        credentials: Credentials,
    ) -> Result<(), CacheError> {
        self.settings.credentials.set(credentials);
        self.authenticate_again().await
    }

    /// Shows the connections that are up what is in force now.
    pub(super) async fn authenticate_again(self: &Arc<Self>) -> Result<(), CacheError> {
        // Whoever was refused need not wait to try again.
        self.reachable.notify_waiters();
        let told = (0..self.slots.len()).map(|slot| self.authenticate(slot));
        join_all(told).await.into_iter().collect()
    }

    /// Authenticates the connection of a slot again, in place: the server goes on with the user it knew if it refuses.
    async fn authenticate(self: &Arc<Self>, slot: usize) -> Result<(), CacheError> {
        loop {
            let (version, credentials) = self.settings.credentials.current();
            let (Some(credentials), Some(mut lease)) = (credentials, self.try_lease(slot)) else {
                return Ok(());
            };
            match lease.connection.send_packed_command(&credentials.auth()).await {
                Ok(Value::ServerError(refusal)) => return Err(error::from_server(&refusal)),
                Ok(_) => {}
                Err(failure) => {
                    // A connection that is made again logs in with what is in force.
                    if error::breaks_connection(&failure) {
                        self.broke(slot, &lease);
                    }
                    return Err(error::from_driver(failure));
                }
            }
            // Two changes at once may reach two connections in different orders.
            if version == self.settings.credentials.version() {
                return Ok(());
            }
        }
    }

    /// Authenticates a new connection again, if the credentials changed while it logged in.
    fn catch_up(self: &Arc<Self>, slot: usize, version: u64) {
        if version != self.settings.credentials.version() {
            let connections = Arc::clone(self);
            tokio::spawn(async move { connections.authenticate(slot).await });
        }
    }

    /// Refuses all requests from now on, and lets go of the connections. Requests under way are still answered.
    pub(super) fn close(&self) {
        for slot in &self.slots {
            slot.close();
        }
        self.readers.close();
        self.pipes.close();
        self.source.close();
        self.reachable.notify_waiters();
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self.slots[0].phase(), Phase::Closed)
    }

    pub(super) fn state(&self) -> ConnectionState {
        let (mut up, mut connecting, mut down) = (false, false, false);
        for slot in &self.slots {
            match slot.phase() {
                Phase::Idle => {}
                Phase::Connecting => connecting = true,
                Phase::Ready => up = true,
                Phase::Down(_) => down = true,
                Phase::Closed => return ConnectionState::Closed,
            }
        }
        match (up, connecting, down) {
            (true, false, false) => ConnectionState::Connected,
            (true, ..) => ConnectionState::Degraded,
            (false, _, true) => ConnectionState::Down,
            (false, true, false) => ConnectionState::Connecting,
            (false, false, false) => ConnectionState::Idle,
        }
    }

    /// Where the server is, or by which name sentinels know it.
    pub(super) fn address(&self) -> String {
        match &self.settings.route {
            Route::Server(endpoint) => endpoint.to_string(),
            Route::Sentinel(sentinels) => sentinels.master.clone(),
        }
    }

    /// A connection of its own, as [`Source::dedicated`].
    pub(super) async fn dedicated(
        &self,
        pushes: impl AsyncPushSender,
    ) -> Result<MultiplexedConnection, CacheError> {
        Ok(self.source.dedicated(pushes).await?.0)
    }

    pub(super) fn pool_status(&self) -> PoolStatus {
        self.source.status()
    }

    fn new_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    fn connect(self: &Arc<Self>, slot: usize) {
        if self.slots[slot].begin() {
            self.spawn_connector(slot);
        }
    }

    /// One attempt, which does not keep the store alive.
    fn attempt(&self) -> impl Future<Output = Result<source::Shared, CacheError>> + Send + use<> {
        let source = self.source.clone();
        let limit = self.settings.connect_timeout;
        async move {
            match tokio::time::timeout(limit, source.connect()).await {
                Ok(made) => made,
                Err(_) => Err(error::connect_timeout()),
            }
        }
    }

    /// Attempts until one succeeds, the store is closed, or nobody holds it any more.
    fn spawn_connector(self: &Arc<Self>, slot: usize) {
        let connector = Connector::new(Arc::downgrade(self), slot);
        let reachable = Arc::clone(&self.reachable);
        let mut attempt = self.attempt();
        tokio::spawn(async move {
            let mut backoff = FIRST_BACKOFF;
            loop {
                let made = attempt.await;
                let Some(connections) = connector.upgrade() else { return };
                let (next, version) = match made {
                    Ok(shared) => {
                        let version = shared.version;
                        (State::Ready { id: connections.new_id(), shared }, Some(version))
                    }
                    Err(error) => (State::Down(error), None),
                };
                let open = connections.slots[slot].settle(next);
                if let Some(version) = version {
                    connections.catch_up(slot, version);
                }
                if version.is_some() || !open {
                    connector.done();
                    connections.reachable.notify_waiters();
                    return;
                }
                // Before anyone can tell: a success of another slot from here on is not missed.
                let told = reachable.notified();
                drop(connections);
                let _ = tokio::time::timeout(backoff.mul_f64(fastrand::f64()), told).await;
                backoff = (backoff * 2).min(MAX_BACKOFF);
                let Some(connections) = connector.upgrade() else { return };
                attempt = connections.attempt();
            }
        });
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        // Lets attempts that wait see that there is nobody left.
        self.reachable.notify_waiters();
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections")
            .field("settings", &self.settings)
            .field("state", &self.state())
            .field("pool", &self.pool_status())
            .finish_non_exhaustive()
    }
}
