use std::collections::BTreeMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use cachex_core::testing::{Leaf, Outcome};
use cachex_core::{CacheError, CacheRequest, CacheResponse, Entry, ErrorKind, Key, Op};
use cachex_layers::metrics::{MetricsLayer, describe_metrics, names};
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use tower::{Layer, Service, ServiceExt};

fn key() -> Key {
    Key::new("user:42").unwrap()
}

fn get() -> CacheRequest<u32> {
    CacheRequest::get(key())
}

fn hit() -> Option<Entry<u32>> {
    Some(Entry::new(1_u32))
}

/// Runs a test with a recorder of its own, under paused time.
fn recorded<F: Future>(test: impl FnOnce(Snapshotter) -> F) {
    let recorder = DebuggingRecorder::new();
    let seen = recorder.snapshotter();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    metrics::with_local_recorder(&recorder, || runtime.block_on(test(seen)));
}

/// What was recorded since the last look: series as `name{label=value,…}`.
fn series(seen: &Snapshotter) -> BTreeMap<String, DebugValue> {
    let show = |key: &metrics::Key| {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        format!("{}{{{}}}", key.name(), labels.join(","))
    };
    seen.snapshot().into_vec().into_iter().map(|(key, _, _, value)| (show(key.key()), value)).collect()
}

/// The counters that moved since the last look.
fn counted(seen: &Snapshotter) -> BTreeMap<String, u64> {
    series(seen)
        .into_iter()
        .filter_map(|(name, value)| match value {
            DebugValue::Counter(count) if count > 0 => Some((name, count)),
            _ => None,
        })
        .collect()
}

fn counts<const N: usize>(expected: [(&str, u64); N]) -> BTreeMap<String, u64> {
    expected.map(|(name, count)| (name.to_owned(), count)).into()
}

async fn call<S>(stack: &mut S, request: CacheRequest<u32>) -> Result<CacheResponse<u32>, CacheError>
where
    S: Service<CacheRequest<u32>, Response = CacheResponse<u32>, Error = CacheError>,
{
    stack.ready().await?.call(request).await
}

#[test]
fn operations_count_by_how_they_ended() {
    recorded(async |seen| {
        let leaf = Leaf::new();
        let mut stack = MetricsLayer::new().layer(leaf.clone());
        leaf.push(Outcome::hit(1_u32));
        leaf.push(Outcome::hit(1_u32));
        for _ in 0..3 {
            call(&mut stack, get()).await.unwrap();
        }
        call(&mut stack, CacheRequest::set(key(), 1_u32, None)).await.unwrap();
        leaf.push(Outcome::ok(CacheResponse::Applied(false)));
        call(&mut stack, CacheRequest::set(key(), 1_u32, None)).await.unwrap();
        call(&mut stack, CacheRequest::exists(key())).await.unwrap();
        leaf.push(Outcome::err(CacheError::rejection(ErrorKind::CircuitOpen, None)));
        call(&mut stack, get()).await.unwrap_err();
        let expected = counts([
            ("cache_operations_total{operation=get,status=hit}", 2),
            ("cache_operations_total{operation=get,status=miss}", 1),
            ("cache_operations_total{operation=get,status=error}", 1),
            ("cache_operations_total{operation=set,status=ok}", 2),
            ("cache_operations_total{operation=exists,status=ok}", 1),
            ("cache_errors_total{type=circuit_open}", 1),
        ]);
        assert_eq!(counted(&seen), expected);
    });
}

#[test]
fn a_read_of_several_keys_is_a_hit_when_it_finds_them_all() {
    recorded(async |seen| {
        let leaf = Leaf::new();
        let mut stack = MetricsLayer::new().layer(leaf.clone());
        for entries in [vec![hit(), hit()], vec![hit(), None], vec![None, None]] {
            leaf.push(Outcome::ok(CacheResponse::Many(entries)));
            call(&mut stack, CacheRequest::get_many(vec![key(), key()])).await.unwrap();
        }
        let expected = counts([
            ("cache_operations_total{operation=mget,status=hit}", 1),
            ("cache_operations_total{operation=mget,status=miss}", 2),
        ]);
        assert_eq!(counted(&seen), expected);
    });
}

#[test]
fn every_operation_is_named_by_its_label() {
    recorded(async |seen| {
        let leaf = Leaf::new();
        let mut stack = MetricsLayer::new().layer(leaf.clone());
        let requests = [
            CacheRequest::delete(key()),
            CacheRequest::ttl(key()),
            CacheRequest::increment(key(), 1, None),
            CacheRequest::Subscribe,
            CacheRequest::Ping,
            CacheRequest::Close,
        ];
        let mut expected = BTreeMap::new();
        for request in requests {
            expected.insert(format!("cache_operations_total{{operation={},status=ok}}", request.op()), 1);
            call(&mut stack, request).await.unwrap();
        }
        assert_eq!(counted(&seen), expected);
    });
}

#[test]
fn errors_count_once_by_type() {
    recorded(async |seen| {
        let leaf = Leaf::new();
        let mut stack = MetricsLayer::new().layer(leaf.clone());
        let kinds = [
            ErrorKind::InvalidKey,
            ErrorKind::Timeout,
            ErrorKind::Decrypt,
            ErrorKind::Internal,
            ErrorKind::Timeout,
        ];
        for kind in kinds {
            leaf.push(Outcome::err(CacheError::new(kind, "planted")));
            call(&mut stack, get()).await.unwrap_err();
        }
        let expected = counts([
            ("cache_operations_total{operation=get,status=error}", 5),
            ("cache_errors_total{type=invalid_key}", 1),
            ("cache_errors_total{type=timeout}", 2),
            ("cache_errors_total{type=decrypt}", 1),
            ("cache_errors_total{type=internal}", 1),
        ]);
        assert_eq!(counted(&seen), expected);
    });
}

#[test]
fn durations_are_in_seconds_and_include_failures() {
    recorded(async |seen| {
        let leaf = Leaf::new();
        let mut stack = MetricsLayer::new().layer(leaf.clone());
        leaf.push(Outcome::hit(1_u32).after(Duration::from_millis(1_500)));
        leaf.push(Outcome::err(CacheError::new(ErrorKind::Busy, "busy")).after(Duration::from_millis(250)));
        call(&mut stack, get()).await.unwrap();
        call(&mut stack, get()).await.unwrap_err();
        let found = &series(&seen)["cache_operation_duration_seconds{operation=get}"];
        assert_eq!(*found, DebugValue::Histogram(vec![1.5.into(), 0.25.into()]));
    });
}

/// Reads that never wait are timed by sample; no call is missing from the histogram for longer than 15 calls.
#[test]
fn reads_that_never_wait_are_timed_by_sample() {
    recorded(async |seen| {
        let leaf = Leaf::new();
        let mut stack = MetricsLayer::new().layer(leaf.clone());
        let mut recorded = 0;
        for made in 1..=200 {
            call(&mut stack, get()).await.unwrap();
            recorded += timed(&seen, "get");
            assert!(recorded <= made && recorded + 15 >= made, "{recorded} of {made}");
            assert!(recorded == made || made > 16, "the first ones are timed each: {recorded} of {made}");
        }
        // A call that waits stands for itself alone, and a write always does.
        for _ in 0..40 {
            leaf.push(Outcome::hit(1_u32).after(Duration::from_secs(1)));
            call(&mut stack, get()).await.unwrap();
            assert_eq!(timed(&seen, "get"), 1);
            call(&mut stack, CacheRequest::set(key(), 1_u32, None)).await.unwrap();
            assert_eq!(timed(&seen, "set"), 1);
        }
    });
}

/// How many durations of an operation were recorded since the last look.
fn timed(seen: &Snapshotter, op: &str) -> usize {
    match series(seen).remove(&format!("{}{{operation={op}}}", names::DURATION)) {
        Some(DebugValue::Histogram(values)) => values.len(),
        _ => 0,
    }
}

#[test]
fn what_is_dropped_or_panics_counts_as_cancelled_and_is_not_timed() {
    recorded(async |seen| {
        let leaf = Leaf::new();
        let mut stack = MetricsLayer::new().layer(leaf.clone());
        leaf.push(Outcome::never());
        leaf.push(Outcome::never());
        leaf.push(Outcome::panic("planted"));
        leaf.push(Outcome::panic_in_call("planted"));

        let waiting = tokio::time::timeout(Duration::from_secs(1), call(&mut stack, get()));
        assert!(waiting.await.is_err());
        drop(stack.ready().await.unwrap().call(get())); // never polled
        let panicked = tokio::spawn({
            let mut stack = stack.clone();
            async move { call(&mut stack, get()).await }
        });
        assert!(panicked.await.is_err());
        stack.ready().await.unwrap();
        assert!(catch_unwind(AssertUnwindSafe(|| drop(stack.call(get())))).is_err());

        let all = series(&seen);
        assert_eq!(all["cache_operations_total{operation=get,status=cancelled}"], DebugValue::Counter(4));
        assert_eq!(all.len(), 1, "{all:?}");
    });
}

#[test]
fn a_name_tells_caches_apart_and_clones_share_series() {
    recorded(async |seen| {
        let layer = MetricsLayer::new().name("users");
        let mut users = layer.layer(Leaf::new());
        let mut clone = users.clone();
        let mut more_users = MetricsLayer::default().name("users".to_owned()).layer(Leaf::new());
        let mut orders = MetricsLayer::new().name("orders").layer(Leaf::new());
        call(&mut users, get()).await.unwrap();
        call(&mut clone, get()).await.unwrap();
        call(&mut more_users, get()).await.unwrap();
        call(&mut orders, CacheRequest::Ping).await.unwrap();
        let expected = counts([
            ("cache_operations_total{operation=get,status=miss,cache=users}", 3),
            ("cache_operations_total{operation=ping,status=ok,cache=orders}", 1),
        ]);
        assert_eq!(counted(&seen), expected);
        assert!(format!("{layer:?}{users:?}").contains("users"));
    });
}

/// The recorder is asked once per series: what would be a lookup per call otherwise.
#[test]
fn series_are_looked_up_once() {
    recorded(async |seen| {
        let mut stack = MetricsLayer::new().layer(Leaf::new());
        call(&mut stack, get()).await.unwrap();
        let elsewhere = DebuggingRecorder::new();
        let nothing = elsewhere.snapshotter();
        let _guard = metrics::set_default_local_recorder(&elsewhere);
        call(&mut stack, get()).await.unwrap();
        assert!(series(&nothing).is_empty());
        assert_eq!(counted(&seen), counts([("cache_operations_total{operation=get,status=miss}", 2)]));
    });
}

#[test]
fn without_a_recorder_nothing_is_lost_but_the_figures() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let answer = runtime.block_on(call(&mut MetricsLayer::new().layer(Leaf::new()), get()));
    assert_eq!(answer.unwrap().is_hit(), Some(false));
}

#[test]
fn series_are_described() {
    recorded(async |seen| {
        describe_metrics();
        describe_metrics();
        let leaf = Leaf::new();
        leaf.push(Outcome::err(CacheError::new(ErrorKind::Busy, "busy")));
        call(&mut MetricsLayer::new().layer(leaf), get()).await.unwrap_err();
        let found: Vec<_> = seen.snapshot().into_vec();
        assert_eq!(found.len(), 3);
        for (key, unit, text, _) in found {
            let expected = if key.key().name() == names::DURATION {
                metrics::Unit::Seconds
            } else {
                metrics::Unit::Count
            };
            assert_eq!(unit, Some(expected), "{key:?}");
            assert!(text.is_some_and(|text| !text.is_empty()), "{key:?}");
        }
    });
}

/// The table of series is indexed by the number of the operation.
#[test]
fn every_operation_has_its_place() {
    for (number, op) in Op::ALL.into_iter().enumerate() {
        assert_eq!(op as usize, number);
    }
}
