//! What all services of one breaker share.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use cachex_core::{CacheError, ErrorKind, Op, OpClass, clock};
use tokio::time::Instant;

use super::circuit::{Admission, Circuit, CircuitState, Env, Ticket};
use super::settings::{Settings, Verdict};

pub(super) struct Shared {
    pub(super) settings: Settings,
    /// Whether suspended calls have to be timed.
    pub(super) needs_time: bool,
    /// Times are nanoseconds since then.
    origin: Instant,
    /// One bit for each circuit that does not pass all requests. While there is one, the inner service is readied
    /// inside the calls that pass, as nobody knows in `poll_ready` what will be asked.
    lazy: AtomicU8,
    /// By class, or the first one alone.
    circuits: [Circuit; 3],
}

impl Shared {
    pub(super) fn new(settings: Settings) -> Self {
        let circuits = OpClass::ALL
            .map(|class| Circuit::new(settings.per_class.then_some(class), 1 << class as u8, &settings));
        Self {
            needs_time: settings.needs_time(),
            origin: clock::now(),
            lazy: AtomicU8::new(0),
            circuits,
            settings,
        }
    }

    /// The circuit an operation is subject to, by the class it is for.
    #[inline]
    pub(super) fn circuit_of(&self, op: Op) -> Option<OpClass> {
        let class = match op {
            Op::Ping | Op::Close => return None,
            // A server out of memory still removes; and removing, unlike taking a lock, is what helps it.
            Op::Delete | Op::Expire => OpClass::Control,
            Op::Lock => OpClass::Write,
            op => op.class(),
        };
        Some(self.index(class))
    }

    /// The class whose circuit this one's operations are subject to.
    #[inline]
    pub(super) fn index(&self, class: OpClass) -> OpClass {
        if self.settings.per_class { class } else { OpClass::ALL[0] }
    }

    #[inline]
    pub(super) fn circuit(&self, index: OpClass) -> &Circuit {
        &self.circuits[index as usize]
    }

    /// Decides on a call that a circuit does not pass at once.
    #[cold]
    pub(super) fn admit(&self, circuit: OpClass) -> Result<Ticket, CacheError> {
        match self.circuit(circuit).admit(self.env(self.read_clock())) {
            Admission::Admitted(ticket) => Ok(ticket),
            Admission::Refused(wait) => Err(CacheError::rejection(ErrorKind::CircuitOpen, wait)),
        }
    }

    /// The circuits that are in use.
    pub(super) fn circuits(&self) -> &[Circuit] {
        if self.settings.per_class { &self.circuits } else { &self.circuits[..1] }
    }

    /// Whether every circuit passes every request.
    #[inline]
    pub(super) fn passes_all(&self) -> bool {
        self.lazy.load(Relaxed) == 0
    }

    pub(super) fn nanos(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.origin).as_nanos() as u64
    }

    /// The time, as circuits count it.
    pub(super) fn read_clock(&self) -> u64 {
        self.nanos(clock::now())
    }

    pub(super) fn env(&self, now: u64) -> Env<'_> {
        Env { settings: &self.settings, now, lazy: &self.lazy }
    }

    /// Takes note of a call that has no result.
    #[cold]
    pub(super) fn abandon(&self, circuit: OpClass, ticket: Ticket, verdict: Verdict) {
        let circuit = self.circuit(circuit);
        if circuit.counts(ticket) {
            circuit.finished(ticket, verdict, false, self.env(self.read_clock()));
        }
    }

    /// Shows the states as they are, for a breaker that has not changed yet.
    #[cfg(feature = "metrics")]
    pub(super) fn show(&self) {
        for circuit in self.circuits() {
            super::event::show(self.settings.name.clone(), circuit.class(), circuit.state());
        }
    }

    /// The state of the circuit that lets the least through.
    pub(super) fn worst_state(&self) -> CircuitState {
        let strictness = |state: &CircuitState| match state {
            CircuitState::ForcedClosed => 0,
            CircuitState::Closed => 1,
            CircuitState::HalfOpen => 2,
            CircuitState::Open => 3,
            CircuitState::ForcedOpen => 4,
        };
        self.circuits().iter().map(Circuit::state).max_by_key(strictness).unwrap_or(CircuitState::Closed)
    }
}
