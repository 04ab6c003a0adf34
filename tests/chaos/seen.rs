//! What a load has seen: how much was served when, every error, the longest call.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cachex_core::{CacheError, ErrorKind, OpClass};

use super::oracle::lock;

/// Throughput is counted in windows of this length.
pub(crate) const WINDOW: Duration = Duration::from_millis(100);
/// Longer than any scenario: 5 minutes.
const WINDOWS: usize = 3_000;
/// So many windows in a row count as throughput: half a second.
const STRETCH: usize = 5;

pub(crate) struct Seen {
    start: Instant,
    served: Box<[AtomicU32]>,
    total: AtomicU64,
    errors: Mutex<HashMap<(OpClass, ErrorKind), u64>>,
    /// Of reads and writes, and of control operations.
    longest: [Mutex<Duration>; 2],
}

impl Seen {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            served: (0..WINDOWS).map(|_| AtomicU32::new(0)).collect(),
            total: AtomicU64::new(0),
            errors: Mutex::default(),
            longest: Default::default(),
        }
    }

    /// A call that began at `start` ended.
    pub(crate) fn add(&self, class: OpClass, start: Instant, outcome: Result<(), &CacheError>) {
        {
            let mut longest = lock(&self.longest[usize::from(class == OpClass::Control)]);
            *longest = start.elapsed().max(*longest);
        }
        match outcome {
            Ok(()) => {
                self.total.fetch_add(1, Ordering::Relaxed);
                self.served[self.window(Instant::now())].fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                *lock(&self.errors).entry((class, error.kind())).or_default() += 1;
            }
        }
    }

    pub(crate) fn served(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// How many errors there were of one kind.
    pub(crate) fn count(&self, kind: ErrorKind) -> u64 {
        lock(&self.errors).iter().filter(|((_, of), _)| *of == kind).map(|(_, count)| count).sum()
    }

    /// How many errors of which kind there were, and what was asked for.
    pub(crate) fn errors(&self) -> HashMap<(OpClass, ErrorKind), u64> {
        lock(&self.errors).clone()
    }

    /// The longest read or write, or the longest control operation.
    pub(crate) fn longest(&self, class: OpClass) -> Duration {
        *lock(&self.longest[usize::from(class == OpClass::Control)])
    }

    /// How many windows are over.
    pub(crate) fn windows(&self) -> usize {
        self.window(Instant::now())
    }

    /// What was served in the middle one of the windows from `first` to now.
    pub(crate) fn median(&self, first: usize) -> u32 {
        let mut served: Vec<u32> = (first..self.windows()).map(|window| self.at(window)).collect();
        served.sort_unstable();
        served.get(served.len() / 2).copied().unwrap_or_default()
    }

    /// How long after `since` a stretch began in which `share` of `usual` was served.
    pub(crate) fn back_after(&self, since: Instant, usual: u32, share: f64) -> Option<Duration> {
        let wanted = share * f64::from(usual) * STRETCH as f64;
        let first = self.window(since) + 1;
        let stretches = first..(self.windows() + 1).saturating_sub(STRETCH);
        let back = stretches.into_iter().find(|window| {
            let served: u32 = (*window..window + STRETCH).map(|window| self.at(window)).sum();
            f64::from(served) >= wanted
        })?;
        Some((self.start + WINDOW * back as u32).saturating_duration_since(since))
    }

    fn at(&self, window: usize) -> u32 {
        self.served[window].load(Ordering::Relaxed)
    }

    fn window(&self, at: Instant) -> usize {
        let passed = at.saturating_duration_since(self.start).as_millis() / WINDOW.as_millis();
        (passed as usize).min(WINDOWS - 1)
    }
}

/// Measures how long this machine does not run a thread that is due: what a call may take longer than it should.
pub(crate) struct Stalls {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Duration>,
}

impl Stalls {
    pub(crate) fn watch() -> Self {
        const NAP: Duration = Duration::from_millis(5);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut worst = Duration::ZERO;
            while !stopped.load(Ordering::Relaxed) {
                let start = Instant::now();
                std::thread::sleep(NAP);
                worst = worst.max(start.elapsed().saturating_sub(NAP));
            }
            worst
        });
        Self { stop, thread }
    }

    pub(crate) fn worst(self) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it only sleeps")
    }
}
