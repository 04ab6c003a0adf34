//! Ways to a server, and what becomes of wrong ones.

use std::time::{Duration, Instant};

use cachex::store::redis::{ConnectionState, RedisStore, Tls};
use cachex_core::{Effect, ErrorKind, Retry};
use cachex_test_support::{Fault, FaultProxy, RedisServer, TlsFiles, eventually};

use super::{PATIENCE, assert_told, get, nowhere, ping, set, soon};

#[tokio::test]
async fn starts_while_the_server_is_down_and_heals_when_it_comes_up() {
    let server = RedisServer::start().await;
    server.kill().await;
    let store = RedisStore::connect(server.url()).unwrap();
    assert_eq!(store.state(), ConnectionState::Idle);

    let error = ping(&store).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Connection, Effect::None));
    assert_eq!(store.state(), ConnectionState::Down);

    server.restart().await;
    // Nobody asks: it heals by itself.
    eventually(PATIENCE, async || store.state() == ConnectionState::Connected).await;
    assert!(set(&store, "k", "v").await.unwrap());
    assert_eq!(server.get("k").await.as_deref(), Some(b"v".as_ref()));
}

#[tokio::test]
async fn a_refused_connection_fails_at_once_and_without_effect() {
    let store = RedisStore::builder().address("127.0.0.1", nowhere().port()).build().unwrap();
    let start = Instant::now();
    for _ in 0..100 {
        let error = set(&store, "k", "v").await.unwrap_err();
        assert_told(&error, ErrorKind::Connection, Retry::Now, Effect::None);
    }
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_callers_share_one_attempt_that_belongs_to_none_of_them() {
    let server = RedisServer::start().await;
    let proxy = FaultProxy::start(server.addr()).await;
    proxy.set(Fault::Hold);
    let store =
        RedisStore::builder().url(proxy.url()).connections(1).connect_timeout(PATIENCE).build().unwrap();
    let callers: Vec<_> = (0..100)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { ping(&store).await })
        })
        .collect();
    eventually(PATIENCE, async || proxy.connections() == 1).await;
    assert_eq!(store.state(), ConnectionState::Connecting);
    // The one who started the attempt is among those who leave.
    for caller in &callers[..99] {
        caller.abort();
    }
    proxy.set(Fault::Pass);
    for caller in callers.into_iter().skip(99) {
        caller.await.unwrap().unwrap();
    }
    assert_eq!(proxy.connections(), 1);
}

#[tokio::test]
async fn a_silent_server_is_given_up_after_the_connect_timeout() {
    let proxy = FaultProxy::start(nowhere()).await;
    proxy.set(Fault::Blackhole);
    let limit = Duration::from_millis(200);
    let store = RedisStore::builder().url(proxy.url()).connect_timeout(limit).build().unwrap();
    let start = Instant::now();
    let error = ping(&store).await.unwrap_err();
    assert_told(&error, ErrorKind::Timeout, Retry::Now, Effect::None);
    assert!(start.elapsed() >= limit && start.elapsed() < limit * 10, "{:?}", start.elapsed());
    // From now on it is known to be down.
    assert!(ping(&store).await.is_err());
}

#[tokio::test]
async fn a_password_opens_and_a_wrong_one_does_not() {
    let server = RedisServer::builder().password("s3cret/@:%").start().await;
    let store = RedisStore::connect(server.url()).unwrap();
    ping(&store).await.unwrap();

    for wrong in [
        RedisStore::builder().address("127.0.0.1", server.port()).build().unwrap(),
        RedisStore::builder().address("127.0.0.1", server.port()).password("hunter2").build().unwrap(),
    ] {
        let error = ping(&wrong).await.unwrap_err();
        assert_eq!((error.kind(), error.effect()), (ErrorKind::Auth, Effect::None));
        assert!(!format!("{error:?} {error}").contains("hunter2"), "{error:?}");
        assert_eq!(wrong.state(), ConnectionState::Down);
    }
}

#[tokio::test]
async fn a_password_that_is_corrected_on_the_server_heals() {
    let server = RedisServer::builder().password("old").start().await;
    let builder = RedisStore::builder().address("127.0.0.1", server.port());
    let store = builder.password("new").build().unwrap();
    assert_eq!(ping(&store).await.unwrap_err().kind(), ErrorKind::Auth);
    server.command(["ACL", "SETUSER", "default", ">new"]).await;
    eventually(PATIENCE, async || ping(&store).await.is_ok()).await;
}

#[tokio::test]
async fn an_acl_user_may_what_it_may() {
    let server = RedisServer::builder().user("app", "pass", "~app:* +@read +set +ping +client").start().await;
    let store = RedisStore::connect(server.url_as("app")).unwrap();
    assert!(set(&store, "app:1", "v").await.unwrap());
    let error = set(&store, "other:1", "v").await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::PermissionDenied, Effect::None));
    assert!(!error.to_string().contains("other:1"));
    assert_eq!(get(&store, "app:1").await.unwrap().as_deref(), Some(b"v".as_ref()));
}

#[tokio::test]
async fn a_user_without_transactions_is_told_so() {
    let server = RedisServer::builder().user("app", "pass", "~* +@all -multi").start().await;
    let store = RedisStore::connect(server.url_as("app")).unwrap();
    let request = cachex_core::CacheRequest::increment(super::key("n"), 1, PATIENCE);
    let error = super::call(&store, request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    ping(&store).await.unwrap();
}

#[tokio::test]
async fn a_database_is_selected_and_a_missing_one_refused() {
    let server = RedisServer::builder().arg("databases", "4").start().await;
    let store = RedisStore::connect(format!("{}/3", server.url())).unwrap();
    assert!(set(&store, "k", "v").await.unwrap());
    assert_eq!(server.get("k").await, None);
    let zero = RedisStore::connect(server.url()).unwrap();
    assert_eq!(get(&zero, "k").await.unwrap(), None);
    assert!(get(&store, "k").await.unwrap().is_some());

    let missing = RedisStore::connect(format!("{}/4", server.url())).unwrap();
    let error = ping(&missing).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::InvalidInput, Effect::None));
}

#[tokio::test]
async fn a_unix_socket_is_a_way_too() {
    let server = RedisServer::builder().unix_socket().start().await;
    let path = server.unix_socket().unwrap();
    let by_url = RedisStore::connect(format!("unix://{}?db=1", path.display())).unwrap();
    assert!(set(&by_url, "k", "v").await.unwrap());
    let by_setter = RedisStore::builder().unix_socket(path).database(1).build().unwrap();
    assert!(get(&by_setter, "k").await.unwrap().is_some());
    let missing = RedisStore::builder().unix_socket("/nowhere/redis.sock").build().unwrap();
    assert_eq!(ping(&missing).await.unwrap_err().kind(), ErrorKind::Connection);
}

#[tokio::test]
async fn tls_trusts_whom_it_is_told_to() {
    let files = TlsFiles::generate();
    let ca = std::fs::read(&files.ca_cert).unwrap();
    let server = RedisServer::builder().tls(files).start().await;
    let builder = || RedisStore::builder().url(server.tls_url());

    ping(&builder().tls(Tls::new().ca_pem(ca)).build().unwrap()).await.unwrap();
    ping(&builder().tls(Tls::new().insecure_skip_verify()).build().unwrap()).await.unwrap();
    // The system does not vouch for a certificate made for tests.
    let error = ping(&builder().build().unwrap()).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Connection, Effect::None));
}

#[tokio::test]
async fn mutual_tls_shows_a_certificate() {
    let files = TlsFiles::generate().require_client_cert();
    let read = |path| std::fs::read(path).unwrap();
    let (ca, chain, key) = (read(&files.ca_cert), read(&files.client_cert), read(&files.client_key));
    let server = RedisServer::builder().tls(files).start().await;
    let store = |tls: Tls| RedisStore::builder().url(server.tls_url()).tls(tls).build().unwrap();

    ping(&store(Tls::new().ca_pem(&*ca).client_pem(chain, key))).await.unwrap();
    let error = ping(&store(Tls::new().ca_pem(ca))).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Connection, Effect::None));
}

#[tokio::test]
async fn connections_have_names() {
    let server = RedisServer::start().await;
    let store = RedisStore::builder().url(server.url()).client_name("orders").build().unwrap();
    ping(&store).await.unwrap();
    let clients = server.command(["CLIENT", "LIST"]).await;
    assert!(clients.as_str().unwrap().contains("name=orders"), "{clients:?}");
}

#[tokio::test]
async fn too_many_clients_is_told_apart() {
    let server = RedisServer::builder().arg("maxclients", "1").start().await;
    // The last place; the server may still be letting go of whoever saw it start.
    let holder = RedisStore::builder().url(server.url()).connections(1).build().unwrap();
    eventually(PATIENCE, async || ping(&holder).await.is_ok()).await;
    let late = RedisStore::connect(server.url()).unwrap();
    let error = ping(&late).await.unwrap_err();
    assert_told(&error, ErrorKind::TooManyClients, soon(100), Effect::None);
}

#[tokio::test]
async fn the_pool_is_accounted_for() {
    let server = RedisServer::start().await;
    let store = RedisStore::builder().url(server.url()).connections(2).pool_size(3).build().unwrap();
    assert_eq!(store.pool_status().size, 0, "nothing is connected before it is needed");
    for n in 0..64 {
        set(&store, &format!("k{n}"), "v").await.unwrap();
    }
    let status = store.pool_status();
    assert_eq!((status.max_size, status.size, status.available), (7, 2, 0));
}

#[tokio::test]
async fn gauges_show_the_pool_and_the_state() {
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};

    let server = RedisServer::start().await;
    let store = RedisStore::builder().url(server.url()).connections(1).pool_size(3).build().unwrap();
    ping(&store).await.unwrap();
    let recorder = DebuggingRecorder::new();
    let snapshots = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || store.record_metrics("sessions"));
    let gauges: std::collections::HashMap<_, _> = snapshots
        .snapshot()
        .into_vec()
        .into_iter()
        .map(|(key, _, _, value)| {
            let DebugValue::Gauge(value) = value else { panic!("{key:?} is no gauge") };
            let labels = key.key().labels();
            let state =
                labels.clone().find(|label| label.key() == "state").map(|label| label.value().to_owned());
            assert!(labels.clone().any(|label| (label.key(), label.value()) == ("store", "sessions")));
            ((key.key().name().to_owned(), state), value.into_inner())
        })
        .collect();
    let gauge = |name: &str, state: Option<&str>| gauges[&(name.to_owned(), state.map(str::to_owned))];
    assert_eq!(gauge("redis_pool_connections", Some("in_use")), 1.0);
    assert_eq!(gauge("redis_pool_connections", Some("idle")), 0.0);
    assert_eq!(gauge("redis_pool_max_connections", None), 5.0);
    assert_eq!(gauge("redis_pool_waiting", None), 0.0);
    for state in ConnectionState::ALL {
        let expected = f64::from(u8::from(state == ConnectionState::Connected));
        assert_eq!(gauge("redis_connection_state", Some(state.as_str())), expected, "{state:?}");
    }
}
