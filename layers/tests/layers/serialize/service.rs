//! The service: what it does with requests, answers, times and limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use cachex_core::testing::{Contract, VALUE_MARKER};
use cachex_core::{
    CacheRequest, CacheResponse, CacheService, Encoded, EntryMeta, ErrorKind, Key, Keys, Origin, StaleReason,
    Ttl, clock,
};
use cachex_layers::envelope::{self, Envelope, Header, Unreadable};
use cachex_layers::serialize::{Bincode, Json, Serialize, SerializeLayer};
use tower_layer::Layer;

use crate::envelope::shelf::{Shelf, ask, get};

fn key(number: u32) -> Key {
    Key::new(format!("n:{number}")).unwrap()
}

const fn is_cache_service<S: CacheService<String>>() {}
const _: () = is_cache_service::<Serialize<Shelf, Json>>();

#[test]
fn keeps_the_contract() {
    Contract::<String, Encoded, _>::codec(SerializeLayer::default, |number| {
        format!("{VALUE_MARKER}:{number}")
    })
    .check_all();
}

#[test]
fn many_values_travel_together() {
    let shelf = Shelf::default();
    let service = SerializeLayer::default().layer(shelf.clone());
    let pairs: Arc<[_]> = (0..3).map(|n| (key(n), Arc::new(n))).collect();
    ask(&service, CacheRequest::set_many(pairs, Duration::from_secs(1))).unwrap();
    shelf.put(&key(1), "12345");

    let keys = Keys::from_iter((0..4).map(key));
    let CacheResponse::Many(read) = ask::<u32, _>(&service, CacheRequest::get_many(keys.clone())).unwrap()
    else {
        panic!("not many")
    };
    let values: Vec<_> = read.iter().map(|entry| entry.as_ref().map(|entry| *entry.value)).collect();
    assert_eq!(values, [Some(0), None, Some(2), None]);
    assert_eq!(service.unreadable().count(ErrorKind::Decode), 1);

    let strict = SerializeLayer::default().on_unreadable(Unreadable::Error).layer(shelf);
    let error = ask::<u32, _>(&strict, CacheRequest::get_many(keys)).expect_err("one is a counter");
    assert_eq!(error.kind(), ErrorKind::Decode);
}

#[test]
fn a_layers_services_count_together() {
    let layer = SerializeLayer::default();
    let shelf = Shelf::default();
    shelf.put(&key(1), "12345");
    let (one, other) = (layer.layer(shelf.clone()), layer.layer(shelf));
    assert!(get::<u32, _>(&one, &key(1)).unwrap().is_none());
    assert!(get::<u32, _>(&other.clone(), &key(1)).unwrap().is_none());
    assert_eq!((layer.unreadable().total(), one.unreadable().total()), (2, 2));
    assert_eq!(SerializeLayer::default().unreadable().total(), 0);
}

#[test]
fn what_is_too_large_is_neither_written_nor_read() {
    let shelf = Shelf::default();
    let wide = SerializeLayer::default().layer(shelf.clone());
    let narrow =
        SerializeLayer::default().max_bytes(100).on_unreadable(Unreadable::Error).layer(shelf.clone());
    // One byte of length, 34 of envelope.
    ask::<String, _>(&narrow, CacheRequest::set(key(1), "x".repeat(65), None)).unwrap();
    assert_eq!(shelf.bytes(&key(1)).len(), 100);
    let error =
        ask::<String, _>(&narrow, CacheRequest::set(key(2), "x".repeat(66), None)).expect_err("101 bytes");
    assert_eq!((error.kind(), shelf.len()), (ErrorKind::TooLarge, 1));

    ask::<String, _>(&wide, CacheRequest::set(key(2), "x".repeat(66), None)).unwrap();
    assert!(get::<String, _>(&narrow, &key(1)).unwrap().is_some());
    assert_eq!(get::<String, _>(&narrow, &key(2)).expect_err("101 bytes").kind(), ErrorKind::TooLarge);
}

#[test]
fn a_sealed_value_is_not_mistaken_for_a_clear_one() {
    let shelf = Shelf::default();
    let service = SerializeLayer::default().on_unreadable(Unreadable::Error).layer(shelf.clone());
    // The header of a sealed envelope: flag 1, then cipher 1, key id, nonce, tag.
    let mut sealed = vec![0xCA, 0xC8, 1, 1, 1, 0];
    sealed.extend_from_slice(&[0; 20]);
    sealed.push(1);
    sealed.extend_from_slice(&[0; 4 + 24 + 16]);
    shelf.put(&key(1), sealed);
    assert_eq!(get::<u32, _>(&service, &key(1)).expect_err("sealed").kind(), ErrorKind::Decrypt);
}

#[test]
fn a_compressed_value_is_refused() {
    let shelf = Shelf::default();
    let service = SerializeLayer::default().on_unreadable(Unreadable::Error).layer(shelf.clone());
    let mut bytes = Vec::new();
    envelope::begin(
        &mut bytes,
        &Header { compression: 3, ..Header::new(cachex_core::CodecId::BINCODE) },
        &[],
    );
    bytes.push(7);
    envelope::finish(&mut bytes, 0, &key(1));
    shelf.put(&key(1), bytes);
    assert_eq!(get::<u8, _>(&service, &key(1)).expect_err("compressed").kind(), ErrorKind::Decode);
}

/// A wall clock that the test sets.
#[derive(Clone, Default)]
struct Wall(Arc<AtomicU64>);

impl Wall {
    fn set(&self, ms: u64) {
        self.0.store(ms, Ordering::Relaxed);
    }

    fn layer(&self) -> SerializeLayer<Bincode> {
        let wall = self.clone();
        SerializeLayer::default().wall_clock(move || {
            SystemTime::UNIX_EPOCH + Duration::from_millis(wall.0.load(Ordering::Relaxed))
        })
    }
}

#[tokio::test(start_paused = true)]
async fn an_entry_knows_its_age_and_what_is_left() {
    tokio::time::advance(Duration::from_secs(3600)).await;
    let (wall, shelf) = (Wall::default(), Shelf::default());
    let service = wall.layer().layer(shelf.clone());
    wall.set(1_000_000);
    ask(&service, CacheRequest::set(key(1), 7_u32, Duration::from_secs(60))).unwrap();
    ask(&service, CacheRequest::set(key(2), 7_u32, Ttl::Never)).unwrap();
    ask(&service, CacheRequest::set(key(3), 7_u32, Ttl::Default)).unwrap();

    wall.set(1_020_000);
    let entry = get::<u32, _>(&service, &key(1)).unwrap().expect("a hit");
    assert_eq!(entry.age(), Some(Duration::from_secs(20)));
    assert_eq!(entry.remaining(), Some(Duration::from_secs(40)));
    assert_eq!(entry.meta.stale, None);
    for number in [2, 3] {
        let entry = get::<u32, _>(&service, &key(number)).unwrap().expect("a hit");
        assert_eq!((entry.age(), entry.remaining()), (Some(Duration::from_secs(20)), None));
    }

    // The store still has what is past its lifetime: it is served, and says so.
    for (at, over) in [(1_060_000, 0), (1_061_500, 1500)] {
        wall.set(at);
        let entry = get::<u32, _>(&service, &key(1)).unwrap().expect("a hit");
        assert_eq!(entry.meta.stale, Some(StaleReason::Expired));
        assert_eq!(entry.meta.expires_at, Some(clock::now() - Duration::from_millis(over)));
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_store_knows_better_is_kept() {
    let (wall, shelf) = (Wall::default(), Shelf::default());
    let service = wall.layer().layer(shelf.clone());
    wall.set(1_000);
    ask(&service, CacheRequest::set(key(1), 7_u32, Duration::from_secs(1))).unwrap();
    let expires_at = Some(clock::now() + Duration::from_secs(99));
    let meta = EntryMeta::from_origin(Origin::Remote).expires_at(expires_at);
    shelf.put_with(&key(1), shelf.bytes(&key(1)), meta);
    wall.set(9_000);
    let entry = get::<u32, _>(&service, &key(1)).unwrap().expect("a hit");
    assert_eq!(
        (entry.meta.origin, entry.meta.expires_at, entry.meta.stale),
        (Origin::Remote, expires_at, None)
    );
}

#[tokio::test(start_paused = true)]
async fn a_wrong_clock_does_no_harm() {
    let (wall, shelf) = (Wall::default(), Shelf::default());
    let service = wall.layer().layer(shelf.clone());
    let times = [0, 1, 1_000_000, envelope::MAX_TIME_MS];
    for written in times {
        for ttl in [Ttl::Never, Ttl::After(Duration::from_millis(1)), Ttl::After(Ttl::MAX)] {
            wall.set(written);
            ask(&service, CacheRequest::set(key(1), 7_u32, ttl)).unwrap();
            for read in times {
                wall.set(read);
                let entry = get::<u32, _>(&service, &key(1)).unwrap().expect("a hit");
                if written > read {
                    assert_eq!(
                        entry.age(),
                        Some(Duration::ZERO),
                        "written in the future, at {written} read at {read}"
                    );
                }
            }
        }
    }
    // Before 1970 is 1970.
    let early = SerializeLayer::default().wall_clock(|| SystemTime::UNIX_EPOCH - Duration::from_secs(1));
    ask(&early.layer(shelf.clone()), CacheRequest::set(key(1), 7_u32, None)).unwrap();
    assert_eq!(Envelope::parse(&shelf.bytes(&key(1)), &key(1)).unwrap().header.created_ms, 0);
}

#[cfg(feature = "metrics")]
#[test]
fn an_unreadable_value_is_counted_once_by_whoever_sees_it() {
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};

    let recorder = DebuggingRecorder::new();
    let shelf = Shelf::default();
    shelf.put(&key(1), "12345");
    metrics::with_local_recorder(&recorder, || {
        assert!(get::<u32, _>(&SerializeLayer::default().layer(shelf.clone()), &key(1)).unwrap().is_none());
        // The error is for a metrics layer above to count.
        let strict = SerializeLayer::default().on_unreadable(Unreadable::Error).layer(shelf.clone());
        assert!(get::<u32, _>(&strict, &key(1)).is_err());
    });
    let counted = recorder.snapshotter().snapshot().into_vec();
    let [(name, _, _, DebugValue::Counter(1))] = &counted[..] else { panic!("{counted:?}") };
    assert_eq!(name.key().name(), "cache_errors_total");
    let labels: Vec<_> = name.key().labels().map(|label| (label.key(), label.value())).collect();
    assert_eq!(labels, [("type", "decode")]);
}

#[test]
fn debug_shows_the_settings() {
    let shown = format!("{:?}", SerializeLayer::new(Json).schema_version(4).max_bytes(9));
    for part in ["Json", "schema_version: 4", "max_bytes: 9", "on_unreadable: Miss"] {
        assert!(shown.contains(part), "{shown}");
    }
}
