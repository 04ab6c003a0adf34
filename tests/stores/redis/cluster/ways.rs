//! Ways to a cluster, and what becomes of wrong ones.

use std::time::{Duration, Instant};

use cachex::store::redis::{ConnectionState, Credentials, RedisStore, Tls};
use cachex_core::{Effect, ErrorKind};
use cachex_test_support::{Cluster, RedisServer, TlsFiles, eventually};

use super::{PATIENCE, builder, get, get_many, ping, set, set_many, shared};

#[tokio::test]
async fn any_node_will_do_and_urls_name_several() {
    let cluster = shared().await;
    let hosts: Vec<_> = cluster.nodes().iter().map(|node| node.addr().to_string()).collect();
    let url = format!("redis-cluster://{}", hosts.join(","));
    let stores = hosts.iter().map(|host| RedisStore::builder().cluster([host]).build().unwrap());
    for store in stores.chain([RedisStore::connect(url).unwrap()]) {
        assert!(set(&store, "ways", "v").await.unwrap());
        ping(&store).await.unwrap();
    }
}

#[tokio::test]
async fn seeds_that_are_down_are_passed_over() {
    let cluster = shared().await;
    let dead = RedisServer::start().await;
    dead.kill().await;
    let frozen = RedisServer::start().await;
    frozen.pause().await;
    let seeds = [dead.url(), frozen.url(), cluster.url()];
    let start = Instant::now();
    let store = RedisStore::builder().cluster(seeds).connect_timeout(PATIENCE / 2).build().unwrap();
    assert!(set(&store, "seeds", "v").await.unwrap());
    assert!(start.elapsed() < PATIENCE / 2, "{:?}", start.elapsed());
}

#[tokio::test]
async fn starts_while_all_are_down_and_heals_when_they_come_up() {
    let cluster = Cluster::builder().password("s3cret/@:%").start().await;
    let addresses = || cluster.nodes().iter().map(|node| node.addr().to_string());
    let new = || RedisStore::builder().cluster(addresses());
    let wrong = new().password("hunter2").build().unwrap();
    for store in [&wrong, &new().build().unwrap()] {
        let error = set(store, "k", "v").await.unwrap_err();
        assert_eq!((error.kind(), error.effect()), (ErrorKind::Auth, Effect::None));
        assert!(!format!("{error:?} {error} {store:?}").contains("hunter2"));
    }

    let before = new().password("s3cret/@:%").build().unwrap();
    ping(&before).await.unwrap();
    for node in cluster.nodes() {
        node.kill().await;
    }
    let store = new().password("s3cret/@:%").build().unwrap();
    let start = Instant::now();
    for _ in 0..100 {
        let error = set(&store, "k", "v").await.unwrap_err();
        assert_eq!((error.kind(), error.effect()), (ErrorKind::Connection, Effect::None));
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(store.state(), ConnectionState::Down);
    for node in cluster.nodes() {
        node.restart().await;
    }
    cluster.wait_ok().await;
    // Nobody asks: the map is found all the same.
    eventually(PATIENCE, async || store.nodes().len() == 3).await;
    for store in [&store, &before] {
        eventually(PATIENCE, async || set(store, "k", "v").await.is_ok()).await;
        eventually(PATIENCE, async || ping(store).await.is_ok()).await;
    }
    // A password that is corrected on the servers opens without more ado.
    for node in cluster.nodes() {
        node.command(["ACL", "SETUSER", "default", ">hunter2"]).await;
    }
    eventually(PATIENCE, async || get(&wrong, "k").await.is_ok()).await;

    // And one that is changed in the store holds for every node, on connections that are up and on new ones.
    let kill = async || {
        for node in cluster.nodes() {
            node.command(["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
        }
    };
    let error = store.set_credentials(Credentials::password("guess")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth);
    kill().await;
    eventually(PATIENCE, async || ping(&store).await.is_err_and(|error| error.kind() == ErrorKind::Auth))
        .await;
    // A connection that was killed may still be taken for one that is up.
    eventually(PATIENCE, async || store.set_credentials(Credentials::password("hunter2")).await.is_ok())
        .await;
    eventually(PATIENCE, async || ping(&store).await.is_ok()).await;
    kill().await;
    eventually(PATIENCE, async || ping(&store).await.is_ok()).await;
}

#[tokio::test]
async fn tls_and_an_acl_user_hold_for_every_node() {
    let files = TlsFiles::generate();
    let ca = std::fs::read(&files.ca_cert).unwrap();
    let cluster = Cluster::builder().tls(files).user("app", "pass", "~app:* +@all").start().await;
    let new = || builder(&cluster).username("app").password("pass");
    let store = new().tls(Tls::new().ca_pem(ca)).build().unwrap();
    let entries: Vec<_> = (0..100).map(|n| (format!("app:{n}"), n.to_string())).collect();
    set_many(&store, &entries, None).await.unwrap();
    let names: Vec<_> = entries.iter().map(|(name, _)| name.clone()).collect();
    let found = get_many(&store, &names).await.unwrap();
    assert!(found.iter().zip(&entries).all(|(found, (_, text))| found.as_ref() == Some(text)));
    assert_eq!(store.nodes().len(), 3);
    let error = set(&store, "other:1", "v").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    // The system does not vouch for a certificate made for tests.
    assert_eq!(ping(&new().build().unwrap()).await.unwrap_err().kind(), ErrorKind::Connection);
}
