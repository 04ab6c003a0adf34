//! Handshakes of a real client with generated certificates.

use std::path::Path;

use cachex_test_support::{Cluster, RedisServer, Sentinel, TlsFiles};
use redis::cluster::ClusterClient;
use redis::{AsyncCommands, Client, ClientTlsConfig, RedisError, TlsCertificates};

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).expect("a certificate that was generated")
}

/// Trusts the authority of `files`, and shows its client's certificate where that is wanted.
fn certificates(files: &TlsFiles, show: bool) -> TlsCertificates {
    // Another test of this process may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client_tls = show.then(|| ClientTlsConfig {
        client_cert: read(&files.client_cert),
        client_key: read(&files.client_key),
    });
    TlsCertificates { client_tls, root_cert: Some(read(&files.ca_cert)) }
}

async fn ping(url: &str, certificates: TlsCertificates) -> Result<String, RedisError> {
    let client = Client::build_with_tls(url, certificates)?;
    client.get_multiplexed_async_connection().await?.ping().await
}

#[tokio::test]
async fn a_client_trusts_the_authority_and_no_other() {
    let files = TlsFiles::generate();
    let server = RedisServer::builder().password("s3cret").tls(files.clone()).start().await;
    assert_eq!(ping(&server.tls_url(), certificates(&files, false)).await.as_deref(), Ok("PONG"));
    let stranger = ping(&server.tls_url(), certificates(&TlsFiles::generate(), false)).await;
    assert!(stranger.expect_err("not to be trusted").to_string().contains("certificate"));
}

#[tokio::test]
async fn a_client_refuses_a_certificate_for_another_name() {
    let files = TlsFiles::generate_for(["redis.example"]);
    let server = RedisServer::builder().tls(files.clone()).start().await;
    let refused = ping(&server.tls_url(), certificates(&files, false)).await;
    assert!(refused.expect_err("another name").to_string().contains("certificate"));
}

#[tokio::test]
async fn a_server_that_requires_a_certificate_refuses_who_has_none_of_its_authority() {
    let files = TlsFiles::generate().require_client_cert();
    let server = RedisServer::builder().tls(files.clone()).start().await;
    assert_eq!(ping(&server.tls_url(), certificates(&files, true)).await.as_deref(), Ok("PONG"));
    assert!(ping(&server.tls_url(), certificates(&files, false)).await.is_err());
    let mut stranger = certificates(&TlsFiles::generate(), true);
    stranger.root_cert = Some(read(&files.ca_cert));
    assert!(ping(&server.tls_url(), stranger).await.is_err());
}

#[tokio::test]
async fn the_files_go_with_their_last_user() {
    let files = TlsFiles::generate();
    let path = files.ca_cert.clone();
    let server = RedisServer::builder().tls(files).start().await;
    assert!(path.exists());
    server.restart().await;
    drop(server);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_cluster_speaks_tls_throughout() {
    let files = TlsFiles::generate().require_client_cert();
    let cluster = Cluster::builder().password("s3cret").tls(files.clone()).start().await;
    assert!(cluster.urls().iter().all(|url| url.starts_with("rediss://")));
    let client = ClusterClient::builder(cluster.urls()).certs(certificates(&files, true)).build();
    let mut client = client.expect("settings").get_async_connection().await.expect("a connection");
    for n in 0..20 {
        let (key, value) = (format!("key:{n}"), n.to_string());
        client.set::<_, _, ()>(&key, &value).await.expect("stored");
        let owner = cluster.master_for_slot(Cluster::slot(&key)).await;
        assert_eq!(owner.get(&key).await, Some(value.into_bytes()));
    }
    let [from, to] = [0, 16_383].map(|slot| cluster.master_for_slot(slot));
    let slot = (0..20).map(|n| Cluster::slot(format!("key:{n}"))).min().expect("some");
    let (from, to) = (from.await, to.await);
    cluster.move_slots(from, to, usize::from(slot) + 1).await;
    assert_ne!(to.command(["CLUSTER", "COUNTKEYSINSLOT", &slot.to_string()]).await.as_int(), Some(0));

    let old = cluster.kill_master(8_000).await;
    cluster.wait_promoted(8_000, old).await;
}

#[tokio::test]
async fn sentinels_speak_tls_throughout() {
    let files = TlsFiles::generate().require_client_cert();
    let sentinel = Sentinel::builder().tls(files.clone()).start().await;
    for url in sentinel.urls() {
        assert!(url.starts_with("rediss://"));
        assert_eq!(ping(&url, certificates(&files, true)).await.as_deref(), Ok("PONG"));
    }
    let old = sentinel.kill_primary().await;
    let new = sentinel.wait_new_primary(old).await;
    assert_eq!(ping(&new.tls_url(), certificates(&files, true)).await.as_deref(), Ok("PONG"));
}
