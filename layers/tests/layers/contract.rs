//! Every layer keeps the contract of `cachex_core::testing`.

use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use cachex_core::testing::{Contract, KEY_MARKER, Leaf, Rule, VALUE_MARKER};
use cachex_core::{CacheRequest, Encoded, Key, OpClass, Sealed};
use cachex_layers::batch::BatchLayer;
use cachex_layers::bulkhead::BulkheadLayer;
use cachex_layers::circuit_breaker::CircuitBreakerLayer;
use cachex_layers::encrypt::{EncryptLayer, EncryptionKey, KeyId, KeyRing};
use cachex_layers::metrics::MetricsLayer;
use cachex_layers::rate_limit::RateLimitLayer;
use cachex_layers::retry::RetryLayer;
use cachex_layers::serialize::{Bincode, Json, SerializeLayer};
use cachex_layers::timeout::TimeoutLayer;
use cachex_layers::trace::TraceLayer;
use metrics_util::debugging::DebuggingRecorder;
use tower::ServiceBuilder;
use tower_layer::Layer;
use tower_service::Service;

#[test]
fn trace() {
    let check = || {
        Contract::new(TraceLayer::new).check_all();
        Contract::new(|| TraceLayer::new().redact_keys(true)).check_all();
    };
    // Nobody listens, and somebody does.
    check();
    let listener =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(std::io::sink).finish();
    tracing::subscriber::with_default(listener, check);
}

#[test]
fn metrics() {
    let check = || Contract::new(MetricsLayer::new).check_all();
    check();
    metrics::with_local_recorder(&DebuggingRecorder::new(), check);
}

#[test]
fn rate_limit() {
    Contract::new(|| RateLimitLayer::per_second(u32::MAX)).check_all();
    // One that makes nearly every call wait.
    Contract::new(|| RateLimitLayer::per_second(10_000).burst(1).wait(Duration::from_secs(60))).check_all();
    Contract::new(|| RateLimitLayer::per_second(u32::MAX).class(OpClass::Read, u32::MAX)).check_all();
}

#[test]
fn batch() {
    // The first passes alone, the others share a read.
    Contract::new(BatchLayer::new).merging(2).check_all();
    Contract::new(|| BatchLayer::builder().lanes(1).max_batch(1).build().unwrap()).merging(2).check_all();
}

#[test]
fn bulkhead() {
    // As many at once as the suite needs, and nobody queues: a permit that leaks is missed at once.
    Contract::new(|| BulkheadLayer::new(8).queue(0)).check_all();
    // Those above that wait their turn.
    Contract::new(|| BulkheadLayer::new(8).queue(64).queue_timeout(Duration::from_secs(60))).check_all();
    // Fewer than the suite needs: the rest waits its turn.
    let narrow = Contract::new(|| BulkheadLayer::new(2).queue(64).queue_timeout(Duration::from_secs(60)));
    for rule in Rule::ALL {
        // These want eight in flight.
        if !matches!(rule, Rule::Clones | Rule::Cancellation) {
            narrow.check(rule);
        }
    }
}

#[test]
fn circuit_breaker() {
    Contract::new(|| CircuitBreakerLayer::default().minimum_calls(u32::MAX)).check_all();
}

#[test]
fn timeout() {
    Contract::new(|| TimeoutLayer::new(Duration::from_secs(5))).check_all();
}

#[test]
fn serialize() {
    Contract::codec(|| SerializeLayer::new(Bincode), |number| format!("{VALUE_MARKER}:{number}")).check_all();
    Contract::codec(|| SerializeLayer::new(Json), |number| vec![number, 7]).check_all();
}

#[test]
fn encrypt() {
    let keys = KeyRing::new(KeyId(1), EncryptionKey::generate().unwrap());
    let layer = move || EncryptLayer::new(keys.clone());
    Contract::<Encoded, Sealed, _>::codec(layer, encoded).check_all();
}

/// Serialize over encrypt, as they stand in a stack.
#[test]
fn both_codecs() {
    let keys = KeyRing::new(KeyId(1), EncryptionKey::generate().unwrap());
    let layer = move || {
        ServiceBuilder::new()
            .layer(SerializeLayer::new(Bincode))
            .layer(EncryptLayer::new(keys.clone()))
            .into_inner()
    };
    Contract::<String, Sealed, _>::codec(layer, |number| format!("{VALUE_MARKER}:{number}")).check_all();
}

/// What serialize makes of a value, for the layers beneath it.
fn encoded(number: u32) -> Encoded {
    let leaf = Leaf::<Encoded>::new();
    let mut service = SerializeLayer::new(Bincode).layer(leaf.clone());
    let mut cx = Context::from_waker(Waker::noop());
    let key = Key::new(format!("{KEY_MARKER}:{number}")).unwrap();
    assert!(Service::<CacheRequest<String>>::poll_ready(&mut service, &mut cx).is_ready());
    let request = CacheRequest::<String>::set(key, format!("{VALUE_MARKER}:{number}"), None);
    assert!(pin!(service.call(request)).poll(&mut cx).is_ready());
    let value = leaf.take_requests()[0].values().next().map(|(_, value)| Encoded::clone(value));
    value.unwrap()
}

#[test]
fn retry() {
    Contract::new(RetryLayer::new).check_all();
    // With many attempts: whatever one leaves behind adds up.
    Contract::new(|| RetryLayer::new().attempts(10).budget(1.0, 1000, 1000)).check_all();
}
