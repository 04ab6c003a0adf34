//! What a breaker tells when a circuit changes.

use std::borrow::Cow;
use std::fmt;

use cachex_core::OpClass;

use super::circuit::CircuitState;

/// A circuit went from one state to another.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StateChange {
    /// The breaker's name.
    pub breaker: Cow<'static, str>,
    /// Which of its circuits; `None` when it has only one.
    pub circuit: Option<OpClass>,
    /// The state before.
    pub from: CircuitState,
    /// The state after.
    pub to: CircuitState,
    /// What made it change.
    pub cause: ChangeCause,
}

/// What made a circuit change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChangeCause {
    /// Too large a share of the calls in the window failed.
    FailureRate,
    /// Too large a share of the calls in the window was slow.
    SlowCallRate,
    /// Too many calls in a row failed.
    ConsecutiveFailures,
    /// A call came in when an open circuit's wait was over.
    WaitOver,
    /// A probe failed, or was slow.
    ProbeFailed,
    /// All probes succeeded.
    ProbesSucceeded,
    /// Someone forced it through a handle.
    Forced,
    /// Someone reset it through a handle.
    Reset,
}

impl ChangeCause {
    /// The cause as a log field: `snake_case`, stable.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FailureRate => "failure_rate",
            Self::SlowCallRate => "slow_call_rate",
            Self::ConsecutiveFailures => "consecutive_failures",
            Self::WaitOver => "wait_over",
            Self::ProbeFailed => "probe_failed",
            Self::ProbesSucceeded => "probes_succeeded",
            Self::Forced => "forced",
            Self::Reset => "reset",
        }
    }
}

impl fmt::Display for ChangeCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A circuit as a label.
pub(super) fn label(circuit: Option<OpClass>) -> &'static str {
    circuit.map_or("all", OpClass::as_str)
}

impl StateChange {
    /// Writes the change to the log.
    #[cfg(feature = "trace")]
    pub(super) fn log(&self) {
        let (breaker, circuit) = (&*self.breaker, label(self.circuit));
        let (from, to, cause) = (self.from.as_str(), self.to.as_str(), self.cause.as_str());
        if matches!(self.to, CircuitState::Open | CircuitState::ForcedOpen) {
            tracing::warn!(
                component = "circuit_breaker",
                breaker,
                circuit,
                from,
                to,
                cause,
                "circuit opened"
            );
        } else {
            tracing::info!(
                component = "circuit_breaker",
                breaker,
                circuit,
                from,
                to,
                cause,
                "circuit changed"
            );
        }
    }
}

/// Sets `circuit_breaker_state{state}`: 1 for the state a circuit is in, 0 for the others.
#[cfg(feature = "metrics")]
pub(super) fn show(breaker: Cow<'static, str>, circuit: Option<OpClass>, state: CircuitState) {
    for other in CircuitState::ALL {
        let gauge = ::metrics::gauge!(
            "circuit_breaker_state",
            "breaker" => breaker.clone(),
            "circuit" => label(circuit),
            "state" => other.as_str(),
        );
        gauge.set(if other == state { 1.0 } else { 0.0 });
    }
}
