//! Every layer keeps the contract of `cachex_core::testing`.

use std::time::Duration;

use cachex_core::testing::Contract;
use cachex_layers::circuit_breaker::CircuitBreakerLayer;
use cachex_layers::metrics::MetricsLayer;
use cachex_layers::timeout::TimeoutLayer;
use cachex_layers::trace::TraceLayer;

#[test]
fn trace() {
    Contract::new(TraceLayer::new).check_all();
    Contract::new(|| TraceLayer::new().redact_keys(true)).check_all();
}

#[test]
fn metrics() {
    Contract::new(MetricsLayer::new).check_all();
}

#[test]
fn circuit_breaker() {
    Contract::new(|| CircuitBreakerLayer::default().minimum_calls(u32::MAX)).check_all();
}

#[test]
fn timeout() {
    Contract::new(|| TimeoutLayer::new(Duration::from_secs(5))).check_all();
}
