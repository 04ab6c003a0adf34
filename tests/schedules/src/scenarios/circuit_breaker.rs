//! `layers/src/circuit_breaker`: the whole layer, with waits that are over at once.

use std::sync::Arc;
use std::time::Duration;

use cachex_core::{CacheError, CacheRequest, CacheResponse, ErrorKind, FillToken, OpClass};
use shuttle::future::block_on;
use shuttle::thread;
use tokio::task::yield_now;
use tower_layer::Layer;
use tower_service::Service;

use crate::circuit_breaker::{CircuitBreakerLayer, CircuitState};
use crate::tools::{Crowd, Leaf, MayBeGivenUp, chance, join, key};

const PROBES: usize = 2;

/// A breaker that opens at the first failure, may be probed at once, and never takes a probe's place away.
fn breaker() -> CircuitBreakerLayer {
    CircuitBreakerLayer::default()
        .consecutive_failures(1)
        .open_duration(Duration::ZERO)
        .open_jitter(0.0)
        .half_open_probes(PROBES as u32)
        .probe_lease(Duration::MAX)
}

fn get() -> CacheRequest<u32> {
    CacheRequest::get(key("k"))
}

fn failure() -> CacheError {
    CacheError::new(ErrorKind::Connection, "planted")
}

fn miss() -> CacheResponse<u32> {
    CacheResponse::Miss(FillToken::UNFENCED)
}

/// A half-open circuit lets so many probes through at once as it was told, and not one more. Probes are given up at any
/// moment, and none of them keeps its place: at the end the circuit closes.
///
/// Seen to fail with one more place than probes, with guards that are not settled when they are dropped, and with a wait that
/// is found to be over by two at once.
pub fn probes_never_exceed_their_number() {
    let layer = breaker();
    let state = layer.handle();
    let crowd = Arc::new(Crowd::default());
    let mut failing = layer.layer(Leaf::new(|_| async { Err(failure()) }));
    block_on(failing.call(get())).expect_err("it is to open");
    assert_eq!(state.circuit(OpClass::Read).state(), CircuitState::Open);

    let leaf = {
        let (crowd, state) = (Arc::clone(&crowd), state.clone());
        Leaf::new(move |_| {
            let (crowd, state) = (Arc::clone(&crowd), state.clone());
            async move {
                // Once it is closed, all pass: only what was let through before counts.
                let most =
                    if state.circuit(OpClass::Read).state() == CircuitState::HalfOpen { PROBES } else { 9 };
                let _inside = crowd.enter(most);
                if chance() {
                    yield_now().await;
                }
                Ok(miss())
            }
        })
    };
    join((0..3).map(|_| {
        let mut breaker = layer.layer(leaf.clone());
        thread::spawn(move || {
            for _ in 0..2 {
                if let Some(Err(error)) = block_on(MayBeGivenUp::new(breaker.call(get()))) {
                    assert_eq!(error.kind(), ErrorKind::CircuitOpen);
                }
            }
        })
    }));
    let snapshot = state.circuit(OpClass::Read).snapshot();
    assert_eq!(snapshot.probes, 0, "a probe that is over keeps its place");
    for _ in 0..PROBES {
        block_on(layer.layer(leaf.clone()).call(get())).expect("there is a place");
    }
    assert_eq!(state.circuit(OpClass::Read).state(), CircuitState::Closed);
}

/// Whatever comes together, successes, failures, callers who give up, and someone who forces the breaker: once the store
/// answers again the circuit closes.
///
/// Seen to fail with a change of state that leaves the places of the round before, and with two who tell of changes at once.
pub fn no_state_is_for_ever() {
    let layer = breaker();
    let state = layer.handle();
    let leaf = Leaf::new(|_| async {
        if chance() {
            yield_now().await;
        }
        if chance() { Ok(miss()) } else { Err(failure()) }
    });
    let mut threads: Vec<_> = (0..2)
        .map(|_| {
            let mut breaker = layer.layer(leaf.clone());
            thread::spawn(move || {
                for _ in 0..3 {
                    block_on(MayBeGivenUp::new(breaker.call(get())));
                }
            })
        })
        .collect();
    threads.push({
        let state = state.clone();
        thread::spawn(move || {
            if chance() {
                state.force_open();
                state.reset();
            }
        })
    });
    join(threads);
    let mut healed = layer.layer(Leaf::new(|_| async { Ok(miss()) }));
    for _ in 0..PROBES {
        block_on(healed.call(get())).expect("there is a place");
    }
    let circuit = state.circuit(OpClass::Read);
    assert_eq!((circuit.state(), circuit.snapshot().probes), (CircuitState::Closed, 0));
    assert_eq!(*circuit.subscribe().borrow(), CircuitState::Closed, "the last change was not told");
}
