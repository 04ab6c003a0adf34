//! One server.

use std::time::Instant;

use cachex::preset::Recommended;
use cachex::store::redis::{Credentials, RedisStore};
use cachex_core::{ErrorKind, OpClass};
use cachex_test_support::{Fault, FaultProxy, RedisServer, RedisServerBuilder, Reply, eventually};

use super::load::Load;
use super::{PATIENCE, sealed};

/// A server that has written down what it acknowledges.
fn durable() -> RedisServerBuilder {
    RedisServer::builder().arg("appendonly", "yes").arg("appendfsync", "always")
}

async fn load(server: &RedisServer) -> Load {
    Load::start(sealed(&Recommended::new(), RedisStore::connect(server.url()).unwrap())).await
}

/// Killed, and away until the breaker has found it dead so often that it asks as rarely as it ever does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_killed_and_restarted() {
    let (server, settings) = (durable().start().await, Recommended::new());
    let store = RedisStore::connect(server.url()).unwrap();
    let (load, breaker) = (Load::start(sealed(&settings, store)).await, settings.circuit_breaker_handle());
    let opened = || breaker.circuit(OpClass::Read).snapshot().opened;
    server.kill().await;
    eventually(PATIENCE, async || opened() >= 4).await;
    server.restart().await;
    load.recovers(Instant::now()).await;
    load.finish(&[ErrorKind::Connection, ErrorKind::Timeout, ErrorKind::Loading, ErrorKind::CircuitOpen])
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_are_paused() {
    let server = durable().start().await;
    let load = load(&server).await;
    server.command(["CLIENT", "PAUSE", "60000", "WRITE"]).await;
    load.fails_with(ErrorKind::CircuitOpen, 500).await;
    server.command(["CLIENT", "UNPAUSE"]).await;
    load.recovers(Instant::now()).await;
    let before = load.seen().count(ErrorKind::CircuitOpen);
    server.command(["CLIENT", "PAUSE", "3000", "ALL"]).await;
    // This waits for the end of the pause, as everything does.
    server.command(["PING"]).await;
    let back = Instant::now();
    assert!(load.seen().count(ErrorKind::CircuitOpen) > before + 500, "{:?}", load.seen().errors());
    load.recovers(back).await;
    load.finish(&[ErrorKind::Timeout, ErrorKind::CircuitOpen]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_killed() {
    let server = durable().start().await;
    let load = load(&server).await;
    for _ in 0..20 {
        server.command(["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
        load.serves(100).await;
    }
    load.recovers(Instant::now()).await;
    load.finish(&[ErrorKind::Connection, ErrorKind::Timeout]).await;
}

/// Nobody but the server ever notices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_are_forgotten_while_locks_are_taken() {
    let server = durable().start().await;
    let store = RedisStore::connect(server.url()).unwrap();
    let load = Load::start_with_locks(sealed(&Recommended::new(), store)).await;
    for _ in 0..50 {
        server.command(["SCRIPT", "FLUSH"]).await;
        load.serves(50).await;
    }
    load.recovers(Instant::now()).await;
    load.finish(&[ErrorKind::Timeout]).await;
}

/// Another program fills the server up; reads go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_runs_out_and_is_granted() {
    let server = durable().arg("maxmemory-policy", "noeviction").start().await;
    let load = load(&server).await;
    let used = server.command(["INFO", "memory"]).await;
    let used = used.as_str().and_then(|info| info.split("used_memory:").nth(1)?.lines().next()?.parse().ok());
    let limit: u64 = used.unwrap_or(0_u64) + (4 << 20);
    server.command(["CONFIG", "SET", "maxmemory", &limit.to_string()]).await;
    let mut filled = 0;
    while let Reply::Status(_) =
        server.try_command(["SET", &format!("filler:{filled}"), &"x".repeat(1 << 16)]).await.unwrap()
    {
        filled += 1;
    }
    // Not a byte more and a byte less by turns.
    server.command(["CONFIG", "SET", "maxmemory", &(limit - (1 << 20)).to_string()]).await;
    load.fails_with(ErrorKind::CircuitOpen, 500).await;
    load.serves(1_000).await;
    server.command(["CONFIG", "SET", "maxmemory", "0"]).await;
    load.recovers(Instant::now()).await;
    let errors = load.seen().errors();
    assert!(errors.keys().all(|(class, _)| *class == OpClass::Write), "{errors:?}");
    load.finish(&[ErrorKind::OutOfMemory, ErrorKind::CircuitOpen]).await;
}

/// The password is changed behind the application's back: given back by the server the first time, given to the application
/// the second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_password_is_wrong_and_corrected() {
    let server = durable().user("app", "old", "~* &* +@all").start().await;
    let store = RedisStore::connect(server.url_as("app")).unwrap();
    let load = Load::start(sealed(&Recommended::new(), store.clone())).await;
    for round in 0..2 {
        server.command(["ACL", "SETUSER", "app", "resetpass", ">new"]).await;
        server.command(["CLIENT", "KILL", "USER", "app"]).await;
        load.fails_with(ErrorKind::Auth, 1).await;
        load.fails_with(ErrorKind::CircuitOpen, 2_000).await;
        if round == 0 {
            server.command(["ACL", "SETUSER", "app", ">old"]).await;
        } else {
            store.set_credentials(Credentials::new("app", "new")).await.unwrap();
        }
        load.recovers(Instant::now()).await;
    }
    load.finish(&[ErrorKind::Auth, ErrorKind::Connection, ErrorKind::Timeout, ErrorKind::CircuitOpen]).await;
}

/// The way to the server is lost without a word, as when a machine dies or a firewall forgets: nothing is refused, nothing
/// is reset, and whoever connects anew is served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_fall_silent() {
    let server = durable().start().await;
    let proxy = FaultProxy::start(server.addr()).await;
    let store = RedisStore::connect(proxy.url()).unwrap();
    let load = Load::start(sealed(&Recommended::new(), store)).await;
    let connections = proxy.connections();
    proxy.set(Fault::Blackhole);
    load.fails_with(ErrorKind::CircuitOpen, 500).await;
    // Attempts to replace them fall silent as well.
    eventually(PATIENCE, async || proxy.connections() > connections).await;
    proxy.set(Fault::Pass);
    load.recovers(Instant::now()).await;
    load.finish(&[ErrorKind::Timeout, ErrorKind::CircuitOpen]).await;
}
