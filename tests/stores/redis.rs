//! The Redis store: the behaviour suite against a real server, and what is its own.

mod batching;
mod cluster;
mod connecting;
mod credentials;
mod direct;
mod errors;
mod failures;
mod locks;
mod operations;
mod piping;
mod pubsub;
mod recovery;
mod sentinel;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cachex::store::redis::RedisStore;
use cachex_core::testing::store::{Capabilities, Fence, StoreHarness};
use cachex_core::{
    CacheError, CacheRequest, CacheResponse, Effect, Encoded, ErrorKind, Key, Op, Retry, StoredBytes,
};
use cachex_test_support::{RedisServer, eventually};
use tokio::sync::OnceCell;
use tower_service::Service;

/// What no request may exceed, on however slow a machine: the sum of the store's time limits is far below.
const PATIENCE: Duration = Duration::from_secs(20);

struct Harness;

/// One server for the whole suite, whose cases share no keys.
async fn suite_server() -> &'static RedisServer {
    static SERVER: OnceCell<RedisServer> = OnceCell::const_new();
    SERVER.get_or_init(RedisServer::start).await
}

/// What a store on a real server can do.
fn capabilities() -> Capabilities {
    let coordination = [Op::AddTags, Op::InvalidateTags];
    Capabilities::all("RedisStore").without(&coordination).fence(Fence::IfAbsent).untyped_counters()
}

/// Waits until a server has let something go that was stored now, for this time.
async fn expire_on(server: &'static RedisServer, time: Duration) {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mark: Arc<str> = format!("mark:{}", NEXT.fetch_add(1, Ordering::Relaxed)).into();
    server.command(["SET", &*mark, "", "PX", &time.as_millis().max(1).to_string()]).await;
    // Boxed, as the compiler does not see that a future of a closure is `Send` within a trait's method.
    let gone: Pin<Box<dyn Future<Output = ()> + Send>> =
        Box::pin(eventually(time + PATIENCE, move || is_gone(server, Arc::clone(&mark))));
    gone.await;
}

async fn is_gone(server: &'static RedisServer, key: Arc<str>) -> bool {
    server.get(&*key).await.is_none()
}

impl StoreHarness for Harness {
    type Value = Encoded;
    type Store = RedisStore;

    fn capabilities(&self) -> Capabilities {
        capabilities()
    }

    async fn open(&self, default_ttl: Option<Duration>) -> RedisStore {
        RedisStore::builder().url(suite_server().await.url()).default_ttl(default_ttl).build().unwrap()
    }

    fn value(&self, n: u32) -> Encoded {
        value(format!("value {n}"))
    }

    fn short_ttl(&self) -> Duration {
        Duration::from_millis(100)
    }

    async fn pass(&self, time: Duration) {
        expire_on(suite_server().await, time).await;
    }
}

mod suite {
    use super::Harness;

    cachex_core::store_behaviour_suite!((flavor = "current_thread"), Harness);
}

/// A port nobody listens on.
fn nowhere() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

/// Holds an error to its row of the table.
#[track_caller]
fn assert_told(error: &CacheError, kind: ErrorKind, retry: Retry, effect: Effect) {
    assert_eq!((error.kind(), error.retry(), error.effect()), (kind, retry, effect), "{error:?}");
}

/// Try again, but not before this many milliseconds have passed.
fn soon(millis: u64) -> Retry {
    Retry::After(Duration::from_millis(millis))
}

fn key(name: impl AsRef<str>) -> Key {
    Key::new(name).unwrap()
}

fn value(bytes: impl Into<Vec<u8>>) -> Encoded {
    Encoded::from_bytes(bytes.into().into())
}

/// One request, which must end in bounded time.
async fn call(
    store: &RedisStore,
    request: impl Into<CacheRequest<Encoded>>,
) -> Result<CacheResponse<Encoded>, CacheError> {
    let answer = store.clone().call(request.into());
    tokio::time::timeout(PATIENCE, answer).await.expect("no request hangs")
}

async fn get(store: &RedisStore, name: &str) -> Result<Option<Vec<u8>>, CacheError> {
    let answer = call(store, CacheRequest::get(key(name))).await?.into_get()?;
    Ok(answer.ok().map(|entry| entry.value.as_bytes().to_vec()))
}

async fn set(store: &RedisStore, name: &str, bytes: impl Into<Vec<u8>>) -> Result<bool, CacheError> {
    call(store, CacheRequest::set(key(name), value(bytes), None)).await?.into_applied(Op::Set)
}

async fn ping(store: &RedisStore) -> Result<(), CacheError> {
    call(store, CacheRequest::Ping).await?.into_done(Op::Ping)
}
