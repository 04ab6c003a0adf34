//! The account of one call, settled on every path.

use std::mem::ManuallyDrop;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use cachex_core::{CacheError, OpClass};

use super::circuit::Ticket;
use super::settings::Verdict;
use super::shared::Shared;

/// A call that was let through and has no future yet. Dropped, it panicked, which is a failure.
///
/// Not a guard already: that one is written once, into the future, where a warm call would otherwise wait for its own
/// half-written fields.
pub(super) struct Entry<'a> {
    shared: &'a Arc<Shared>,
    circuit: OpClass,
    ticket: Ticket,
}

impl<'a> Entry<'a> {
    #[inline]
    pub(super) fn new(shared: &'a Arc<Shared>, circuit: OpClass, ticket: Ticket) -> Self {
        Self { shared, circuit, ticket }
    }

    /// The call has a future: this is its guard.
    #[inline]
    pub(super) fn passed(self) -> Guard {
        let this = ManuallyDrop::new(self);
        Guard {
            shared: Arc::clone(this.shared),
            ticket: this.ticket,
            since: None,
            circuit: this.circuit,
            stage: Stage::Waiting,
        }
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.shared.abandon(self.circuit, self.ticket, Verdict::Failure);
    }
}

/// A call under way. Dropped unsettled, it was cancelled, which counts neither way and gives a probe's place back; or it
/// panicked.
pub(super) struct Guard {
    shared: Arc<Shared>,
    ticket: Ticket,
    /// When the call was first seen suspended, which is its start as far as one poll tells, in nanoseconds and one more.
    /// None before that, or if nobody needs to know.
    since: Option<NonZeroU64>,
    circuit: OpClass,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Code beneath runs: what drops the guard now is a panic of that code.
    Running,
    /// What drops the guard now is a cancellation.
    Waiting,
    Settled,
}

impl Guard {
    /// Code beneath is about to run.
    #[inline]
    pub(super) fn entered(&mut self) {
        self.stage = Stage::Running;
    }

    /// Code beneath has returned, but not with a success. It takes what that has returned and gives it back, so that its
    /// caller may keep it in one place.
    pub(super) fn returned<T>(&mut self, polled: Poll<Result<T, CacheError>>) -> Poll<Result<T, CacheError>> {
        match &polled {
            Poll::Ready(result) => self.settle_slowly(result.as_ref().err()),
            Poll::Pending => self.suspended(),
        }
        polled
    }

    fn suspended(&mut self) {
        self.stage = Stage::Waiting;
        if self.since.is_none() && self.shared.needs_time {
            self.since = Some(NonZeroU64::MIN.saturating_add(self.shared.read_clock()));
        }
    }

    /// Code beneath has returned with a success.
    #[inline(always)]
    pub(super) fn succeeded(&mut self) {
        let circuit = self.shared.circuit(self.circuit);
        if self.since.is_none()
            && circuit.counts(self.ticket)
            && circuit.succeeded(self.ticket, None, || self.shared.read_clock())
        {
            self.stage = Stage::Settled;
        } else {
            self.settle_slowly(None);
        }
    }

    #[cold]
    fn settle_slowly(&mut self, error: Option<&CacheError>) {
        self.stage = Stage::Settled;
        let shared = &*self.shared;
        let circuit = shared.circuit(self.circuit);
        if !circuit.counts(self.ticket) {
            return;
        }
        let verdict = error.map_or(Verdict::Success, |error| shared.settings.judge(error));
        let now = shared.read_clock();
        let took = self.since.map(|since| Duration::from_nanos((now + 1).saturating_sub(since.get())));
        let slow = took
            .zip(shared.settings.slow_calls)
            .is_some_and(|(took, slow_calls)| took >= slow_calls.duration);
        if verdict == Verdict::Success && !slow {
            let suspended = took.is_some().then_some(now);
            if circuit.succeeded(self.ticket, suspended, || now) {
                return;
            }
        }
        circuit.finished(self.ticket, verdict, slow, shared.env(now));
    }
}

impl Drop for Guard {
    #[inline]
    fn drop(&mut self) {
        let verdict = match self.stage {
            Stage::Settled => return,
            Stage::Running => Verdict::Failure,
            Stage::Waiting => Verdict::Neither,
        };
        self.shared.abandon(self.circuit, self.ticket, verdict);
    }
}
