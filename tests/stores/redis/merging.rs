//! Reads of one key that meet without a batch layer.

use std::collections::HashMap;
use std::time::Duration;

use cachex::CacheService;
use cachex::layers::{Bincode, EncryptLayer, EncryptionKey, KeyId, KeyRing, SerializeLayer};
use cachex::store::redis::{RedisStore, RedisStoreBuilder, Tls};
use cachex_core::{CacheError, CacheRequest, Encoded, ErrorKind, StoredBytes};
use cachex_test_support::{Cluster, Fault, FaultProxy, RedisServer, TlsFiles, eventually};
use tower_layer::Layer;
use tower_service::Service;

use super::{PATIENCE, call, get, key, set};

/// How often the server was asked for each command.
async fn calls(server: &RedisServer) -> HashMap<String, u64> {
    let info = server.command(["INFO", "commandstats"]).await;
    let lines = info.as_str().unwrap().lines();
    let told = lines.filter_map(|line| line.strip_prefix("cmdstat_")?.split_once(":calls="));
    told.map(|(name, rest)| (name.to_owned(), rest.split(',').next().unwrap().parse().unwrap())).collect()
}

/// Has every name read at a time, each by a task of its own; answers in their order.
async fn read_all(store: &RedisStore, names: &[String]) -> Vec<Result<Option<Vec<u8>>, CacheError>> {
    read_all_through(store, names, |value: &Encoded| value.as_bytes().to_vec()).await
}

async fn read_all_through<V, S, T>(
    stack: &S,
    names: &[String],
    told: fn(&V) -> T,
) -> Vec<Result<Option<T>, CacheError>>
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
    let tasks: Vec<_> = names.iter().map(ask).collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    answers
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("k{n}")).collect()
}

/// Reads until some have met: tasks of an idle runtime may well run one after another.
async fn until_merged(store: &RedisStore, names: &[String]) {
    let before = store.merged_reads().batches;
    eventually(PATIENCE, async || {
        read_all(store, names).await.into_iter().for_each(|answer| drop(answer.unwrap()));
        store.merged_reads().batches > before
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_gets_its_own_and_all_of_them_are_gets() {
    let server = RedisServer::start().await;
    let store = RedisStore::connect(server.url()).unwrap();
    let names = names(400);
    for name in names.iter().step_by(2) {
        set(&store, name, name.as_str()).await.unwrap();
    }
    let expected: Vec<_> =
        names.iter().enumerate().map(|(n, name)| (n % 2 == 0).then(|| name.clone().into_bytes())).collect();
    for _ in 0..20 {
        let found: Vec<_> = read_all(&store, &names).await.into_iter().map(Result::unwrap).collect();
        assert!(found == expected);
    }
    let state = store.merged_reads();
    assert_eq!((state.requests, state.queued, state.rejected), (8000, 0, 0));
    assert!(state.batches > 0 && state.batched_keys > 1000, "{state:?}");
    let calls = calls(&server).await;
    assert!(calls["get"] >= 8000 && !calls.contains_key("mget"), "{calls:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_another_type_is_an_error_in_company_too_and_harms_no_other() {
    let server = RedisServer::start().await;
    let store = RedisStore::builder().url(server.url()).connections(1).read_connections(1).build().unwrap();
    set(&store, "good", "v").await.unwrap();
    server.command(["RPUSH", "list", "x"]).await;
    let names: Vec<_> = (0..64).map(|n| ["good", "list", "none"][n % 3].to_owned()).collect();
    eventually(PATIENCE, async || {
        for (name, answer) in names.iter().zip(read_all(&store, &names).await) {
            match (name.as_str(), answer) {
                ("good", answer) => assert_eq!(answer.unwrap().as_deref(), Some(b"v".as_ref())),
                ("none", answer) => assert_eq!(answer.unwrap(), None),
                (_, answer) => assert_eq!(answer.unwrap_err().kind(), ErrorKind::WrongType),
            }
        }
        store.merged_reads().batches > 5
    })
    .await;
    assert_eq!(get(&store, "good").await.unwrap().as_deref(), Some(b"v".as_ref()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_forbidden_harms_no_other() {
    let server = RedisServer::start().await;
    // Who may not ask for many at once can still be answered.
    server.command(["ACL", "SETUSER", "reader", "on", ">pw", "~open:*", "+@all", "-mget"]).await;
    server.set("open:k", "v").await;
    let builder = RedisStore::builder().url(server.url()).username("reader").password("pw");
    let store = builder.connections(1).read_connections(1).build().unwrap();
    let names: Vec<_> = (0..64).map(|n| if n % 8 == 0 { "shut:k" } else { "open:k" }.to_owned()).collect();
    eventually(PATIENCE, async || {
        for (name, answer) in names.iter().zip(read_all(&store, &names).await) {
            match name.as_str() {
                "open:k" => assert_eq!(answer.unwrap().as_deref(), Some(b"v".as_ref())),
                _ => assert_eq!(answer.unwrap_err().kind(), ErrorKind::PermissionDenied),
            }
        }
        store.merged_reads().batches > 5
    })
    .await;
}

/// Two stacks over one store, one of which seals: each has reads of its own that meet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn encoded_and_sealed_reads_meet_each_their_own() {
    let server = RedisServer::start().await;
    let store = RedisStore::connect(server.url()).unwrap();
    let keys = KeyRing::new(KeyId(1), EncryptionKey::generate().unwrap());
    let mut sealed = SerializeLayer::new(Bincode).layer(EncryptLayer::new(keys).layer(store.clone()));
    let names = names(128);
    let secret: Vec<_> = names.iter().map(|name| format!("sealed:{name}")).collect();
    for (name, secret) in names.iter().zip(&secret) {
        set(&store, name, name.as_str()).await.unwrap();
        sealed.call(CacheRequest::<String>::set(key(secret), secret.clone(), None)).await.unwrap();
    }
    for _ in 0..2 {
        until_merged(&store, &names).await;
        let before = store.merged_reads().batches;
        eventually(PATIENCE, async || {
            let found = read_all_through(&sealed, &secret, String::clone).await;
            for (name, found) in secret.iter().zip(found) {
                assert_eq!(found.unwrap().as_ref(), Some(name));
            }
            store.merged_reads().batches > before
        })
        .await;
    }
}

/// Reads as many at a time as would meet, and tells that none did.
async fn assert_none_meet(store: &RedisStore) {
    let names = names(128);
    for _ in 0..5 {
        for found in read_all(store, &names).await {
            assert_eq!(found.unwrap(), None);
        }
    }
    assert_eq!(store.merged_reads().batches, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_can_be_turned_off_and_takes_read_connections() {
    let server = RedisServer::builder().tls(TlsFiles::generate()).start().await;
    let new = |url: String| RedisStore::builder().url(url);
    let anybody = Tls::new().insecure_skip_verify();
    let builders: [RedisStoreBuilder; 3] = [
        new(server.url()).merge_reads(false),
        new(server.url()).read_connections(0),
        new(server.tls_url()).tls(anybody),
    ];
    for builder in builders {
        let store = builder.build().unwrap();
        assert_none_meet(&store).await;
        assert_eq!(store.merged_reads().requests, 0);
    }
    let cluster = Cluster::start().await;
    assert_none_meet(&RedisStore::builder().cluster([cluster.url()]).build().unwrap()).await;
}

/// Nobody may drive such a runtime after the call that started a batch, and others would wait for it.
#[tokio::test]
async fn callers_on_a_current_thread_runtime_go_alone() {
    let server = RedisServer::start().await;
    let store = RedisStore::connect(server.url()).unwrap();
    assert_none_meet(&store).await;
    assert!(store.merged_reads().requests > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_values_do_not_wait_for_each_other() {
    let server = RedisServer::start().await;
    let store = RedisStore::connect(server.url()).unwrap();
    let large = names(64);
    let small: Vec<_> = large.iter().map(|name| format!("small:{name}")).collect();
    for (large, small) in large.iter().zip(&small) {
        server.set(large, vec![b'x'; 64 * 1024]).await;
        server.set(small, "v").await;
    }
    until_merged(&store, &small).await;
    for name in &large[..8] {
        assert_eq!(get(&store, name).await.unwrap().unwrap().len(), 64 * 1024);
    }
    let before = store.merged_reads();
    for found in read_all(&store, &large).await {
        assert_eq!(found.unwrap().unwrap().len(), 64 * 1024);
    }
    assert_eq!(store.merged_reads(), before);
    // Values became small again.
    until_merged(&store, &small).await;
}

/// A batch is under way, and its answer does not come: who comes behind it is served another way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_without_an_answer_holds_up_nobody_for_long() {
    let server = RedisServer::start().await;
    let proxy = FaultProxy::start(server.addr()).await;
    let builder = RedisStore::builder().url(proxy.url()).connections(1).read_connections(1);
    let store = builder.response_timeout(10 * PATIENCE).build().unwrap();
    let all = names(64);
    until_merged(&store, &all).await;
    proxy.set(Fault::DropReplies);
    let gets = async || calls(&server).await["get"];
    let (before, batches) = (gets().await, store.merged_reads().batches);
    let stuck: Vec<_> = (0..4)
        .flat_map(|_| &all)
        .map(|name| {
            let (store, request) = (store.clone(), CacheRequest::<Encoded>::get(key(name)));
            tokio::spawn(async move { call(&store, request).await })
        })
        .collect();
    // The server is asked for all of them, long before the first could run into the store's time limit.
    eventually(PATIENCE / 2, async || {
        let state = store.merged_reads();
        state.batches > batches && state.queued == 0 && gets().await - before >= all.len() as u64
    })
    .await;
    stuck.iter().for_each(tokio::task::JoinHandle::abort);
    proxy.set(Fault::Pass);
    proxy.reset_connections();
    eventually(PATIENCE, async || get(&store, "k0").await.is_ok()).await;
    until_merged(&store, &all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stands_still_fails_each_read_once() {
    const LIMIT: Duration = Duration::from_secs(2);
    let server = RedisServer::start().await;
    let builder = RedisStore::builder().url(server.url()).connections(1).read_connections(1);
    let store = builder.connect_timeout(LIMIT).response_timeout(LIMIT).build().unwrap();
    let names = names(64);
    until_merged(&store, &names).await;
    server.pause().await;
    let start = tokio::time::Instant::now();
    for answer in read_all(&store, &names).await {
        assert_eq!(answer.unwrap_err().kind(), ErrorKind::Timeout);
    }
    // And not one time limit after another.
    assert!(start.elapsed() < 2 * LIMIT - LIMIT / 4, "{:?}", start.elapsed());
    server.resume().await;
    eventually(PATIENCE, async || get(&store, "k0").await.is_ok()).await;
    until_merged(&store, &names).await;
}
