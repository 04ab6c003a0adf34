//! Where connections come from.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cachex_core::{CacheError, ErrorKind};
use deadpool_redis::{Connection, Hook, HookError, Manager, Pool, Runtime};
use redis::aio::{AsyncPushSender, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Client, RedisResult};

use super::login::Login;
use super::{PoolStatus, Route, Settings};
use crate::store::redis::address::Endpoint;
use crate::store::redis::credentials::hello;
use crate::store::redis::direct::Socket;
use crate::store::redis::error;
use crate::store::redis::sentinel::Guide;

/// Requests that may wait in a connection's queue before callers wait in turn; one entry is about a hundred bytes.
const QUEUE: usize = 256;

/// Bytes that may be collected before they are written. The driver's 8 KiB are less than hundreds of callers write in one
/// go.
const WRITE_BUFFER: usize = 64 * 1024;

/// Makes the connections of one server, or of whichever server is the primary.
#[derive(Clone)]
pub(in super::super) struct Source(Arc<Inner>);

struct Inner {
    way: Way,
    pools: Pools,
}

enum Way {
    Fixed(Endpoint),
    Sentinel(Arc<Guide>),
}

impl Source {
    pub(in super::super) fn new(settings: &Settings) -> Result<Self, CacheError> {
        let pools = Pools::new(settings);
        let way = match &settings.route {
            Route::Server(endpoint) => {
                // Now, so that a certificate that cannot be read is told to whoever builds the store.
                pools.of(endpoint)?;
                Way::Fixed(endpoint.clone())
            }
            Route::Sentinel(sentinels) => {
                Way::Sentinel(Guide::new(sentinels, &settings.transport, settings.connect_timeout)?)
            }
        };
        Ok(Self(Arc::new(Inner { way, pools })))
    }

    /// A connection for many to share.
    pub(super) async fn connect(&self) -> Result<Shared, CacheError> {
        let version = self.0.pools.settings.credentials.version();
        let (connection, moves, endpoint) = match &self.0.way {
            Way::Fixed(endpoint) => {
                let connection = self.0.pools.of(endpoint)?.get().await.map_err(error::from_connecting)?;
                (connection, 0, endpoint.clone())
            }
            Way::Sentinel(guide) => self.follow(guide).await?,
        };
        Ok(Shared { connection: Some(connection), moves, version, endpoint })
    }

    /// A connection for reads to `endpoint`: a socket, whether the server is to be given way to, and the version of the
    /// credentials it logged in with, or an older one.
    pub(super) async fn socket(&self, endpoint: &Endpoint) -> RedisResult<(Box<dyn Socket>, bool, u64)> {
        let pools = &self.0.pools;
        let version = pools.settings.credentials.version();
        let (mut socket, is_local) = pools.settings.transport.open(endpoint).await?;
        let must_be_primary = matches!(self.0.way, Way::Sentinel(_));
        pools.login.run_on(&mut socket, must_be_primary).await?;
        let gives_way = is_local && pools.settings.give_way;
        Ok((socket, gives_way, version))
    }

    /// A connection of its own, outside the pool, that speaks RESP3 and hands to `pushes` what the server says unasked; and
    /// [`moves`](Self::moves) as it was when its server was the right one.
    pub(in super::super) async fn dedicated(
        &self,
        pushes: impl AsyncPushSender,
    ) -> Result<(MultiplexedConnection, u64), CacheError> {
        let (endpoint, moves) = match &self.0.way {
            Way::Fixed(endpoint) => (endpoint.clone(), 0),
            Way::Sentinel(guide) => {
                // What finds the primary goes back into the pool.
                let (_, moves, primary) = self.follow(guide).await?;
                (primary, moves)
            }
        };
        let pools = &self.0.pools;
        let config = pools.config().set_push_sender(pushes);
        let (_, credentials) = pools.settings.credentials.current();
        // No database, since channels belong to none.
        let info = pools.settings.transport.info(&endpoint)?.set_redis_settings(hello(credentials.as_ref()));
        let client = Client::open(info).map_err(error::from_driver)?;
        let opened = client.get_multiplexed_async_connection_with_config(&config).await;
        let mut connection = opened.map_err(error::from_opening)?;
        pools.login.introduce(&mut connection).await.map_err(error::from_opening)?;
        Ok((connection, moves))
    }

    /// How often the primary was seen to change. A connection made before the last change leads to a server that is no
    /// longer the right one.
    #[inline]
    pub(in super::super) fn moves(&self) -> u64 {
        match &self.0.way {
            Way::Fixed(_) => 0,
            Way::Sentinel(guide) => guide.moves(),
        }
    }

    /// A connection to the server that a sentinel names and that is a primary.
    async fn follow(&self, guide: &Arc<Guide>) -> Result<(Connection, u64, Endpoint), CacheError> {
        guide.watch();
        let mut search = guide.search();
        while let Some(answer) = search.next().await {
            match self.enter(&answer.primary).await {
                Ok(connection) => {
                    if let Some(moves) = search.found(&answer) {
                        return Ok((connection, moves, answer.primary));
                    }
                    // Another primary became known meanwhile.
                    discard(connection);
                }
                Err(error) => search.failed(error),
            }
        }
        Err(search.into_error())
    }

    async fn enter(&self, primary: &Endpoint) -> Result<Connection, CacheError> {
        let mut connection = self.0.pools.of(primary)?.get().await.map_err(error::from_connecting)?;
        match super::role::check_primary(&mut connection).await {
            Ok(()) => Ok(connection),
            Err(error) => {
                discard(connection);
                Err(error)
            }
        }
    }

    pub(super) fn close(&self) {
        self.0.pools.close();
        if let Way::Sentinel(guide) = &self.0.way {
            guide.close();
        }
    }

    pub(super) fn status(&self) -> PoolStatus {
        self.0.pools.status()
    }
}

/// Lets go of a connection, not back into the pool.
fn discard(connection: Connection) {
    drop(Connection::take(connection));
}

/// The pool of the server that was asked for last; that of another server goes when its connections do.
struct Pools {
    settings: Settings,
    login: Arc<Login>,
    current: Mutex<Current>,
}

enum Current {
    Nothing,
    Pool(Endpoint, Pool),
    Closed,
}

impl Pools {
    fn new(settings: &Settings) -> Self {
        let login = Arc::new(Login::new(settings));
        Self { settings: settings.clone(), login, current: Mutex::new(Current::Nothing) }
    }

    fn of(&self, endpoint: &Endpoint) -> Result<Pool, CacheError> {
        let mut current = self.current();
        match &*current {
            Current::Closed => return Err(error::closed()),
            Current::Pool(at, pool) if at == endpoint => return Ok(pool.clone()),
            Current::Pool(..) | Current::Nothing => {}
        }
        let pool = self.make(endpoint)?;
        *current = Current::Pool(endpoint.clone(), pool.clone());
        Ok(pool)
    }

    fn make(&self, endpoint: &Endpoint) -> Result<Pool, CacheError> {
        let settings = &self.settings;
        let internal =
            |error| CacheError::with_source(ErrorKind::Internal, "the connection pool failed", error);
        let manager = Manager::new_with_config(settings.transport.info(endpoint)?, self.config())
            .map_err(error::from_driver)?;
        let login = Arc::clone(&self.login);
        Pool::builder(manager)
            .max_size(settings.max_connections())
            .wait_timeout(Some(settings.connect_timeout))
            .create_timeout(Some(settings.connect_timeout))
            .recycle_timeout(Some(settings.response_timeout))
            .runtime(Runtime::Tokio1)
            .post_create(Hook::async_fn(move |connection, _| {
                let login = Arc::clone(&login);
                Box::pin(async move { login.run(connection).await.map_err(HookError::Backend) })
            }))
            .build()
            .map_err(|error| internal(error.to_string()))
    }

    fn config(&self) -> AsyncConnectionConfig {
        AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.settings.connect_timeout))
            .set_response_timeout(Some(self.settings.response_timeout))
            .set_pipeline_buffer_size(QUEUE)
            .set_write_backpressure_boundary(WRITE_BUFFER)
    }

    fn close(&self) {
        if let Current::Pool(_, pool) = std::mem::replace(&mut *self.current(), Current::Closed) {
            pool.close();
        }
    }

    fn status(&self) -> PoolStatus {
        let none =
            PoolStatus { max_size: self.settings.max_connections(), size: 0, available: 0, waiting: 0 };
        match &*self.current() {
            Current::Pool(_, pool) => {
                let status = pool.status();
                PoolStatus {
                    max_size: status.max_size,
                    size: status.size,
                    available: status.available,
                    waiting: status.waiting,
                }
            }
            Current::Nothing => none,
            Current::Closed => PoolStatus { max_size: 0, ..none },
        }
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that stays checked out of the pool and is shared by clones of its handle.
pub(super) struct Shared {
    connection: Option<Connection>,
    /// How often the primary had changed when this became a connection to it.
    moves: u64,
    /// The version of the credentials it logged in with, or an older one.
    pub(super) version: u64,
    /// Where it leads.
    pub(super) endpoint: Endpoint,
}

impl Shared {
    /// A handle, unless the primary has changed since.
    #[inline]
    pub(super) fn handle(&self, moves: u64) -> Option<MultiplexedConnection> {
        if self.leads_to_primary(moves) { self.connection.as_deref().cloned() } else { None }
    }

    pub(super) fn leads_to_primary(&self, moves: u64) -> bool {
        self.moves >= moves
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // It is given up because it broke, or because the store closed: never back into the pool.
        if let Some(connection) = self.connection.take() {
            discard(connection);
        }
    }
}
