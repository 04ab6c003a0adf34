//! User names and passwords that change while the store runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use cachex::store::redis::{ConnectionState, Credentials, RedisStore};
use cachex_core::ErrorKind;
use cachex_test_support::{Fault, FaultProxy, RedisServer, eventually};

use super::{PATIENCE, get, ping, set};

const RULES: &str = "~* &* +@all";

async fn acl(server: &RedisServer, words: &[&str]) {
    server.command([&["ACL"], words].concat()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotated_under_load_without_an_error() {
    let server = RedisServer::builder().user("app", "one", RULES).start().await;
    let store = RedisStore::builder().url(server.url_as("app")).connections(4).build().unwrap();
    let (stop, requests) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let tasks: Vec<_> = (0..16)
        .map(|task| {
            let (store, stop, requests) = (store.clone(), Arc::clone(&stop), Arc::clone(&requests));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    set(&store, &format!("task{task}"), "v").await.unwrap();
                    requests.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let flows = async || {
        let before = requests.load(Ordering::Relaxed);
        eventually(PATIENCE, async || requests.load(Ordering::Relaxed) > before + 500).await;
    };

    flows().await;
    // Another password of the same user, then another user: those who deleted one are cut off.
    acl(&server, &["SETUSER", "app", ">two"]).await;
    store.set_credentials(Credentials::new("app", "two")).await.unwrap();
    acl(&server, &["SETUSER", "app", "<one"]).await;
    flows().await;
    acl(&server, &["SETUSER", "other", "on", ">three", "~*", "&*", "+@all"]).await;
    store.set_credentials(Credentials::new("other", "three")).await.unwrap();
    acl(&server, &["DELUSER", "app"]).await;
    flows().await;

    // Connections made from now on log in with the last.
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.expect("no request fails");
    }
    server.command(["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
    eventually(PATIENCE, async || ping(&store).await.is_ok()).await;
    let clients = server.command(["CLIENT", "LIST"]).await;
    assert!(clients.as_str().unwrap().contains("user=other"), "{clients:?}");
}

#[tokio::test]
async fn wrong_ones_are_told_and_corrected_ones_heal() {
    let server = RedisServer::builder().user("app", "right", RULES).start().await;
    let store = RedisStore::builder()
        .address("127.0.0.1", server.port())
        .username("app")
        .password("wrong")
        .connections(1)
        .build()
        .unwrap();
    assert_eq!(ping(&store).await.unwrap_err().kind(), ErrorKind::Auth);
    assert_eq!(store.state(), ConnectionState::Down);
    // Nobody is connected, so nobody objects.
    store.set_credentials(Credentials::new("app", "right")).await.unwrap();
    eventually(PATIENCE, async || store.state() == ConnectionState::Connected).await;

    let error = store.set_credentials(Credentials::new("app", "hunter2")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth);
    assert!(!format!("{store:?} {error:?} {error}").contains("hunter2"));
    // What is connected goes on as it was, …
    assert!(set(&store, "k", "v").await.unwrap());
    // … and what connects is refused, until it is corrected.
    server.command(["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
    eventually(PATIENCE, async || ping(&store).await.is_err_and(|error| error.kind() == ErrorKind::Auth))
        .await;
    store.set_credentials(Credentials::new("app", "right")).await.unwrap();
    eventually(PATIENCE, async || get(&store, "k").await.is_ok_and(|found| found.is_some())).await;
}

#[tokio::test]
async fn the_password_of_the_default_user() {
    let server = RedisServer::builder().password("one").start().await;
    let store = RedisStore::connect(server.url()).unwrap();
    ping(&store).await.unwrap();
    acl(&server, &["SETUSER", "default", ">two"]).await;
    store.set_credentials(Credentials::password("two")).await.unwrap();
    server.command(["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
    eventually(PATIENCE, async || ping(&store).await.is_ok()).await;
}

/// A connection that logged in with the old ones while they changed is told the new ones after all.
#[tokio::test]
async fn a_change_during_a_login_is_made_up_for() {
    let server = RedisServer::builder().user("old", "pass", RULES).user("new", "pass", RULES).start().await;
    let proxy = FaultProxy::start(server.addr()).await;
    let store = RedisStore::builder()
        .url(proxy.url())
        .username("old")
        .password("pass")
        .connections(1)
        .connect_timeout(PATIENCE)
        .build()
        .unwrap();
    proxy.set(Fault::Hold);
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { ping(&store).await }
    });
    eventually(PATIENCE, async || proxy.connections() == 1).await;
    // Whether the login is on its way by now or is yet to be written does not matter.
    tokio::task::yield_now().await;
    store.set_credentials(Credentials::new("new", "pass")).await.unwrap();
    proxy.set(Fault::Pass);
    waiting.await.unwrap().unwrap();
    eventually(PATIENCE, async || {
        let clients = server.command(["CLIENT", "LIST"]).await;
        clients.as_str().is_some_and(|text| text.contains("user=new"))
    })
    .await;
}
