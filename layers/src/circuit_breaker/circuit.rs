//! The state machine of one circuit.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{
    AtomicU8, AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cachex_core::OpClass;
use tokio::sync::watch;

use super::event::{ChangeCause, StateChange};
use super::settings::{Settings, Verdict};
use super::window::{Marks, Totals, Window};

/// Whether a circuit lets requests through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CircuitState {
    /// All pass, and their results are counted.
    Closed,
    /// None passes, until a wait is over. It stays in this state until the first call after the wait.
    Open,
    /// A few pass, to find out how the store is.
    HalfOpen,
    /// None passes, until someone says otherwise.
    ForcedOpen,
    /// All pass and nothing is counted, until someone says otherwise.
    ForcedClosed,
}

impl CircuitState {
    /// Every state, in the order of their numbers: `ALL[state as usize] == state`.
    pub const ALL: [Self; 5] =
        [Self::Closed, Self::Open, Self::HalfOpen, Self::ForcedOpen, Self::ForcedClosed];

    /// The state as a metric label: `snake_case`, stable.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::ForcedOpen => "forced_open",
            Self::ForcedClosed => "forced_closed",
        }
    }

    /// Whether every request passes.
    #[must_use]
    pub fn passes_all(self) -> bool {
        matches!(self, Self::Closed | Self::ForcedClosed)
    }
}

impl fmt::Display for CircuitState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A state and how many changes led to it, as one number: results of calls from before a change are told apart.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Word(u64);

impl Word {
    const STATE_BITS: u32 = 3;

    fn state(self) -> CircuitState {
        // No array: the bounds check could panic, see `CircuitBreaker::call`.
        match self.0 & ((1 << Self::STATE_BITS) - 1) {
            0 => CircuitState::Closed,
            1 => CircuitState::Open,
            2 => CircuitState::HalfOpen,
            3 => CircuitState::ForcedOpen,
            _ => CircuitState::ForcedClosed,
        }
    }

    fn next(self, state: CircuitState) -> Self {
        Self(((self.0 >> Self::STATE_BITS) + 1) << Self::STATE_BITS | state as u64)
    }
}

/// A call that was let through.
#[derive(Clone, Copy)]
pub(super) struct Ticket {
    word: Word,
    /// The place it took as a probe; zero when it is none.
    probe: u64,
}

pub(super) enum Admission {
    Admitted(Ticket),
    /// Refused, with the rest of the wait if that is known.
    Refused(Option<Duration>),
}

pub(super) struct Circuit {
    class: Option<OpClass>,
    /// Its bit in `lazy`.
    bit: u8,
    word: AtomicU64,
    /// When an open circuit's wait is over.
    open_until: AtomicU64,
    /// Failures since the last success.
    run: AtomicU32,
    window: Window,
    refused: AtomicU64,
    core: Mutex<Core>,
    watch: watch::Sender<CircuitState>,
}

#[derive(Default)]
struct Core {
    marks: Marks,
    half_open: HalfOpen,
    /// Probe rounds that failed since the circuit was last closed.
    reopened: u32,
    /// How often it opened by itself.
    opened: u64,
    /// Changes that listeners have not been told yet, in order.
    untold: VecDeque<StateChange>,
    telling: bool,
}

/// One round of probes.
#[derive(Default)]
struct HalfOpen {
    last: u64,
    succeeded: u32,
    /// The probes under way: their numbers, and when each one's place may be taken by another.
    places: Vec<(u64, u64)>,
}

/// What a circuit works with: its breaker's settings, the time in nanoseconds, and the set of circuits that do not pass
/// all requests.
#[derive(Clone, Copy)]
pub(super) struct Env<'a> {
    pub(super) settings: &'a Settings,
    pub(super) now: u64,
    pub(super) lazy: &'a AtomicU8,
}

/// What a circuit is like at one moment.
pub(super) struct Reading {
    pub(super) state: CircuitState,
    pub(super) totals: Totals,
    pub(super) run: u32,
    pub(super) refused: u64,
    pub(super) opened: u64,
    pub(super) probes: usize,
    pub(super) wait: Option<Duration>,
}

impl Circuit {
    pub(super) fn new(class: Option<OpClass>, bit: u8, settings: &Settings) -> Self {
        Self {
            class,
            bit,
            word: AtomicU64::new(CircuitState::Closed as u64),
            open_until: AtomicU64::new(0),
            run: AtomicU32::new(0),
            window: Window::new(settings.window),
            refused: AtomicU64::new(0),
            core: Mutex::default(),
            watch: watch::Sender::new(CircuitState::Closed),
        }
    }

    pub(super) fn class(&self) -> Option<OpClass> {
        self.class
    }

    pub(super) fn state(&self) -> CircuitState {
        self.word().state()
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<CircuitState> {
        self.watch.subscribe()
    }

    #[inline]
    fn word(&self) -> Word {
        Word(self.word.load(Acquire))
    }

    /// No code of a user runs under the lock, so a panic cannot have left it half changed.
    fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a call through if a single look at the state is enough to know.
    #[inline]
    pub(super) fn admit_at_once(&self) -> Option<Ticket> {
        let word = self.word();
        word.state().passes_all().then_some(Ticket { word, probe: 0 })
    }

    /// Decides on a call when the circuit was not closed a moment ago.
    #[cold]
    pub(super) fn admit(&self, env: Env<'_>) -> Admission {
        let admission = self.decide(env);
        if matches!(admission, Admission::Refused(_)) {
            self.refused.fetch_add(1, Relaxed);
        }
        self.tell(env.settings);
        admission
    }

    fn decide(&self, env: Env<'_>) -> Admission {
        // Most calls of an open circuit end here, without the lock.
        if self.state() == CircuitState::Open
            && let Some(wait) = self.wait(env.now)
        {
            return Admission::Refused(Some(wait));
        }
        let mut core = self.lock();
        let word = self.word();
        match word.state() {
            CircuitState::Closed | CircuitState::ForcedClosed => {
                Admission::Admitted(Ticket { word, probe: 0 })
            }
            CircuitState::ForcedOpen => Admission::Refused(None),
            // Open => (Open | HalfOpen)
            CircuitState::Open => match self.wait(env.now) {
                Some(wait) => Admission::Refused(Some(wait)),
                None => {
                    self.change(&mut core, env, CircuitState::HalfOpen, ChangeCause::WaitOver);
                    self.probe(&mut core, env)
                }
            },
            // HalfOpen => HalfOpen
            CircuitState::HalfOpen => self.probe(&mut core, env),
        }
    }

    /// The rest of an open circuit's wait.
    fn wait(&self, now: u64) -> Option<Duration> {
        let until = self.open_until.load(Relaxed);
        (now < until).then(|| Duration::from_nanos(until - now))
    }

    /// Gives a call one of the places for probes: a free one, or that of a probe that took too long.
    fn probe(&self, core: &mut Core, env: Env<'_>) -> Admission {
        let half_open = &mut core.half_open;
        let most = env.settings.half_open_probes.saturating_sub(half_open.succeeded) as usize;
        if half_open.places.len() >= most {
            let Some(stalled) = half_open.places.iter().position(|&(_, lease)| lease <= env.now) else {
                return Admission::Refused(None);
            };
            half_open.places.swap_remove(stalled);
        }
        half_open.last += 1;
        let lease = env.now.saturating_add(nanos(env.settings.probe_lease));
        half_open.places.push((half_open.last, lease));
        Admission::Admitted(Ticket { word: self.word(), probe: half_open.last })
    }

    /// Whether the result of a call still counts: nothing does in a forced state, or once the state has changed.
    #[inline]
    pub(super) fn counts(&self, ticket: Ticket) -> bool {
        self.word() == ticket.word
            && matches!(ticket.word.state(), CircuitState::Closed | CircuitState::HalfOpen)
    }

    /// Takes note of a success that was not slow, unless it is a probe's. `now` is known if the call suspended.
    #[inline]
    pub(super) fn succeeded(&self, ticket: Ticket, now: Option<u64>, read: impl FnOnce() -> u64) -> bool {
        if ticket.word.state() != CircuitState::Closed {
            return false;
        }
        if self.run.load(Relaxed) != 0 {
            self.run.store(0, Relaxed);
        }
        self.window.success(now, read);
        true
    }

    /// Takes note of any other result.
    #[cold]
    pub(super) fn finished(&self, ticket: Ticket, verdict: Verdict, slow: bool, env: Env<'_>) {
        let mut core = self.lock();
        if !self.counts(ticket) {
            return;
        }
        match ticket.word.state() {
            CircuitState::HalfOpen => self.probed(&mut core, ticket.probe, verdict, slow, env),
            _ => self.count(&mut core, verdict, slow, env),
        }
        drop(core);
        self.tell(env.settings);
    }

    /// Closed => (Closed | Open)
    fn count(&self, core: &mut Core, verdict: Verdict, slow: bool, env: Env<'_>) {
        let failed = match verdict {
            Verdict::Neither => return,
            Verdict::Failure => true,
            Verdict::Success => false,
        };
        let run = if failed {
            self.run.fetch_add(1, Relaxed).saturating_add(1)
        } else {
            self.run.store(0, Relaxed);
            0
        };
        let settings = env.settings;
        let Totals { calls, failed, slow } = self.window.mark(&mut core.marks, env.now, failed, slow);
        let share = |part: u64| part as f64 / calls.max(1) as f64;
        let enough = settings.enough(calls);
        let cause = if settings.consecutive_failures.is_some_and(|most| run >= most) {
            ChangeCause::ConsecutiveFailures
        } else if enough && share(failed) >= settings.failure_rate {
            ChangeCause::FailureRate
        } else if enough && settings.slow_calls.is_some_and(|slow_calls| share(slow) >= slow_calls.rate) {
            ChangeCause::SlowCallRate
        } else {
            return;
        };
        self.change(core, env, CircuitState::Open, cause);
    }

    /// HalfOpen => (HalfOpen | Open | Closed)
    fn probed(&self, core: &mut Core, probe: u64, verdict: Verdict, slow: bool, env: Env<'_>) {
        let half_open = &mut core.half_open;
        // A probe whose place was taken came too late to count.
        let Some(place) = half_open.places.iter().position(|&(id, _)| id == probe) else { return };
        half_open.places.swap_remove(place);
        match verdict {
            Verdict::Neither => {}
            Verdict::Success if !slow => {
                half_open.succeeded += 1;
                if half_open.succeeded >= env.settings.half_open_probes {
                    self.change(core, env, CircuitState::Closed, ChangeCause::ProbesSucceeded);
                }
            }
            Verdict::Success | Verdict::Failure => {
                core.reopened = core.reopened.saturating_add(1);
                self.change(core, env, CircuitState::Open, ChangeCause::ProbeFailed);
            }
        }
    }

    /// Any => (ForcedOpen | ForcedClosed | Closed), on someone's word.
    pub(super) fn set(&self, to: CircuitState, cause: ChangeCause, env: Env<'_>) {
        let mut core = self.lock();
        self.change(&mut core, env, to, cause);
        drop(core);
        self.tell(env.settings);
    }

    fn change(&self, core: &mut Core, env: Env<'_>, to: CircuitState, cause: ChangeCause) {
        let from = self.word();
        core.half_open.succeeded = 0;
        core.half_open.places.clear();
        self.run.store(0, Relaxed);
        match to {
            CircuitState::Closed => {
                core.reopened = 0;
                self.window.clear(&mut core.marks);
            }
            CircuitState::Open => {
                core.opened += 1;
                let wait = nanos(env.settings.open_for(core.reopened));
                self.open_until.store(env.now.saturating_add(wait), Relaxed);
            }
            CircuitState::HalfOpen | CircuitState::ForcedOpen | CircuitState::ForcedClosed => {}
        }
        if to.passes_all() {
            env.lazy.fetch_and(!self.bit, Relaxed);
        } else {
            env.lazy.fetch_or(self.bit, Relaxed);
        }
        self.word.store(from.next(to).0, Release);
        if from.state() != to {
            core.untold.push_back(StateChange {
                breaker: env.settings.name.clone(),
                circuit: self.class,
                from: from.state(),
                to,
                cause,
            });
        }
    }

    /// Tells listeners of changes, in order and outside the lock, so that a listener may use the handle. One caller
    /// tells at a time; the others leave theirs to it.
    fn tell(&self, settings: &Settings) {
        struct Telling<'a>(&'a Circuit);
        impl Drop for Telling<'_> {
            fn drop(&mut self) {
                self.0.lock().telling = false;
            }
        }
        loop {
            let mut core = self.lock();
            if core.telling {
                return;
            }
            let Some(change) = core.untold.pop_front() else { return };
            core.telling = true;
            drop(core);
            let _telling = Telling(self);
            self.watch.send_replace(change.to);
            #[cfg(feature = "metrics")]
            super::event::show(change.breaker.clone(), change.circuit, change.to);
            #[cfg(feature = "trace")]
            change.log();
            if let Some(listener) = &settings.listener {
                listener(&change);
            }
        }
    }

    pub(super) fn read(&self, now: u64) -> Reading {
        let mut core = self.lock();
        let state = self.state();
        Reading {
            state,
            totals: self.window.totals(&mut core.marks, now),
            run: self.run.load(Relaxed),
            refused: self.refused.load(Relaxed),
            opened: core.opened,
            probes: core.half_open.places.len(),
            wait: if state == CircuitState::Open { self.wait(now) } else { None },
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
