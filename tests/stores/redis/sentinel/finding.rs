//! Ways to the primary, and what is told where there is none.

use std::time::{Duration, Instant};

use cachex::store::redis::{ConnectionState, RedisStore, Tls};
use cachex_core::{Effect, ErrorKind, Retry};
use cachex_test_support::{RedisServer, Sentinel, TlsFiles, eventually};

use super::{PATIENCE, builder, get, ping, set, suite, url};

#[tokio::test]
async fn a_url_leads_to_the_primary() {
    let sentinel = suite().await;
    let store = RedisStore::connect(format!("{}/3", url(sentinel))).unwrap();
    assert!(set(&store, "by:url", "v").await.unwrap());
    let same = builder(sentinel).database(3).build().unwrap();
    assert_eq!(get(&same, "by:url").await.unwrap().as_deref(), Some(b"v".as_ref()));
    assert_eq!(get(&builder(sentinel).build().unwrap(), "by:url").await.unwrap(), None);
}

#[tokio::test]
async fn the_pool_is_that_of_the_primary() {
    let store = builder(suite().await).connections(2).pool_size(3).build().unwrap();
    for n in 0..32 {
        set(&store, &format!("pool:{n}"), "v").await.unwrap();
    }
    let status = store.pool_status();
    assert_eq!((status.max_size, status.size, status.available), (7, 2, 0));
}

#[tokio::test]
async fn a_name_the_sentinels_do_not_know_is_told() {
    let sentinels = suite().await.sentinels().iter().map(|sentinel| sentinel.addr().to_string());
    let store = RedisStore::builder().sentinel("yourmaster", sentinels).build().unwrap();
    let error = ping(&store).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.effect(), error.retry()),
        (ErrorKind::InvalidInput, Effect::None, Retry::Never)
    );
    assert!(error.to_string().contains("`yourmaster`"), "{error}");
    assert_eq!(store.state(), ConnectionState::Down);
}

#[tokio::test]
async fn a_server_that_is_no_primary_is_refused() {
    // Sentinels of their own, who believe what they are told and look again after ten seconds.
    let primary = RedisServer::start().await;
    let replica = RedisServer::start().await;
    replica.command(["REPLICAOF", "127.0.0.1", &primary.port().to_string()]).await;
    let sentinel = Sentinel::start().await;
    for watcher in sentinel.sentinels() {
        let port = replica.port().to_string();
        watcher.command(["SENTINEL", "MONITOR", "odd", "127.0.0.1", &port, "2"]).await;
    }
    let sentinels = sentinel.sentinels().iter().map(|sentinel| sentinel.addr().to_string());
    let store = RedisStore::builder().sentinel("odd", sentinels).build().unwrap();
    // Until a sentinel has made out who is the primary.
    match ping(&store).await {
        Err(error) => {
            assert_eq!((error.kind(), error.effect()), (ErrorKind::Connection, Effect::None));
            assert!(error.to_string().contains("not a primary"), "{error}");
        }
        Ok(()) => panic!("a replica was taken for the primary"),
    }
    replica.command(["REPLICAOF", "NO", "ONE"]).await;
    eventually(PATIENCE, async || set(&store, "k", "v").await.is_ok()).await;
}

#[tokio::test]
async fn a_dead_sentinel_is_passed_over() {
    let sentinel = Sentinel::start().await;
    sentinel.sentinels()[0].kill().await;
    let store = builder(&sentinel).build().unwrap();
    assert!(set(&store, "k", "v").await.unwrap());
    // The two that are left are enough for a failover, and the one who says so need not be the one who was asked first.
    let old = sentinel.kill_primary().await;
    eventually(PATIENCE, async || set(&store, "k", "w").await.is_ok()).await;
    let new = sentinel.wait_new_primary(old).await;
    assert_eq!(new.get("k").await.as_deref(), Some(b"w".as_ref()));
}

#[tokio::test]
async fn a_frozen_sentinel_costs_its_share_of_the_time() {
    let sentinel = Sentinel::start().await;
    sentinel.sentinels()[0].pause().await;
    let store = builder(&sentinel).build().unwrap();
    let start = Instant::now();
    assert!(set(&store, "k", "v").await.unwrap());
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    sentinel.sentinels()[0].resume().await;
}

#[tokio::test]
async fn a_store_made_while_everything_is_down_heals() {
    let sentinel = Sentinel::start().await;
    let primary = sentinel.primary().await;
    for watcher in sentinel.sentinels() {
        watcher.kill().await;
    }
    let store = builder(&sentinel).build().unwrap();
    let error = ping(&store).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.effect(), error.retry()),
        (ErrorKind::Connection, Effect::None, Retry::Now)
    );
    assert!(error.to_string().contains("none of the 3 sentinels"), "{error}");
    assert!(std::error::Error::source(&error).is_some());
    assert_eq!(store.state(), ConnectionState::Down);

    // Now the primary is what is missing.
    primary.kill().await;
    sentinel.sentinels()[2].restart().await;
    eventually(PATIENCE, async || {
        ping(&store).await.is_err_and(|error| error.to_string().contains("refused the connection"))
    })
    .await;
    primary.restart().await;
    // Nobody asks: it heals by itself.
    eventually(PATIENCE, async || store.state() == ConnectionState::Connected).await;
    assert!(set(&store, "k", "v").await.unwrap());
}

#[tokio::test]
async fn sentinels_and_servers_have_credentials_of_their_own() {
    let sentinel = Sentinel::builder()
        .user("app", "s3cret", "~* &* +@all -@dangerous")
        .sentinel_password("watch/@:%")
        .start()
        .await;
    let builder = || builder(&sentinel).username("app").password("s3cret");
    // ROLE is among what the user may not do.
    assert!(set(&builder().sentinel_password("watch/@:%").build().unwrap(), "k", "v").await.unwrap());

    for (wrong, whose) in [
        (builder(), "sentinel"),
        (builder().sentinel_password("hunter2"), "sentinel"),
        (builder().sentinel_password("watch/@:%").password("hunter2"), "server"),
    ] {
        let error = ping(&wrong.build().unwrap()).await.unwrap_err();
        assert_eq!((error.kind(), error.effect()), (ErrorKind::Auth, Effect::None), "{error:?}");
        assert!(error.to_string().contains(whose), "{error}");
        assert!(!format!("{error:?} {error}").contains("hunter2"), "{error:?}");
    }
}

/// The rules that docs/redis.md gives for a user at the sentinels are enough, to be told of a switch as well.
#[tokio::test]
async fn a_user_at_the_sentinels_needs_few_rights() {
    let sentinel = Sentinel::start().await;
    for watcher in sentinel.sentinels() {
        let rules = "ACL SETUSER look on >pass &+switch-master +auth +hello +ping +subscribe \
                     +sentinel|get-master-addr-by-name +sentinel|master";
        watcher.command(rules.split_ascii_whitespace()).await;
    }
    let store = builder(&sentinel).sentinel_username("look").sentinel_password("pass").build().unwrap();
    set(&store, "k", "v").await.unwrap();
    eventually(PATIENCE, async || {
        let clients = sentinel.sentinels()[0].command(["CLIENT", "LIST", "TYPE", "pubsub"]).await;
        clients.as_str().is_some_and(|text| text.contains("user=look"))
    })
    .await;
}

#[tokio::test]
async fn tls_all_the_way() {
    let files = TlsFiles::generate().require_client_cert();
    let read = |path| std::fs::read(path).unwrap();
    let tls =
        Tls::new().ca_pem(read(&files.ca_cert)).client_pem(read(&files.client_cert), read(&files.client_key));
    let sentinel = Sentinel::builder().tls(files.clone()).start().await;
    let nodes = || sentinel.sentinel_addrs().into_iter().map(|addr| addr.to_string());
    let builder = || {
        let builder = RedisStore::builder().sentinel(sentinel.master_name(), nodes());
        builder.connect_timeout(Duration::from_secs(4)).tls(tls.clone())
    };
    assert!(set(&builder().build().unwrap(), "k", "v").await.unwrap());

    // To the sentinels alone it can be another TLS or none.
    let anyone = builder().sentinel_tls(Tls::new().ca_pem(read(&files.ca_cert)));
    let error = ping(&anyone.build().unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("none of the 3 sentinels"), "{error}");
    let plain = builder().sentinel_tls(None).build().unwrap();
    assert!(ping(&plain).await.unwrap_err().to_string().contains("none of the 3 sentinels"));
    let plain = RedisStore::builder()
        .sentinel(
            sentinel.master_name(),
            sentinel.sentinels().iter().map(|sentinel| sentinel.addr().to_string()),
        )
        .connect_timeout(Duration::from_secs(4))
        .tls(tls.clone())
        .sentinel_tls(None)
        .build()
        .unwrap();
    assert_eq!(get(&plain, "k").await.unwrap().as_deref(), Some(b"v".as_ref()));
}
