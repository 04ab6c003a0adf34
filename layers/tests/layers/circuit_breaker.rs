//! The circuit breaker: every transition, what counts, and what it may never do.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use cachex_core::testing::{Gate, Leaf, Outcome, Readiness};
use cachex_core::{
    CacheError, CacheRequest, CacheResponse, ErrorKind, Key, LockOwner, OpClass, Retry, clock,
};
use cachex_layers::circuit_breaker::{
    ChangeCause, CircuitBreaker, CircuitBreakerLayer, CircuitHandle, CircuitState,
};
use proptest::prelude::*;
use tokio::task::JoinHandle;
use tower::{Layer, Service, ServiceExt};

mod classes;
mod closed;
mod events;
mod forced;
mod half_open;
mod open;
mod slow;
mod windows;

type Answer = Result<CacheResponse<String>, CacheError>;
type Stack = CircuitBreaker<Leaf<String>>;

const SECOND: Duration = Duration::from_secs(1);

/// A breaker that opens after two failures in a row, for exactly a second, doubled up to four.
fn quick() -> CircuitBreakerLayer {
    CircuitBreakerLayer::default()
        .consecutive_failures(2)
        .open_duration(SECOND)
        .max_open_duration(4 * SECOND)
        .open_jitter(0.0)
        .half_open_probes(2)
        .probe_lease(10 * SECOND)
}

/// A breaker that only counts.
fn counting() -> CircuitBreakerLayer {
    CircuitBreakerLayer::default().minimum_calls(u32::MAX)
}

fn key() -> Key {
    Key::new("k").unwrap()
}

fn get() -> CacheRequest<String> {
    CacheRequest::get(key())
}

fn set() -> CacheRequest<String> {
    CacheRequest::set(key(), "v".to_owned(), None)
}

fn failure(kind: ErrorKind) -> Outcome<String> {
    Outcome::err(CacheError::new(kind, "planted"))
}

fn lost() -> Outcome<String> {
    failure(ErrorKind::Connection)
}

async fn ask(stack: &Stack, request: CacheRequest<String>) -> Answer {
    stack.clone().oneshot(request).await
}

fn spawn(stack: &Stack) -> JoinHandle<Answer> {
    tokio::spawn(stack.clone().oneshot(get()))
}

fn kind(answer: Answer) -> Option<ErrorKind> {
    answer.err().map(|error| error.kind())
}

struct Bench {
    leaf: Leaf<String>,
    stack: Stack,
    reads: CircuitHandle,
}

fn bench(layer: CircuitBreakerLayer) -> Bench {
    let leaf = Leaf::new();
    let reads = layer.handle().circuit(OpClass::Read);
    Bench { stack: layer.layer(leaf.clone()), leaf, reads }
}

impl Bench {
    async fn get(&self) -> Answer {
        ask(&self.stack, get()).await
    }

    async fn fail(&self, times: usize) {
        for _ in 0..times {
            self.leaf.push(lost());
            assert_eq!(kind(self.get().await), Some(ErrorKind::Connection));
        }
    }

    async fn succeed(&self, times: usize) {
        for _ in 0..times {
            self.get().await.unwrap();
        }
    }

    /// Opened, and past its wait.
    async fn half_open_next(layer: CircuitBreakerLayer) -> Self {
        let bench = bench(layer);
        bench.fail(2).await;
        assert_eq!(bench.reads.state(), CircuitState::Open);
        tokio::time::advance(SECOND).await;
        bench
    }

    fn counts(&self) -> (u64, u64, u64) {
        let snapshot = self.reads.snapshot();
        (snapshot.calls, snapshot.failures, snapshot.slow_calls)
    }
}

#[test]
fn settings_are_clamped_and_shown() {
    let layer = CircuitBreakerLayer::default()
        .name("sessions")
        .failure_rate(7.0)
        .slow_calls(SECOND, f64::NAN)
        .count_window(0)
        .consecutive_failures(0)
        .half_open_probes(0)
        .open_jitter(-1.0);
    let shown = format!("{layer:?}");
    for part in [
        "name: \"sessions\"",
        "window: Calls(1)",
        "failure_rate: 1.0",
        "rate: 1.0",
        "consecutive_failures: Some(1)",
        "half_open_probes: 1",
        "open_jitter: 0.0",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    let stack = layer.layer(Leaf::<String>::new());
    assert!(format!("{stack:?}").contains("read: Closed"), "{stack:?}");
}
