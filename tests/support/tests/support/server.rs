use std::io;
use std::os::unix::fs::FileTypeExt;
use std::time::Duration;

use cachex_test_support::{RedisServer, Reply, TlsFiles, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::SOON;

#[tokio::test]
async fn answers_as_soon_as_start_returns() {
    let server = RedisServer::start().await;
    assert_eq!(server.command(["PING"]).await, Reply::Status("PONG".into()));
    assert_eq!(server.url(), format!("redis://127.0.0.1:{}", server.port()));
    assert_eq!(server.unix_socket(), None);
}

#[tokio::test]
async fn stores_and_returns_any_bytes() {
    let server = RedisServer::start().await;
    let value: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    server.set(b"\r\n\0\xff", &value).await;
    assert_eq!(server.get(b"\r\n\0\xff").await, Some(value));
    assert_eq!(server.get("absent").await, None);
    assert_eq!(server.command(["DBSIZE"]).await.as_int(), Some(1));
}

#[tokio::test]
async fn reads_every_kind_of_reply() {
    let server = RedisServer::start().await;
    let script = "return {1, 'two', {redis.status_reply('three'), false}, redis.error_reply('ERR four')}";
    assert_eq!(
        server.command(["EVAL", script, "0"]).await,
        Reply::Array(vec![
            Reply::Int(1),
            Reply::Bulk(b"two".to_vec()),
            Reply::Array(vec![Reply::Status("three".into()), Reply::Nil]),
            Reply::Error("ERR four".into()),
        ])
    );
    assert!(server.try_command(["NONSENSE"]).await.is_ok_and(|reply| reply.is_error()));
}

#[tokio::test]
#[should_panic(expected = "INCR at 127.0.0.1")]
async fn command_panics_on_an_error_reply() {
    let server = RedisServer::start().await;
    server.set("k", "not a number").await;
    server.command(["INCR", "k"]).await;
}

#[tokio::test]
async fn wants_the_password_it_was_given() {
    let password = r#"p@ss "wörd"\/:%"#;
    let server = RedisServer::builder().password(password).start().await;
    assert_eq!(server.command(["PING"]).await.as_str(), Some("PONG"));
    let encoded = "p%40ss%20%22w%C3%B6rd%22%5C%2F%3A%25";
    assert_eq!(server.url(), format!("redis://:{encoded}@{}", server.addr()));
    let wrong = server.try_command(["AUTH", "wrong"]).await.expect("an answer");
    assert!(wrong.as_str().is_some_and(|text| text.starts_with("WRONGPASS")), "{wrong:?}");
}

#[tokio::test]
async fn holds_users_to_their_rules() {
    let server = RedisServer::builder().user("app", "s3cret", "~app:* +@all -flushall").start().await;
    let auth = server.command(["AUTH", "app", "s3cret"]).await;
    assert_eq!(auth.as_str(), Some("OK"));
    let tried = server.command(["ACL", "DRYRUN", "app", "GET", "app:1"]).await;
    assert_eq!(tried.as_str(), Some("OK"));
    let tried = server.command(["ACL", "DRYRUN", "app", "GET", "other:1"]).await;
    assert_ne!(tried.as_str(), Some("OK"));
    assert_eq!(server.url_as("app"), format!("redis://app:s3cret@{}", server.addr()));
}

#[tokio::test]
async fn takes_settings_and_new_ones_at_a_restart() {
    let server = RedisServer::builder().arg("maxmemory", "7mb").arg("save", "900 1").start().await;
    let setting = async |name: &str| {
        let reply = server.command(["CONFIG", "GET", name]).await;
        reply.as_array().and_then(|a| a[1].as_str()).map(str::to_owned)
    };
    assert_eq!(setting("maxmemory").await.as_deref(), Some("7340032"));
    assert_eq!(setting("save").await.as_deref(), Some("900 1"));
    server.configure("maxmemory", "8mb");
    server.restart().await;
    assert_eq!(setting("maxmemory").await.as_deref(), Some("8388608"));
}

#[tokio::test]
async fn listens_on_a_unix_socket() {
    let server = RedisServer::builder().unix_socket().start().await;
    let path = server.unix_socket().expect("asked for");
    let meta = std::fs::metadata(path).expect("the server has made it");
    assert!(meta.file_type().is_socket());
    std::os::unix::net::UnixStream::connect(path).expect("somebody listens");
}

#[tokio::test]
async fn listens_for_tls_beside_the_plain_port() {
    let files = TlsFiles::generate().require_client_cert();
    let server = RedisServer::builder().password("s3cret").tls(files).start().await;
    let addr = server.tls_addr().expect("asked for");
    assert_ne!(addr, server.addr());
    assert_eq!(server.tls_url(), format!("rediss://:s3cret@{addr}"));

    // What is not TLS is refused there; a handshake is for the tests of the TLS client.
    let mut plain = tokio::net::TcpStream::connect(addr).await.expect("somebody listens");
    plain.write_all(b"PING\r\n").await.expect("sent");
    let mut answer = Vec::new();
    drop(tokio::time::timeout(SOON, plain.read_to_end(&mut answer)).await.expect("closed at once"));
    assert!(!answer.starts_with(b"+"), "{answer:?}");
}

#[tokio::test]
async fn comes_back_empty_on_the_same_port_after_a_kill() {
    let server = RedisServer::start().await;
    let (addr, pid) = (server.addr(), server.pid());
    server.set("k", "v").await;

    server.kill().await;
    assert_eq!(server.pid(), None);
    let refused = server.try_command(["PING"]).await.expect_err("it is dead");
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    server.kill().await;

    server.restart().await;
    assert_eq!(server.addr(), addr);
    assert_ne!(server.pid(), pid);
    assert_eq!(server.get("k").await, None);
}

#[tokio::test]
async fn shuts_down_in_order() {
    let server = RedisServer::builder().arg("save", "900 1").start().await;
    server.set("k", "v").await;
    server.stop().await;
    assert!(server.log().contains("Redis is now ready to exit"), "{}", server.log());
    server.restart().await;
    assert_eq!(server.get("k").await.as_deref(), Some(b"v".as_slice()));
}

#[tokio::test]
async fn notices_that_the_server_has_ended_by_itself() {
    let server = RedisServer::start().await;
    drop(server.try_command(["SHUTDOWN", "NOSAVE"]).await);
    eventually(SOON, async || server.pid().is_none()).await;
    server.stop().await;
    server.restart().await;
    assert!(server.pid().is_some());
}

#[tokio::test]
async fn freezes_and_thaws() {
    let server = RedisServer::start().await;
    server.pause().await;
    let mut answer = std::pin::pin!(server.command(["PING"]));
    let early = tokio::time::timeout(Duration::from_millis(100), &mut answer).await;
    assert!(early.is_err(), "a frozen server answered");
    server.resume().await;
    assert_eq!(answer.await.as_str(), Some("PONG"));

    server.pause().await;
    server.stop().await;
    server.restart().await;
    server.pause().await;
    server.kill().await;
}

#[tokio::test]
async fn launch_does_not_wait_until_the_server_has_loaded_its_data() {
    let server = RedisServer::builder().arg("enable-debug-command", "local").start().await;
    server.command(["DEBUG", "POPULATE", "20000"]).await;
    server.command(["SAVE"]).await;
    server.configure("key-load-delay", "50");
    server.configure("loading-process-events-interval-bytes", "1024");
    server.launch().await;
    eventually(SOON, async || {
        matches!(server.try_command(["GET", "key:1"]).await, Ok(Reply::Error(e)) if e.starts_with("LOADING"))
    })
    .await;
    server.wait_ready().await;
    assert_eq!(server.command(["DBSIZE"]).await, Reply::Int(20_000));
}

#[tokio::test]
async fn a_broken_setting_is_an_error_with_the_servers_own_words() {
    let failed = RedisServer::builder().arg("no-such-setting", "1").try_start().await.expect_err("refused");
    assert!(!failed.is_missing());
    assert!(failed.to_string().contains("no-such-setting"), "{failed}");
}

#[tokio::test(start_paused = true)]
async fn a_paused_clock_does_not_matter() {
    let server = RedisServer::start().await;
    server.restart().await;
    assert_eq!(server.command(["PING"]).await.as_str(), Some("PONG"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_a_time_do_not_get_in_each_others_way() {
    let servers: Vec<_> = (0..12).map(|_| tokio::spawn(RedisServer::start())).collect();
    let mut ports = std::collections::HashSet::new();
    let mut running = Vec::new();
    for server in servers {
        let server = server.await.expect("started");
        assert_eq!(server.command(["DBSIZE"]).await, Reply::Int(0));
        server.set("mine", "1").await;
        assert!(ports.insert(server.port()));
        running.push(server);
    }
}
