//! What a server answers because of the request, or of who asks.

use cachex::store::redis::RedisStore;
use cachex_core::{CacheRequest, Effect, ErrorKind, Retry};
use cachex_test_support::RedisServer;

use crate::redis::{assert_told, call, get, key, ping, set};

#[tokio::test]
async fn noauth_and_wrongpass() {
    let server = RedisServer::builder().password("s3cret").start().await;
    let builder = || RedisStore::builder().address("127.0.0.1", server.port());
    for store in [builder(), builder().password("wrong"), builder().username("nobody").password("s3cret")] {
        let error = ping(&store.build().unwrap()).await.unwrap_err();
        assert_told(&error, ErrorKind::Auth, Retry::Never, Effect::None);
    }
    // A password where none is asked for.
    let open = RedisServer::start().await;
    let store = RedisStore::builder().address("127.0.0.1", open.port()).password("s3cret").build().unwrap();
    assert_told(&ping(&store).await.unwrap_err(), ErrorKind::Auth, Retry::Never, Effect::None);
}

#[tokio::test]
async fn noperm() {
    let server = RedisServer::builder().user("app", "pass", "~app:* +get +client").start().await;
    let store = RedisStore::connect(server.url_as("app")).unwrap();
    for error in [get(&store, "other").await.unwrap_err(), set(&store, "app:1", "v").await.unwrap_err()] {
        assert_told(&error, ErrorKind::PermissionDenied, Retry::Never, Effect::None);
    }
}

#[tokio::test]
async fn wrongtype_and_its_kin() {
    let server = RedisServer::start().await;
    let store = RedisStore::connect(server.url()).unwrap();
    server.command(["LPUSH", "list", "v"]).await;
    server.command(["SET", "text", "v"]).await;
    server.command(["SET", "brim", &i64::MAX.to_string()]).await;
    assert_told(&get(&store, "list").await.unwrap_err(), ErrorKind::WrongType, Retry::Never, Effect::None);
    for (name, kind) in
        [("list", ErrorKind::WrongType), ("text", ErrorKind::WrongType), ("brim", ErrorKind::Overflow)]
    {
        let error = call(&store, CacheRequest::increment(key(name), 1, None)).await.unwrap_err();
        assert_told(&error, kind, Retry::Never, Effect::None);
    }
}

/// A command the server does not know: none of ours, so this server has lost one.
#[tokio::test]
async fn anything_else_is_told_as_such() {
    let server = RedisServer::builder().arg("rename-command", "PTTL \"\"").start().await;
    let store = RedisStore::connect(server.url()).unwrap();
    let error = call(&store, CacheRequest::ttl(key("k"))).await.unwrap_err();
    assert_told(&error, ErrorKind::Server, Retry::Never, Effect::Unknown);
    let said = std::error::Error::source(&error).unwrap().to_string();
    assert!(said.contains("unknown command"), "{said}");
}
