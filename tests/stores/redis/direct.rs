//! Reads over connections of their own.

use std::collections::HashSet;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use cachex::layers::BatchLayer;
use cachex::store::redis::{Credentials, RedisStore, RedisStoreBuilder, Tls};
use cachex::{Cache, CacheService};
use cachex_core::{CacheError, CacheRequest, Effect, Encoded, ErrorKind, Retry, StoredBytes, handover};
use cachex_test_support::{Cluster, Fault, FaultProxy, RedisServer, TlsFiles, eventually};
use tower_layer::Layer;

use super::{PATIENCE, assert_told, call, get, key, ping, set, value};

const SHORT: Duration = Duration::from_millis(150);
const NAME: &str = "direct";

type Values = Vec<Option<Vec<u8>>>;

async fn mget(store: &RedisStore, names: &[&str]) -> Result<Values, CacheError> {
    let request = CacheRequest::get_many(names.iter().map(key).collect::<Vec<_>>());
    let entries = call(store, request).await?.into_many(names.len())?;
    Ok(entries.into_iter().map(|entry| entry.map(|entry| entry.value.as_bytes().to_vec())).collect())
}

/// What `CLIENT LIST` says of a store's connections: which id last said which command.
async fn clients(server: &RedisServer) -> Vec<(String, String)> {
    let list = server.command(["CLIENT", "LIST"]).await;
    let field = |line: &str, name: &str| {
        let word = line.split(' ').find_map(|word| word.strip_prefix(name));
        word.unwrap().to_owned()
    };
    let lines = list.as_str().unwrap().lines().filter(|line| line.contains("name=direct"));
    lines.map(|line| (field(line, "id="), field(line, "cmd="))).collect()
}

/// The ids of those that served reads last. The shared connections served something else meanwhile.
async fn readers(server: &RedisServer) -> HashSet<String> {
    let reads = ["get", "mget"];
    clients(server).await.into_iter().filter(|(_, last)| reads.contains(&&**last)).map(|(id, _)| id).collect()
}

/// Reads until so many readers serve.
async fn until_readers(server: &RedisServer, store: &RedisStore, count: usize) -> HashSet<String> {
    let mut found = HashSet::new();
    eventually(PATIENCE, async || {
        for n in 0..32 {
            let _ = get(store, &format!("any:{n}")).await;
            // Whatever slot the key is of.
            let _ = set(store, &format!("any:{n}"), "").await;
        }
        found = readers(server).await;
        found.len() == count
    })
    .await;
    found
}

/// One shared connection and one reader.
fn pair(url: impl Into<String>) -> RedisStoreBuilder {
    RedisStore::builder().url(url).client_name(NAME).connections(1).read_connections(1)
}

/// The same over TLS, with a client's certificate.
async fn sealed_through_a_proxy() -> (RedisServer, FaultProxy, RedisStore) {
    let files = TlsFiles::generate().require_client_cert();
    let read = |path| std::fs::read(path).unwrap();
    let tls = Tls::new().ca_pem(read(&files.ca_cert));
    let tls = tls.client_pem(read(&files.client_cert), read(&files.client_key));
    let server = RedisServer::builder().tls(files).start().await;
    let proxy = FaultProxy::start(server.tls_addr().unwrap()).await;
    let url = proxy.url().replace("redis://", "rediss://");
    let store = pair(url).tls(tls).response_timeout(PATIENCE).build().unwrap();
    until_readers(&server, &store, 1).await;
    (server, proxy, store)
}

async fn through_a_proxy(limit: Duration) -> (RedisServer, FaultProxy, RedisStore) {
    let server = RedisServer::start().await;
    let proxy = FaultProxy::start(server.addr()).await;
    let store = pair(proxy.url()).response_timeout(limit).build().unwrap();
    until_readers(&server, &store, 1).await;
    (server, proxy, store)
}

#[tokio::test]
async fn reads_have_connections_of_their_own() {
    for (shared, wanted, readers) in [(1, 4, 4), (2, 4, 4), (2, 3, 4), (1, 0, 0)] {
        let server = RedisServer::start().await;
        let proxy = FaultProxy::start(server.addr()).await;
        let builder = RedisStore::builder().url(proxy.url()).client_name(NAME);
        let store = builder.connections(shared).read_connections(wanted).build().unwrap();
        until_readers(&server, &store, readers).await;
        for n in 0..200 {
            set(&store, &format!("k{n}"), format!("v{n}")).await.unwrap();
            assert_eq!(get(&store, &format!("k{n}")).await.unwrap(), Some(format!("v{n}").into_bytes()));
        }
        assert_eq!(proxy.connections(), (shared + readers) as u64, "{shared} shared, {wanted} for reads");
    }
}

#[tokio::test]
async fn a_server_on_this_machine_is_given_way_to_unless_that_is_turned_off() {
    let server = RedisServer::builder().unix_socket().start().await;
    let path = format!("unix://{}", server.unix_socket().unwrap().display());
    for (url, yes) in [(server.url(), true), (path, true), (server.url(), false)] {
        let store = pair(url).yield_to_local_server(yes).build().unwrap();
        until_readers(&server, &store, 1).await;
        {
            let mut reading = pin!(mget(&store, &["a", "b"]));
            let poll = poll_fn(|cx| Poll::Ready(handover::watch(|| reading.as_mut().poll(cx)))).await;
            assert!(poll.0.is_pending());
            assert_eq!(poll.1, yes);
            assert_eq!(reading.await.unwrap(), [None, None]);
        }
        drop(store);
        eventually(PATIENCE, async || clients(&server).await.is_empty()).await;
    }
}

#[tokio::test]
async fn with_tls_that_trusts_anybody_there_are_none() {
    let server = RedisServer::builder().tls(TlsFiles::generate()).start().await;
    let store = pair(server.tls_url()).tls(Tls::new().insecure_skip_verify()).build().unwrap();
    for n in 0..20 {
        get(&store, &format!("k{n}")).await.unwrap();
    }
    assert_eq!(clients(&server).await.len(), 1);
}

#[tokio::test]
async fn hits_misses_and_values_of_all_sizes() {
    all_sizes(through_a_proxy(PATIENCE).await).await;
}

#[tokio::test]
async fn the_same_with_mutual_tls() {
    all_sizes(sealed_through_a_proxy().await).await;
}

async fn all_sizes((server, proxy, store): (RedisServer, FaultProxy, RedisStore)) {
    let large: Vec<u8> = (0..1 << 20).map(|n: u32| (n % 251) as u8).collect();
    server.set("small", "$5\r\na\r\n").await;
    server.set("empty", "").await;
    server.set("large", &*large).await;
    server.command(["RPUSH", "list", "x"]).await;
    let reading = readers(&server).await;
    for fault in [Fault::Pass, Fault::Slice(1), Fault::Slice(1000), Fault::Slice(70_000)] {
        proxy.set(fault);
        assert_eq!(get(&store, "small").await.unwrap().as_deref(), Some(b"$5\r\na\r\n".as_ref()));
        assert_eq!(get(&store, "empty").await.unwrap().as_deref(), Some(b"".as_ref()));
        assert_eq!(get(&store, "none").await.unwrap(), None);
        let small = [Some(b"$5\r\na\r\n".to_vec()), None, Some(Vec::new()), None];
        assert_eq!(mget(&store, &["small", "none", "empty", "list"]).await.unwrap(), small);
        assert_eq!(mget(&store, &["none"]).await.unwrap(), [None]);
        if fault != Fault::Slice(1) {
            assert!(get(&store, "large").await.unwrap() == Some(large.clone()));
            let values = mget(&store, &["large", "small", "none", "large"]).await.unwrap();
            assert!(values == [Some(large.clone()), small[0].clone(), None, Some(large.clone())]);
        }
    }
    // More than a socket takes in one go.
    let names: Vec<String> = (0..400).map(|n| format!("{n}{}", "k".repeat(4000))).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).chain(["small"]).collect();
    for fault in [Fault::Pass, Fault::Slice(5000)] {
        proxy.set(fault);
        let values = mget(&store, &names).await.unwrap();
        assert!(values[..400].iter().all(Option::is_none) && values[400].is_some());
    }
    assert_eq!(readers(&server).await, reading, "the same reader served it all");
}

#[tokio::test]
async fn a_reply_cut_in_two_is_no_value_and_heals() {
    let (server, proxy, store) = through_a_proxy(PATIENCE).await;
    server.set("k", vec![b'x'; 1000]).await;
    for cut in [1, 4, 6, 500, 1005, 1008, 2000] {
        until_readers(&server, &store, 1).await;
        proxy.set(Fault::CutToClient(cut));
        let error = match cut {
            500 | 1008.. => mget(&store, &["k", "none", "k"]).await.unwrap_err(),
            _ => get(&store, "k").await.unwrap_err(),
        };
        assert_told(&error, ErrorKind::Connection, Retry::Now, Effect::Unknown);
        proxy.set(Fault::Pass);
    }
    until_readers(&server, &store, 1).await;
    assert_eq!(get(&store, "k").await.unwrap(), Some(vec![b'x'; 1000]));
}

#[tokio::test]
async fn one_that_is_killed_while_idle_costs_no_error() {
    let server = RedisServer::builder().user("poor", "pw", "~* +@all -mget").start().await;
    let store = pair(server.url_as("poor")).build().unwrap();
    for refused_before in [false, true].repeat(5) {
        let reading = until_readers(&server, &store, 1).await;
        if refused_before {
            assert_eq!(mget(&store, &["a", "b"]).await.unwrap_err().kind(), ErrorKind::PermissionDenied);
        }
        for id in reading {
            server.command(["CLIENT", "KILL", "ID", &id]).await;
        }
        // What the system knows by now, this answer brings to the runtime's knowledge.
        ping(&store).await.unwrap();
        get(&store, "k").await.unwrap();
    }
}

#[tokio::test]
async fn one_that_is_killed_under_a_read_is_an_error_and_heals() {
    let (server, proxy, store) = through_a_proxy(PATIENCE).await;
    let reading = readers(&server).await;
    proxy.set(Fault::Hold);
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { get(&store, "k").await }
    });
    tokio::task::yield_now().await;
    for id in reading {
        server.command(["CLIENT", "KILL", "ID", &id]).await;
    }
    proxy.set(Fault::Pass);
    let error = waiting.await.unwrap().unwrap_err();
    assert_told(&error, ErrorKind::Connection, Retry::Now, Effect::Unknown);
    get(&store, "k").await.unwrap();
    until_readers(&server, &store, 1).await;
}

#[tokio::test]
async fn refusals_keep_their_kind_and_the_reader_goes_on() {
    let server = RedisServer::builder().user("app", "pw", "~open:* ~any:* +@all").start().await;
    let store = pair(server.url_as("app")).build().unwrap();
    server.command(["RPUSH", "open:list", "x"]).await;
    server.set("open:k", "v").await;
    let reading = until_readers(&server, &store, 1).await;
    for _ in 0..3 {
        assert_eq!(get(&store, "open:list").await.unwrap_err().kind(), ErrorKind::WrongType);
        assert_eq!(mget(&store, &["open:list"]).await.unwrap(), [None]);
        let error = mget(&store, &["open:k", "shut:k", "open:k"]).await.unwrap_err();
        assert_told(&error, ErrorKind::PermissionDenied, Retry::Never, Effect::None);
        assert!(!error.to_string().contains("shut:k"));
        assert_eq!(get(&store, "shut:k").await.unwrap_err().kind(), ErrorKind::PermissionDenied);
        assert_eq!(get(&store, "open:k").await.unwrap().as_deref(), Some(b"v".as_ref()));
    }
    assert_eq!(readers(&server).await, reading);
}

#[tokio::test]
async fn a_node_of_a_cluster_tells_what_it_would_take() {
    let cluster = Cluster::start().await;
    let owner = cluster.master_for_slot(Cluster::slot("{t}")).await;
    let masters = cluster.masters().await;
    let other = masters.iter().find(|master| master.addr() != owner.addr()).unwrap();
    let store = pair(other.url()).build().unwrap();
    eventually(PATIENCE, async || {
        let error = get(&store, "{t}1").await.unwrap_err();
        assert_told(&error, ErrorKind::Moved, Retry::Never, Effect::None);
        let error = mget(&store, &["a", "b"]).await.unwrap_err();
        assert_told(&error, ErrorKind::CrossSlot, Retry::Never, Effect::None);
        assert!(error.to_string().contains("builder().cluster"), "{error}");
        ping(&store).await.unwrap();
        readers(other).await.len() == 1
    })
    .await;
}

/// As a virtual address after a failover: the old primary has lost its master, and new connections lead elsewhere.
#[tokio::test]
async fn a_replica_that_lost_its_master_is_left() {
    let primary = RedisServer::start().await;
    primary.set("k", "new").await;
    let (demoted, proxy, store) = through_a_proxy(PATIENCE).await;
    demoted.command(["CONFIG", "SET", "replica-serve-stale-data", "no"]).await;
    demoted.command(["REPLICAOF", "127.0.0.1", &super::nowhere().port().to_string()]).await;
    proxy.set_upstream(primary.addr());
    assert_eq!(get(&store, "k").await.unwrap_err().kind(), ErrorKind::MasterDown);
    eventually(PATIENCE, async || get(&store, "k").await.is_ok_and(|found| found == Some(b"new".to_vec())))
        .await;
    until_readers(&primary, &store, 1).await;
    assert_eq!(get(&store, "k").await.unwrap().as_deref(), Some(b"new".as_ref()));
}

#[tokio::test]
async fn cancelled_reads_leave_readers_in_order() {
    cancelled(through_a_proxy(PATIENCE).await).await;
}

#[tokio::test]
async fn cancelled_reads_leave_readers_with_tls_in_order() {
    cancelled(sealed_through_a_proxy().await).await;
}

async fn cancelled((server, proxy, store): (RedisServer, FaultProxy, RedisStore)) {
    for n in 0..64 {
        server.set(format!("k{n}"), format!("v{n}")).await;
    }
    let reading = readers(&server).await;
    for round in 0..200_usize {
        proxy.set(if round % 2 == 0 { Fault::Hold } else { Fault::Slice(3) });
        let cancelled = tokio::spawn({
            let store = store.clone();
            async move { mget(&store, &["k1", "none", &format!("k{}", round % 64)]).await }
        });
        for _ in 0..round % 20 {
            tokio::task::yield_now().await;
        }
        cancelled.abort();
        let _ = cancelled.await;
        proxy.set(Fault::Pass);
        let (one, two) = (format!("k{}", round % 61), format!("k{}", round % 53));
        let found = mget(&store, &["none", &one, &two]).await.unwrap();
        let expected = |name: &str| Some(name.replace('k', "v").into_bytes());
        assert_eq!(found, [None, expected(&one), expected(&two)], "each gets its own answer");
        assert_eq!(get(&store, &one).await.unwrap(), expected(&one));
    }
    ping(&store).await.unwrap();
    assert_eq!(readers(&server).await, reading, "one reader served it all");
    assert_eq!(proxy.connections(), 2);
}

/// The bytes swallowed here leave a connection half open for good.
#[tokio::test]
async fn a_half_open_shared_connection_is_noticed_though_readers_answer() {
    let (_server, proxy, store) = through_a_proxy(SHORT).await;
    proxy.set(Fault::Blackhole);
    assert_eq!(ping(&store).await.unwrap_err().kind(), ErrorKind::Timeout);
    proxy.set(Fault::Pass);
    eventually(PATIENCE, async || {
        get(&store, "k").await.unwrap();
        ping(&store).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_half_open_reader_is_noticed_though_the_shared_connection_answers() {
    let (server, proxy, store) = through_a_proxy(SHORT).await;
    proxy.set(Fault::Blackhole);
    assert_eq!(get(&store, "k").await.unwrap_err().kind(), ErrorKind::Timeout);
    proxy.set(Fault::Pass);
    let mut failed = 0;
    eventually(PATIENCE, async || {
        ping(&store).await.unwrap();
        let found = get(&store, "k").await;
        failed += u32::from(found.is_err());
        found.is_ok()
    })
    .await;
    assert!(failed <= 1, "{failed} more");
    until_readers(&server, &store, 1).await;
}

#[tokio::test]
async fn a_half_open_reader_is_noticed_though_nobody_waits_for_a_timeout() {
    let (server, proxy, store) = through_a_proxy(2 * PATIENCE).await;
    proxy.set(Fault::Blackhole);
    assert!(tokio::time::timeout(SHORT, get(&store, "k")).await.is_err());
    proxy.set(Fault::Pass);
    eventually(PATIENCE, async || {
        ping(&store).await.unwrap();
        tokio::time::timeout(SHORT, get(&store, "k")).await.is_ok_and(|found| found.is_ok())
    })
    .await;
    until_readers(&server, &store, 1).await;
}

#[tokio::test]
async fn closing_refuses_reads_and_closes_the_sockets() {
    let (_server, proxy, store) = through_a_proxy(PATIENCE).await;
    assert_eq!(proxy.open_connections(), 2);
    proxy.set(Fault::Hold);
    let under_way = tokio::spawn({
        let store = store.clone();
        async move { get(&store, "any:0").await }
    });
    tokio::task::yield_now().await;
    call(&store, CacheRequest::Close).await.unwrap();
    proxy.set(Fault::Pass);
    assert_eq!(under_way.await.unwrap().unwrap(), Some(Vec::new()), "what is under way is answered");
    for _ in 0..3 {
        assert_eq!(get(&store, "any:0").await.unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(mget(&store, &["any:0", "any:1"]).await.unwrap_err().kind(), ErrorKind::Closed);
    }
    eventually(PATIENCE, async || proxy.open_connections() == 0).await;
    assert_eq!(proxy.connections(), 2);
}

#[tokio::test]
async fn a_store_that_is_dropped_closes_the_sockets() {
    let (_server, proxy, store) = through_a_proxy(PATIENCE).await;
    drop(store);
    eventually(PATIENCE, async || proxy.open_connections() == 0).await;
}

#[test]
fn readers_outlive_the_runtime_that_made_them() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (first, second) = (runtime(), runtime());
    let server = second.block_on(RedisServer::start());
    let store = pair(server.url()).build().unwrap();
    first.block_on(until_readers(&server, &store, 1));
    // One is in the making as well, and another owes an answer.
    let mut given_up = Box::pin(get(&store, "k"));
    let _ = first.block_on(async { futures_poll(given_up.as_mut()).await });
    drop(given_up);
    drop(first);
    second.block_on(async {
        eventually(PATIENCE, async || ping(&store).await.is_ok()).await;
        get(&store, "k").await.unwrap();
        until_readers(&server, &store, 1).await;
    });
}

async fn futures_poll<F: Future>(mut future: std::pin::Pin<&mut F>) -> bool {
    std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx).is_ready())).await
}

#[tokio::test]
async fn credentials_that_change_reach_the_readers() {
    let server = RedisServer::builder()
        .user("old", "pw", "~* &* +@all")
        .user("new", "pw", "~* &* +@all")
        .start()
        .await;
    let store = pair(server.url_as("old")).build().unwrap();
    let before = until_readers(&server, &store, 1).await;
    store.set_credentials(Credentials::new("new", "pw")).await.unwrap();
    server.command(["ACL", "DELUSER", "old"]).await;
    for n in 0..50 {
        get(&store, &format!("k{n}")).await.unwrap();
    }
    let after = until_readers(&server, &store, 1).await;
    assert!(after.is_disjoint(&before));
    // Wrong ones: reads go on over what is connected.
    store.set_credentials(Credentials::new("new", "wrong")).await.unwrap_err();
    for n in 0..50 {
        get(&store, &format!("k{n}")).await.unwrap();
    }
}

/// A write that was answered is seen by every read from then on, whatever connection each takes.
async fn writes_are_seen<S: CacheService<Encoded> + Clone>(cache: Cache<Encoded, S>) {
    let tasks: Vec<_> = (0..32)
        .map(|task| {
            let cache = cache.clone();
            tokio::spawn(async move {
                for round in 0..150_u64 {
                    let name = format!("task:{task}:{}", round % 7);
                    cache.set(&name, value(round.to_string()), None).await.unwrap();
                    let found = cache.get(&name).await.unwrap().unwrap();
                    assert_eq!(found.as_bytes().as_ref(), round.to_string().as_bytes());
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_is_read() {
    let server = RedisServer::start().await;
    let store = RedisStore::builder().url(server.url()).client_name(NAME).build().unwrap();
    let reading = until_readers(&server, &store, 4).await;
    writes_are_seen(Cache::new(store.clone())).await;
    writes_are_seen(Cache::new(BatchLayer::new().layer(store.clone()))).await;
    // Beside the pipes of those that met.
    assert!(readers(&server).await.is_superset(&reading));
}

#[tokio::test]
async fn over_a_unix_socket() {
    let server = RedisServer::builder().unix_socket().start().await;
    let path = server.unix_socket().unwrap();
    let store = pair(format!("unix://{}?db=1", path.display())).build().unwrap();
    until_readers(&server, &store, 1).await;
    set(&store, "k", "v").await.unwrap();
    assert_eq!(get(&store, "k").await.unwrap().as_deref(), Some(b"v".as_ref()), "it is in the same database");
    assert_eq!(mget(&store, &["k", "none"]).await.unwrap(), [Some(b"v".to_vec()), None]);
}
