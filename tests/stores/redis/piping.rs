//! Reads of one key that meet: they share connections of their own.

use std::collections::HashSet;
use std::time::Duration;

use cachex::CacheService;
use cachex::layers::{Bincode, EncryptLayer, EncryptionKey, KeyId, KeyRing, SerializeLayer};
use cachex::store::redis::{ConnectionState, Credentials, RedisStore, RedisStoreBuilder, Tls};
use cachex_core::{CacheError, CacheRequest, Encoded, ErrorKind, StoredBytes};
use cachex_test_support::{Cluster, Fault, FaultProxy, RedisServer, TlsFiles, eventually};
use tokio::task::JoinHandle;
use tower_layer::Layer;
use tower_service::Service;

use super::{PATIENCE, call, get, key, set};

const NAME: &str = "piping";

type Found = Result<Option<Vec<u8>>, CacheError>;

/// One shared connection, one for one read at a time, and so one pipe.
fn one_of_each(url: impl Into<String>) -> RedisStoreBuilder {
    RedisStore::builder().url(url).client_name(NAME).connections(1).read_connections(1)
}

/// Has every name read at a time, each by a task of its own.
fn start_all(store: &RedisStore, names: &[String]) -> Vec<JoinHandle<Found>> {
    start_all_through(store, names, |value: &Encoded| value.as_bytes().to_vec())
}

fn start_all_through<V, S, T>(
    stack: &S,
    names: &[String],
    told: fn(&V) -> T,
) -> Vec<JoinHandle<Result<Option<T>, CacheError>>>
where
    V: Send + Sync + 'static,
    S: CacheService<V>,
    T: Send + 'static,
{
    let ask = |name: &String| {
        let (mut stack, request) = (stack.clone(), CacheRequest::get(key(name)));
        tokio::spawn(async move {
            let answer = tokio::time::timeout(PATIENCE, stack.call(request)).await.expect("no read hangs")?;
            Ok(answer.into_get()?.ok().map(|entry| told(&entry.value)))
        })
    };
    names.iter().map(ask).collect()
}

/// The answers, in the order of the reads.
async fn all<T>(reads: Vec<JoinHandle<T>>) -> Vec<T> {
    let mut answers = Vec::new();
    for read in reads {
        answers.push(read.await.unwrap());
    }
    answers
}

async fn read_all(store: &RedisStore, names: &[String]) -> Vec<Found> {
    all(start_all(store, names)).await
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("k{n}")).collect()
}

/// The ids of a store's connections that said `GET` last.
async fn reading(server: &RedisServer) -> HashSet<String> {
    let list = server.command(["CLIENT", "LIST"]).await;
    let field = |line: &str, name: &str| {
        let word = line.split(' ').find_map(|word| word.strip_prefix(name));
        word.unwrap().to_owned()
    };
    let lines = list.as_str().unwrap().lines().filter(|line| line.contains("name=piping"));
    lines.filter(|line| line.contains("cmd=get")).map(|line| field(line, "id=")).collect()
}

/// Reads until there is a pipe beside the reader, and gives both of them back.
async fn until_piped(server: &RedisServer, store: &RedisStore) -> HashSet<String> {
    let mut found = HashSet::new();
    eventually(PATIENCE, async || {
        for answer in read_all(store, &names(64)).await {
            let _ = answer;
        }
        // The shared connection says something else.
        let _ = set(store, "any", "").await;
        found = reading(server).await;
        found.len() == 2
    })
    .await;
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_gets_its_own() {
    let server = RedisServer::start().await;
    let store = RedisStore::builder().url(server.url()).client_name(NAME).build().unwrap();
    let names = names(400);
    let value = |n: usize| match n % 4 {
        0 => None,
        1 => Some(Vec::new()),
        2 => Some(names[n].clone().into_bytes()),
        _ => Some(names[n].repeat(3000).into_bytes()),
    };
    for (n, name) in names.iter().enumerate() {
        if let Some(value) = value(n) {
            server.set(name, value).await;
        }
    }
    for _ in 0..20 {
        for (n, found) in read_all(&store, &names).await.into_iter().enumerate() {
            assert!(found.unwrap() == value(n), "{n} got the answer of another");
        }
    }
    set(&store, "any", "").await.unwrap();
    assert!(reading(&server).await.len() > 4, "there are pipes beside the readers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_another_type_and_one_that_is_forbidden_harm_no_other() {
    let server = RedisServer::start().await;
    server
        .command(["ACL", "SETUSER", "reader", "on", ">pw", "~open:*", "~any", "~k*", "+@all", "-mget"])
        .await;
    server.command(["RPUSH", "open:list", "x"]).await;
    server.set("open:k", "v").await;
    let store = one_of_each(server.url()).username("reader").password("pw").build().unwrap();
    let before = until_piped(&server, &store).await;
    let names: Vec<_> =
        (0..64).map(|n| ["open:k", "open:list", "shut:k", "open:none"][n % 4].to_owned()).collect();
    for _ in 0..10 {
        for (name, answer) in names.iter().zip(read_all(&store, &names).await) {
            match name.as_str() {
                "open:k" => assert_eq!(answer.unwrap().as_deref(), Some(b"v".as_ref())),
                "open:none" => assert_eq!(answer.unwrap(), None),
                "open:list" => assert_eq!(answer.unwrap_err().kind(), ErrorKind::WrongType),
                _ => assert_eq!(answer.unwrap_err().kind(), ErrorKind::PermissionDenied),
            }
        }
    }
    assert_eq!(until_piped(&server, &store).await, before, "and the same connections serve");
}

/// Two stacks over one store, one of which seals.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn encoded_and_sealed_values_share_a_pipe() {
    let server = RedisServer::start().await;
    let store = one_of_each(server.url()).build().unwrap();
    let keys = KeyRing::new(KeyId(1), EncryptionKey::generate().unwrap());
    let mut sealed = SerializeLayer::new(Bincode).layer(EncryptLayer::new(keys).layer(store.clone()));
    let clear = names(128);
    let secret: Vec<_> = clear.iter().map(|name| format!("sealed:{name}")).collect();
    for (clear, secret) in clear.iter().zip(&secret) {
        set(&store, clear, clear.as_str()).await.unwrap();
        sealed.call(CacheRequest::<String>::set(key(secret), secret.clone(), None)).await.unwrap();
    }
    until_piped(&server, &store).await;
    for _ in 0..5 {
        let (reads, secrets) =
            (start_all(&store, &clear), start_all_through(&sealed, &secret, String::clone));
        for (name, found) in clear.iter().zip(all(reads).await) {
            assert_eq!(found.unwrap().as_deref(), Some(name.as_bytes()));
        }
        for (name, found) in secret.iter().zip(all(secrets).await) {
            assert_eq!(found.unwrap().as_ref(), Some(name));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_there_are_no_read_connections_there_are_no_pipes() {
    let server = RedisServer::builder().tls(TlsFiles::generate()).start().await;
    let anybody = Tls::new().insecure_skip_verify();
    let builders =
        [one_of_each(server.url()).read_connections(0), one_of_each(server.tls_url()).tls(anybody)];
    for builder in builders {
        let store = builder.build().unwrap();
        for _ in 0..5 {
            read_all(&store, &names(64)).await.into_iter().for_each(|found| assert_eq!(found.unwrap(), None));
        }
        assert_eq!(reading(&server).await.len(), 1);
        drop(store);
        eventually(PATIENCE, async || reading(&server).await.is_empty()).await;
    }
    let cluster = Cluster::start().await;
    let store = RedisStore::builder().cluster([cluster.url()]).build().unwrap();
    read_all(&store, &names(64)).await.into_iter().for_each(|found| assert_eq!(found.unwrap(), None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_mutual_tls() {
    let files = TlsFiles::generate().require_client_cert();
    let read = |path| std::fs::read(path).unwrap();
    let tls = Tls::new().ca_pem(read(&files.ca_cert));
    let tls = tls.client_pem(read(&files.client_cert), read(&files.client_key));
    let server = RedisServer::builder().tls(files).start().await;
    let store = one_of_each(server.tls_url()).tls(tls).build().unwrap();
    until_piped(&server, &store).await;
    let names = names(100);
    for name in &names {
        server.set(name, name.repeat(1000)).await;
    }
    for (name, found) in names.iter().zip(read_all(&store, &names).await) {
        assert!(found.unwrap() == Some(name.repeat(1000).into_bytes()), "{name} got the answer of another");
    }
}

#[tokio::test]
async fn a_read_sees_what_was_written_before_it_began() {
    let server = RedisServer::start().await;
    let store = one_of_each(server.url()).build().unwrap();
    until_piped(&server, &store).await;
    let writers: Vec<_> = (0..64)
        .map(|n| {
            let (store, name) = (store.clone(), format!("mine:{n}"));
            tokio::spawn(async move {
                for round in 0..30 {
                    set(&store, &name, format!("{round}")).await.unwrap();
                    let found = get(&store, &name).await.unwrap();
                    assert_eq!(found, Some(format!("{round}").into_bytes()));
                }
            })
        })
        .collect();
    all(writers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_killed_while_idle_costs_no_error_and_is_made_again() {
    let server = RedisServer::start().await;
    let store = one_of_each(server.url()).build().unwrap();
    for _ in 0..5 {
        let before = until_piped(&server, &store).await;
        for id in &before {
            server.command(["CLIENT", "KILL", "ID", id]).await;
        }
        for found in read_all(&store, &names(64)).await {
            assert_eq!(found.unwrap(), None);
        }
        assert!(until_piped(&server, &store).await.is_disjoint(&before));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_cut_in_two_is_no_value_and_heals() {
    let server = RedisServer::start().await;
    let proxy = FaultProxy::start(server.addr()).await;
    let store = one_of_each(proxy.url()).build().unwrap();
    let names = names(64);
    for name in &names {
        server.set(name, vec![b'x'; 1000]).await;
    }
    for cut in [1, 4, 6, 500, 1006, 1007, 1008, 5000] {
        until_piped(&server, &store).await;
        proxy.set(Fault::CutToClient(cut));
        let mut lost = 0;
        for found in read_all(&store, &names).await {
            match found {
                Ok(found) => assert!(found.is_some_and(|value| value == vec![b'x'; 1000])),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Connection);
                    lost += 1;
                }
            }
        }
        assert!(lost > 0);
        proxy.set(Fault::Pass);
        eventually(PATIENCE, async || store.state() == ConnectionState::Connected).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stands_still_fails_each_read_once_and_then_heals() {
    const LIMIT: Duration = Duration::from_secs(2);
    let server = RedisServer::start().await;
    let store = one_of_each(server.url()).connect_timeout(LIMIT).response_timeout(LIMIT).build().unwrap();
    until_piped(&server, &store).await;
    server.pause().await;
    let start = tokio::time::Instant::now();
    for answer in read_all(&store, &names(64)).await {
        assert_eq!(answer.unwrap_err().kind(), ErrorKind::Timeout);
    }
    // And not one time limit after another.
    assert!(start.elapsed() < 2 * LIMIT - LIMIT / 4, "{:?}", start.elapsed());
    server.resume().await;
    until_piped(&server, &store).await;
}

/// How many of 32 reads at a time are answered soon; the others are given up.
async fn answered_soon(store: &RedisStore) -> usize {
    let reads = start_all(store, &names(32)).into_iter();
    let aborts: Vec<_> = reads.as_slice().iter().map(JoinHandle::abort_handle).collect();
    let soon = reads.map(|read| tokio::time::timeout(Duration::from_millis(100), read));
    let answers = futures_util::future::join_all(soon).await;
    aborts.iter().for_each(tokio::task::AbortHandle::abort);
    answers.into_iter().filter(|answer| matches!(answer, Ok(Ok(Ok(_))))).count()
}

/// The callers give up long before the store's own time limit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_open_one_is_replaced() {
    let server = RedisServer::start().await;
    let proxy = FaultProxy::start(server.addr()).await;
    let store = one_of_each(proxy.url()).response_timeout(10 * PATIENCE).build().unwrap();
    let before = until_piped(&server, &store).await;
    proxy.set(Fault::Blackhole);
    assert_eq!(answered_soon(&store).await, 0);
    // Some more, who give up while those that come after them are served by others.
    let late: Vec<_> = (0..20).map(|n| start_all(&store, &names(2 + n))).collect();
    proxy.set(Fault::Pass);
    // The old ones stay dark.
    eventually(PATIENCE, async || answered_soon(&store).await == 32).await;
    let connections = proxy.connections();
    for read in late.into_iter().flatten() {
        read.abort();
        assert!(get(&store, "k1").await.is_ok());
    }
    assert_eq!(answered_soon(&store).await, 32);
    assert!(proxy.connections() <= connections + 3, "nobody takes away what others made");
    eventually(PATIENCE, async || until_piped(&server, &store).await.is_disjoint(&before)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_answers_what_is_under_way_and_refuses_the_rest() {
    let server = RedisServer::start().await;
    let proxy = FaultProxy::start(server.addr()).await;
    let store = one_of_each(proxy.url()).build().unwrap();
    let all_names = names(64);
    until_piped(&server, &store).await;
    proxy.set(Fault::Hold);
    let mut reads: Vec<_> = all_names.iter().map(|name| Box::pin(get(&store, name))).collect();
    for read in &mut reads {
        assert!(futures_util::poll!(read).is_pending());
    }
    call(&store, CacheRequest::<Encoded>::Close).await.unwrap();
    proxy.set(Fault::Pass);
    for under_way in reads {
        assert_eq!(under_way.await.unwrap(), None);
    }
    for refused in read_all(&store, &all_names).await {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Closed);
    }
    eventually(PATIENCE, async || reading(&server).await.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_that_change_reach_the_pipes() {
    let server =
        RedisServer::builder().user("one", "pw", "~* +@all").user("two", "pw", "~* +@all").start().await;
    let store = one_of_each(server.url_as("one")).build().unwrap();
    let before = until_piped(&server, &store).await;
    store.set_credentials(Credentials::new("two", "pw")).await.unwrap();
    // An old one goes when it would be used.
    eventually(PATIENCE, async || until_piped(&server, &store).await.is_disjoint(&before)).await;
}

/// The runtime that serves the pipe goes away; another one reads on.
#[test]
fn a_runtime_that_is_shut_down_costs_the_others_one_error_at_most() {
    let build =
        || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (first, second) = (build(), build());
    let server = second.block_on(RedisServer::start());
    let store = one_of_each(server.url()).build().unwrap();
    first.block_on(until_piped(&server, &store));
    first.shutdown_timeout(PATIENCE);
    second.block_on(async {
        for found in read_all(&store, &names(64)).await {
            let healthy = found.as_ref().is_ok_and(Option::is_none);
            assert!(healthy || found.is_err_and(|error| error.kind() == ErrorKind::Connection));
        }
        until_piped(&server, &store).await;
        for found in read_all(&store, &names(64)).await {
            assert_eq!(found.unwrap(), None);
        }
    });
}
