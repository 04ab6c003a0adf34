//! The live state, from outside.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cachex_core::OpClass;
use tokio::sync::watch;

use super::circuit::{Circuit, CircuitState};
use super::event::ChangeCause;
use super::shared::Shared;

/// Reads a breaker's circuits while they work, and overrules them. A clone is one reference count.
#[derive(Clone)]
pub struct CircuitBreakerHandle {
    shared: Arc<Shared>,
}

impl CircuitBreakerHandle {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The state of the circuit that lets the least through.
    #[must_use]
    pub fn state(&self) -> CircuitState {
        self.shared.worst_state()
    }

    /// The circuit of this class; the one there is, if the breaker has only one.
    #[must_use]
    pub fn circuit(&self, class: OpClass) -> CircuitHandle {
        CircuitHandle { shared: Arc::clone(&self.shared), index: self.shared.index(class) }
    }

    /// Refuses everything from now on, until [`force_close`](Self::force_close) or [`reset`](Self::reset).
    pub fn force_open(&self) {
        self.set_all(CircuitState::ForcedOpen, ChangeCause::Forced);
    }

    /// Lets everything pass from now on, uncounted, until [`force_open`](Self::force_open) or [`reset`](Self::reset).
    pub fn force_close(&self) {
        self.set_all(CircuitState::ForcedClosed, ChangeCause::Forced);
    }

    /// Closes every circuit, forced or not, and forgets what was counted.
    pub fn reset(&self) {
        self.set_all(CircuitState::Closed, ChangeCause::Reset);
    }

    fn set_all(&self, to: CircuitState, cause: ChangeCause) {
        for circuit in self.shared.circuits() {
            circuit.set(to, cause, self.shared.env(self.shared.read_clock()));
        }
    }
}

impl fmt::Debug for CircuitBreakerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("CircuitBreakerHandle");
        out.field("name", &self.shared.settings.name);
        for circuit in self.shared.circuits() {
            out.field(super::event::label(circuit.class()), &circuit.state());
        }
        out.finish()
    }
}

/// Reads one circuit while it works, and overrules it. A clone is one reference count.
#[derive(Clone)]
pub struct CircuitHandle {
    shared: Arc<Shared>,
    index: OpClass,
}

impl CircuitHandle {
    fn circuit(&self) -> &Circuit {
        self.shared.circuit(self.index)
    }

    /// The state. An [`Open`](CircuitState::Open) circuit stays so after its wait, until a call comes.
    #[must_use]
    pub fn state(&self) -> CircuitState {
        self.circuit().state()
    }

    /// What was counted.
    #[must_use]
    pub fn snapshot(&self) -> CircuitSnapshot {
        let reading = self.circuit().read(self.shared.read_clock());
        CircuitSnapshot {
            state: reading.state,
            calls: reading.totals.calls,
            failures: reading.totals.failed,
            slow_calls: reading.totals.slow,
            consecutive_failures: reading.run,
            probes: reading.probes,
            wait: reading.wait,
            opened: reading.opened,
            refused: reading.refused,
        }
    }

    /// Follows the state. A receiver that is slow sees the latest state and may miss those between;
    /// [`on_state_change`](super::CircuitBreakerLayer::on_state_change) misses none.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<CircuitState> {
        self.circuit().subscribe()
    }

    /// Refuses everything from now on, until [`force_close`](Self::force_close) or [`reset`](Self::reset).
    pub fn force_open(&self) {
        self.set(CircuitState::ForcedOpen, ChangeCause::Forced);
    }

    /// Lets everything pass from now on, uncounted, until [`force_open`](Self::force_open) or [`reset`](Self::reset).
    pub fn force_close(&self) {
        self.set(CircuitState::ForcedClosed, ChangeCause::Forced);
    }

    /// Closes the circuit, forced or not, and forgets what was counted.
    pub fn reset(&self) {
        self.set(CircuitState::Closed, ChangeCause::Reset);
    }

    fn set(&self, to: CircuitState, cause: ChangeCause) {
        self.circuit().set(to, cause, self.shared.env(self.shared.read_clock()));
    }
}

impl fmt::Debug for CircuitHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitHandle").field("snapshot", &self.snapshot()).finish_non_exhaustive()
    }
}

/// What a circuit was like at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct CircuitSnapshot {
    /// Its state.
    pub state: CircuitState,
    /// The calls in the window. Like the two counts below it is kept while the circuit is open, and starts again from
    /// zero when it closes.
    pub calls: u64,
    /// How many of them failed.
    pub failures: u64,
    /// How many of them were slow.
    pub slow_calls: u64,
    /// The failures since the last success.
    pub consecutive_failures: u32,
    /// The probes under way.
    pub probes: usize,
    /// How long it will stay open.
    pub wait: Option<Duration>,
    /// How often it has opened by itself, since it was made.
    pub opened: u64,
    /// How many requests it has refused, since it was made.
    pub refused: u64,
}

impl CircuitSnapshot {
    /// The share of failures among the calls in the window, from 0 to 1.
    #[must_use]
    pub fn failure_rate(&self) -> f64 {
        self.failures as f64 / self.calls.max(1) as f64
    }

    /// The share of slow calls among the calls in the window, from 0 to 1.
    #[must_use]
    pub fn slow_call_rate(&self) -> f64 {
        self.slow_calls as f64 / self.calls.max(1) as f64
    }
}
