//! Settings, and what they bound.

use cachex_core::{CacheRequest, Effect, ErrorKind, Key, Op, Retry};
use cachex_layers::BatchLayer;
use tower::Layer;

use super::{Bench, asked, call, found, key};

#[test]
fn settings_are_shown() {
    let layer = BatchLayer::builder().lanes(2).max_batch(64).max_key_bytes(8192).queue(100).build().unwrap();
    let settings = "lanes: 2, max_batch: 64, max_key_bytes: 8192, queue: 100";
    assert_eq!(format!("{layer:?}"), format!("BatchLayer {{ {settings} }}"));
    let stack = layer.layer(cachex_core::testing::Leaf::<String>::new());
    assert!(format!("{stack:?}").starts_with(&format!("Batch {{ {settings}, inner: Leaf")), "{stack:?}");
    let defaults = "BatchLayer { lanes: 4, max_batch: 256, max_key_bytes: 65536, queue: 4096 }";
    assert_eq!(format!("{:?}", BatchLayer::default()), defaults);
    assert!(format!("{:?}", layer.handle()).contains("queued: 0"));
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let new = BatchLayer::builder;
    let refused = [
        (new().lanes(0), "lanes is 0, not 1 to 256"),
        (new().lanes(257), "lanes"),
        (new().max_batch(0), "max_batch is 0"),
        (new().max_batch(16_385), "max_batch"),
        (new().max_key_bytes(Key::MAX_LEN - 1), "max_key_bytes is 4095, not 4096"),
        (new().max_key_bytes(usize::MAX), "max_key_bytes"),
        (new().queue(0), "queue is 0"),
        (new().queue(usize::MAX), "queue"),
    ];
    for (builder, said) in refused {
        let error = builder.build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(said), "{error}");
    }
    let widest = new().lanes(256).max_batch(16 << 10).max_key_bytes(16 << 20).queue(1 << 20);
    assert!(widest.build().is_ok());
}

/// How many keys each call of the leaf had, after the first.
fn sizes(bench: &Bench) -> Vec<usize> {
    asked(&bench.leaf).iter().skip(1).map(|(_, keys)| keys.len()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_batch_has_at_most_so_many_keys() {
    let bench = Bench::with(|builder| builder.max_batch(4));
    let first = bench.get("first");
    let calls: Vec<_> = (0..10).map(|number| (number, bench.get(number.to_string()))).collect();
    bench.gate.open();
    drop(first.await);
    for (number, call) in calls {
        assert_eq!(found(call.await).unwrap(), number.to_string());
    }
    assert_eq!(sizes(&bench), [4, 4, 2]);
    assert_eq!((bench.state().batches, bench.state().largest_batch), (3, 4));
    assert_eq!(bench.leaf.peak_in_flight(), 1, "one batch at a time in a lane");
}

#[tokio::test(start_paused = true)]
async fn a_batch_has_at_most_so_many_bytes_of_keys() {
    let bench = Bench::with(|builder| builder.max_key_bytes(Key::MAX_LEN));
    let first = bench.get("first");
    let longest = "l".repeat(Key::MAX_LEN);
    let names = ["a".repeat(2000), "b".repeat(2000), "c".repeat(97), longest, "d".to_owned(), "e".to_owned()];
    let calls: Vec<_> = names.iter().map(|name| (name, bench.get(name))).collect();
    bench.gate.open();
    drop(first.await);
    for (name, call) in calls {
        assert_eq!(found(call.await).unwrap(), *name);
    }
    assert_eq!(sizes(&bench), [2, 1, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn whoever_leaves_makes_room() {
    let bench = Bench::with(|builder| builder.max_batch(2).max_key_bytes(Key::MAX_LEN).queue(2));
    let first = bench.get("first");
    for _ in 0..100 {
        // Of a full queue and a full batch, one leaves and another comes.
        let calls = [bench.get("a".repeat(2048)), bench.get("b".repeat(2048))];
        drop(calls);
    }
    let kept = bench.get("k".repeat(2048));
    for _ in 0..100 {
        drop(bench.get("a".repeat(2048)));
    }
    let last = bench.get("l".repeat(2048));
    bench.gate.open();
    drop(first.await);
    assert_eq!(found(kept.await).unwrap().len(), 2048);
    assert_eq!(found(last.await).unwrap().len(), 2048);
    assert_eq!(sizes(&bench), [2]);
    assert_eq!((bench.state().requests, bench.state().rejected), (303, 0));
}

#[tokio::test(start_paused = true)]
async fn too_many_who_wait_are_refused() {
    let bench = Bench::with(|builder| builder.queue(3));
    let first = bench.get("first");
    let calls: Vec<_> = (0..3).map(|number| bench.get(number.to_string())).collect();
    for _ in 0..2 {
        let error = call(&bench.stack, CacheRequest::get(key("late"))).await.unwrap_err();
        assert_eq!((error.kind(), error.effect()), (ErrorKind::Overloaded, Effect::None));
        assert!(error.kind().is_rejection());
        assert!(matches!(error.retry(), Retry::After(_)));
    }
    assert_eq!((bench.state().queued, bench.state().rejected, bench.state().requests), (3, 2, 6));
    // It is a bound on reads that wait, and on nothing else.
    assert!(call(&bench.stack, CacheRequest::set(key("k"), "v".to_owned(), None)).await.is_ok());
    bench.gate.open();
    drop(first.await);
    for (number, call) in calls.into_iter().enumerate() {
        assert_eq!(found(call.await).unwrap(), number.to_string());
    }
    assert_eq!(asked(&bench.leaf).last().unwrap().0, Op::GetMany);
    bench.assert_idle().await;
}
