use cachex_core::{CacheError, CacheRequest, CacheResponse, Key};
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use tower::{Layer, Service, ServiceExt};

use super::{MetricsLayer, names};
use crate::observed;

/// Bytes told in `call` and in later polls are counted, by the layer they were told beneath, and only by that.
#[test]
fn bytes_of_what_is_beneath_are_counted() {
    let recorder = DebuggingRecorder::new();
    let seen = recorder.snapshotter();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let store = tower::service_fn(|request: CacheRequest<u32>| {
                if matches!(request, CacheRequest::Set(_)) {
                    observed::stored_bytes(100);
                }
                async move {
                    if matches!(request, CacheRequest::Get(_)) {
                        tokio::task::yield_now().await;
                        observed::loaded_bytes(20);
                        tokio::task::yield_now().await;
                        observed::loaded_bytes(3);
                    }
                    Ok::<_, CacheError>(CacheResponse::<u32>::Done)
                }
            });
            let mut users = MetricsLayer::new().name("users").layer(store);
            let mut unnamed = MetricsLayer::new().layer(store);
            let key = Key::new("user:42").unwrap();
            observed::loaded_bytes(50_000); // beneath nobody
            users.ready().await.unwrap().call(CacheRequest::get(key.clone())).await.unwrap();
            users.ready().await.unwrap().call(CacheRequest::set(key.clone(), 1_u32, None)).await.unwrap();
            unnamed.ready().await.unwrap().call(CacheRequest::set(key, 1_u32, None)).await.unwrap();
        });
    });
    let mut found: Vec<_> = seen
        .snapshot()
        .into_vec()
        .into_iter()
        .filter(|(key, ..)| [names::BYTES_IN, names::BYTES_OUT].contains(&key.key().name()))
        .map(|(key, _, _, value)| (key.key().name().to_owned(), key.key().labels().count(), value))
        .collect();
    found.sort_by_key(|(name, labels, _)| (name.clone(), *labels));
    let expected = [
        ("cache_bytes_in_total".to_owned(), 0, DebugValue::Counter(100)),
        ("cache_bytes_in_total".to_owned(), 1, DebugValue::Counter(100)),
        ("cache_bytes_out_total".to_owned(), 1, DebugValue::Counter(23)),
    ];
    assert_eq!(found, expected);
}

#[test]
fn bytes_that_were_told_before_a_panic_are_counted() {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::task::{Context, Waker};

    let recorder = DebuggingRecorder::new();
    let seen = recorder.snapshotter();
    let store = tower::service_fn(|request: CacheRequest<u32>| {
        if matches!(request, CacheRequest::Get(_)) {
            observed::stored_bytes(100);
            panic!("in the call");
        }
        async move {
            observed::stored_bytes(20);
            if matches!(request, CacheRequest::Exists(_)) {
                panic!("in the poll");
            }
            Ok::<_, CacheError>(CacheResponse::<u32>::Done)
        }
    });
    let mut cache = MetricsLayer::new().layer(store);
    let key = Key::new("k").unwrap();
    metrics::with_local_recorder(&recorder, || {
        for request in [CacheRequest::get(key.clone()), CacheRequest::exists(key)] {
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                let mut cx = Context::from_waker(Waker::noop());
                assert!(std::pin::pin!(cache.call(request)).poll(&mut cx).is_ready());
            }));
            assert!(panicked.is_err());
        }
    });
    let counted = seen
        .snapshot()
        .into_vec()
        .into_iter()
        .find_map(|(key, _, _, value)| (key.key().name() == names::BYTES_IN).then_some(value));
    assert_eq!(counted, Some(DebugValue::Counter(120)));
}
