use super::*;

#[test]
fn setters_win_over_the_url() {
    let builder = RedisStore::builder()
        .username("other")
        .database(7)
        .address("elsewhere", 1234)
        .url("redis://app:hunter2@host:6380/3");
    let (address, _) = builder.resolved_address().unwrap();
    let elsewhere = Endpoint::Tcp { host: "elsewhere".to_owned(), port: 1234 };
    assert_eq!(address.target, Target::Server(elsewhere));
    assert_eq!(address.username.as_deref(), Some("other"));
    assert_eq!(address.password, Some(Secret("hunter2".to_owned())));
    assert_eq!(address.database, 7);
}

#[test]
fn bad_settings_are_named() {
    let new = RedisStore::builder;
    for (builder, setting) in [
        (new().connect_timeout(Duration::ZERO), "connect_timeout"),
        (new().response_timeout(Duration::ZERO), "response_timeout"),
        (new().connections(0), "connections"),
        (new().connections(65), "connections"),
        (new().read_connections(65), "read_connections"),
        (new().client_name("my app"), "client_name"),
        (new().address("", 1), "host"),
        (new().address("h", 0), "port"),
        (new().url("redis://h:x"), "port"),
        (new().invalidation_channel(""), "invalidation_channel"),
        (new().invalidation_channel("a\nb"), "invalidation_channel"),
        (new().invalidation_channel("c".repeat(513)), "invalidation_channel"),
        (new().sentinel("", ["s1"]), "name of the primary"),
        (new().sentinel("m", [""; 0]), "no sentinel"),
        (new().sentinel("m", ["s1/0"]), "a sentinel"),
        (new().sentinel("m", ["s1"]).sentinel_username("u"), "sentinel_username"),
        (new().sentinel_password("p"), "sentinel_password"),
        (new().sentinel("m", ["s1"]).sentinel_password("p").address("h", 1), "sentinel_password"),
        (new().cluster(["h"]).database(1), "database"),
        (new().url("redis-cluster://h/1"), "database"),
        (new().cluster(["h"]).address("h", 1), "address"),
        (new().url("redis-cluster://h").unix_socket("/s"), "unix_socket"),
        (new().cluster(["h"]).url("redis://h"), "url"),
        (new().cluster([""]), "host"),
        (new().cluster(Vec::<String>::new()), "cluster"),
    ] {
        let error = builder.build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(setting), "{error}");
    }
    let error = new().default_ttl(Duration::ZERO).build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidTtl);
}

#[test]
fn no_password_is_shown() {
    let builder = RedisStore::builder().url("redis://:hunter2@h").password("hunter2");
    let sentinel = RedisStore::builder().sentinel("m", ["s1"]).sentinel_password("hunter2");
    assert!(!format!("{sentinel:?} {:?}", sentinel.clone().build().unwrap()).contains("hunter2"));
    assert!(!format!("{builder:?}").contains("hunter2"));
    let store = builder.build().unwrap();
    assert!(!format!("{store:?}").contains("hunter2"));
}
