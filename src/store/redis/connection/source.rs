//! Where connections come from.

use std::sync::Arc;
use std::time::Duration;

use cachex_core::{CacheError, ErrorKind};
use deadpool_redis::{Connection, Hook, HookError, Manager, Pool, PoolError, Runtime};
use redis::aio::{AsyncPushSender, MultiplexedConnection};
use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, Pipeline,
    ProtocolVersion, RedisConnectionInfo, RedisResult, Value,
};

use super::{PoolStatus, Settings};
use crate::store::redis::address::{Address, Endpoint, Secret};
use crate::store::redis::error;

/// Requests that may wait in a connection's queue before callers wait in turn; one entry is about a hundred bytes.
const QUEUE: usize = 256;

/// Bytes that may be collected before they are written. The driver's 8 KiB are less than hundreds of callers write in one
/// go.
const WRITE_BUFFER: usize = 64 * 1024;

/// How long a connection may be silent before TCP asks whether the other side is still there.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// Makes the connections of one server.
#[derive(Clone)]
pub(in super::super) struct Source {
    pool: Pool,
    listening: Arc<Listening>,
}

/// What connections that listen are made by: they belong to no pool.
struct Listening {
    client: Client,
    config: AsyncConnectionConfig,
    login: Arc<Login>,
}

impl Source {
    pub(in super::super) fn new(settings: &Settings) -> Result<Self, CacheError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(settings.connect_timeout))
            .set_response_timeout(Some(settings.response_timeout))
            .set_pipeline_buffer_size(QUEUE)
            .set_write_backpressure_boundary(WRITE_BUFFER);
        let internal =
            |error| CacheError::with_source(ErrorKind::Internal, "the connection pool failed", error);
        let info = connection_info(settings)?;
        let login = Arc::new(Login::new(settings));
        let listener = info.clone().set_redis_settings(listener_settings(settings));
        let listening = Arc::new(Listening {
            client: Client::open(listener).map_err(error::from_driver)?,
            config: config.clone(),
            login: Arc::clone(&login),
        });
        let manager = Manager::new_with_config(info, config).map_err(error::from_driver)?;
        let pool = Pool::builder(manager)
            // Twice the shared ones: while one is replaced, the old one still serves.
            .max_size(2 * settings.connections + settings.pool_size)
            .wait_timeout(Some(settings.connect_timeout))
            .create_timeout(Some(settings.connect_timeout))
            .recycle_timeout(Some(settings.response_timeout))
            .runtime(Runtime::Tokio1)
            .post_create(Hook::async_fn(move |connection, _| {
                let login = Arc::clone(&login);
                Box::pin(async move { login.run(connection).await.map_err(HookError::Backend) })
            }))
            .build()
            .map_err(|error| internal(error.to_string()))?;
        Ok(Self { pool, listening })
    }

    pub(super) async fn connect(&self) -> Result<Shared, PoolError> {
        self.pool.get().await.map(|connection| Shared(Some(connection)))
    }

    /// A connection of its own, outside the pool, that speaks RESP3 and hands to `pushes` what the server says unasked.
    pub(in super::super) async fn dedicated(
        &self,
        pushes: impl AsyncPushSender,
    ) -> RedisResult<MultiplexedConnection> {
        let Listening { client, config, login } = &*self.listening;
        let config = config.clone().set_push_sender(pushes);
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        login.introduce(&mut connection).await?;
        Ok(connection)
    }

    pub(super) fn close(&self) {
        self.pool.close();
    }

    pub(super) fn status(&self) -> PoolStatus {
        let status = self.pool.status();
        PoolStatus {
            max_size: status.max_size,
            size: status.size,
            available: status.available,
            waiting: status.waiting,
        }
    }
}

/// A connection that stays checked out of the pool and is shared by clones of its handle.
pub(super) struct Shared(Option<Connection>);

impl Shared {
    pub(super) fn handle(&self) -> Option<MultiplexedConnection> {
        self.0.as_deref().cloned()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // It is given up because it broke, or because the store closed: never back into the pool.
        if let Some(connection) = self.0.take() {
            drop(Connection::take(connection));
        }
    }
}

/// How the server is reached. Who asks is [`Login`]'s business: the driver's own login hides what the server answered.
fn connection_info(settings: &Settings) -> Result<ConnectionInfo, CacheError> {
    let Address { endpoint, tls, .. } = &settings.address;
    let addr = match endpoint {
        Endpoint::Unix(path) => ConnectionAddr::Unix(path.clone()),
        Endpoint::Tcp { host, port } if !tls => ConnectionAddr::Tcp(host.clone(), *port),
        #[cfg(feature = "redis-tls")]
        Endpoint::Tcp { host, port } => {
            let insecure = settings.tls.is_insecure();
            ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure, tls_params: None }
        }
        #[cfg(not(feature = "redis-tls"))]
        Endpoint::Tcp { .. } => {
            return Err(CacheError::new(ErrorKind::Unsupported, "TLS needs the feature `redis-tls`"));
        }
    };
    // A peer that vanished without a word is noticed by probes when nothing is sent, and by missing acknowledgements
    // when something is.
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 3);
    let tcp = TcpSettings::default().set_nodelay(settings.tcp_nodelay).set_keepalive(keepalive);
    #[cfg(target_os = "linux")]
    let tcp = tcp.set_user_timeout(2 * KEEPALIVE);
    let info = addr
        .into_connection_info()
        .map_err(error::from_driver)?
        .set_tcp_settings(tcp)
        .set_redis_settings(RedisConnectionInfo::default().set_skip_set_lib_name());
    #[cfg(feature = "redis-tls")]
    if *tls {
        return settings.tls.apply(info);
    }
    Ok(info)
}

/// Of a connection that listens. It logs in with its first command, HELLO; no database, since channels belong to none.
fn listener_settings(settings: &Settings) -> RedisConnectionInfo {
    let Address { username, password, .. } = &settings.address;
    let mut listener =
        RedisConnectionInfo::default().set_skip_set_lib_name().set_protocol(ProtocolVersion::RESP3);
    if let Some(username) = username {
        listener = listener.set_username(username).set_password("");
    }
    if let Some(Secret(password)) = password {
        listener = listener.set_password(password);
    }
    listener
}

/// What every new connection says first.
struct Login {
    /// Alone in its round trip: a server that turns a client away answers its first command, and nothing after.
    first: Cmd,
    /// SELECT, if it is needed.
    select: Option<Cmd>,
    /// What a server may refuse.
    introduction: Pipeline,
}

impl Login {
    fn new(settings: &Settings) -> Self {
        let Address { username, password, database, .. } = &settings.address;
        let first = if username.is_none() && password.is_none() {
            redis::cmd("PING")
        } else {
            let mut auth = redis::cmd("AUTH");
            if let Some(username) = username {
                auth.arg(username);
            }
            auth.arg(password.as_ref().map_or("", |Secret(password)| password));
            auth
        };
        let select = (*database != 0).then(|| {
            let mut select = redis::cmd("SELECT");
            select.arg(*database);
            select
        });
        let mut introduction = Pipeline::new();
        introduction.cmd("CLIENT").arg("SETINFO").arg("LIB-NAME").arg("cachex");
        introduction.cmd("CLIENT").arg("SETINFO").arg("LIB-VER").arg(env!("CARGO_PKG_VERSION"));
        if let Some(name) = &settings.client_name {
            introduction.cmd("CLIENT").arg("SETNAME").arg(name);
        }
        Self { first, select, introduction }
    }

    async fn run(&self, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        if let Value::ServerError(refusal) = connection.send_packed_command(&self.first).await? {
            let kind = error::from_server(&refusal).kind();
            // A server that is loading, busy or cut off from its master is connected all the same: each request hears
            // for itself, and the first one after that is served.
            if !matches!(
                kind,
                ErrorKind::Loading | ErrorKind::Busy | ErrorKind::MasterDown | ErrorKind::PermissionDenied
            ) {
                return Err(refusal.into());
            }
        }
        if let Some(select) = &self.select
            && let Value::ServerError(refusal) = connection.send_packed_command(select).await?
        {
            return Err(refusal.into());
        }
        self.introduce(connection).await
    }

    async fn introduce(&self, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        connection.send_packed_commands(&self.introduction, 0, self.introduction.len()).await?;
        Ok(())
    }
}
