//! The account of one call, settled on every path.

use std::sync::Arc;

use cachex_core::{CacheError, clock};
use tokio::time::Instant;

use super::circuit::Ticket;
use super::settings::Verdict;
use super::shared::Shared;

/// A call that was let through. Dropped unsettled, the call was cancelled, which counts neither way and gives a probe's
/// place back; or it panicked, which is a failure.
pub(super) struct Guard {
    shared: Arc<Shared>,
    circuit: u8,
    settled: bool,
    /// Set while code beneath runs: what drops the guard then is a panic of that code.
    running: bool,
    ticket: Ticket,
    /// When the call was first seen suspended, which is the time of its start as far as one poll tells.
    since: Option<Instant>,
}

impl Guard {
    #[inline]
    pub(super) fn new(shared: &Arc<Shared>, circuit: usize, ticket: Ticket) -> Self {
        let shared = Arc::clone(shared);
        Self { shared, circuit: circuit as u8, settled: false, running: false, ticket, since: None }
    }

    /// Runs code beneath.
    #[inline]
    pub(super) fn run<R>(&mut self, code: impl FnOnce() -> R) -> R {
        self.running = true;
        let result = code();
        self.running = false;
        result
    }

    #[inline]
    pub(super) fn suspended(&mut self) {
        if self.since.is_none() && self.shared.needs_time {
            self.since = Some(clock::now());
        }
    }

    /// Takes note of the result.
    #[inline]
    pub(super) fn settle<T>(mut self, result: &Result<T, CacheError>) {
        self.settled = true;
        let shared = &*self.shared;
        let circuit = shared.circuit(self.circuit.into());
        if !circuit.counts(self.ticket) {
            return;
        }
        let verdict = match result {
            Ok(_) => Verdict::Success,
            Err(error) => shared.settings.judge(error),
        };
        let now = self.since.map(|_| clock::now());
        let took = self.since.zip(now).map(|(since, now)| now.saturating_duration_since(since));
        let slow = shared
            .settings
            .slow_calls
            .zip(took)
            .is_some_and(|(slow_calls, took)| took >= slow_calls.duration);
        if verdict == Verdict::Success && !slow {
            let now = now.map(|now| shared.nanos(now));
            if circuit.succeeded(self.ticket, now, || shared.nanos(clock::now())) {
                return;
            }
        }
        circuit.finished(self.ticket, verdict, slow, shared.env(now.unwrap_or_else(clock::now)));
    }
}

impl Drop for Guard {
    #[inline]
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        let verdict = if self.running { Verdict::Failure } else { Verdict::Neither };
        let circuit = self.shared.circuit(self.circuit.into());
        if circuit.counts(self.ticket) {
            circuit.finished(self.ticket, verdict, false, self.shared.env(clock::now()));
        }
    }
}
