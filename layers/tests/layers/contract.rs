//! Every layer keeps the contract of `cachex_core::testing`.

use std::time::Duration;

use cachex_core::testing::{Contract, Rule};
use cachex_layers::bulkhead::BulkheadLayer;
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
fn bulkhead() {
    // As many at once as the suite needs, and nobody queues: a permit that leaks is missed at once.
    Contract::new(|| BulkheadLayer::new(8).queue(0)).check_all();
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
