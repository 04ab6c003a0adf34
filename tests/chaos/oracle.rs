//! What a read may find.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use cachex_core::{CacheError, Effect};
use serde::{Deserialize, Serialize};

/// What is stored: which key it is of, and the how-manyth value of that key. The rest follows from those two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stored {
    key: u64,
    number: u64,
    body: String,
}

impl Stored {
    pub(crate) fn new(key: usize, number: u64) -> Self {
        Self { key: key as u64, number, body: format!("{key}/{number};").repeat(8) }
    }

    pub(crate) fn key(&self) -> usize {
        self.key as usize
    }
}

/// Every key has one writer, who counts its values from 1.
#[derive(Default)]
struct Known {
    /// The last value whose write was acknowledged.
    acknowledged: AtomicU64,
    /// The last value whose write was begun.
    attempted: AtomicU64,
    /// Values whose write failed without effect, as its error said.
    without_effect: Mutex<HashSet<u64>>,
}

/// All keys, and what is wrong with what was found under them.
pub(crate) struct Oracle {
    known: Vec<Known>,
    /// Whether the server may lose what it acknowledged.
    forgetful: AtomicBool,
    wrong: Mutex<Vec<String>>,
}

impl Oracle {
    pub(crate) fn new(keys: usize) -> Self {
        Self {
            known: (0..keys).map(|_| Known::default()).collect(),
            forgetful: AtomicBool::new(false),
            wrong: Mutex::default(),
        }
    }

    pub(crate) fn keys(&self) -> Range<usize> {
        0..self.known.len()
    }

    pub(crate) fn name(key: usize) -> String {
        format!("chaos:{key}")
    }

    /// A write of the next value begins.
    pub(crate) fn begin(&self, key: usize) -> Stored {
        Stored::new(key, self.known[key].attempted.fetch_add(1, Ordering::SeqCst) + 1)
    }

    /// The write ended.
    pub(crate) fn end(&self, written: &Stored, outcome: Result<(), &CacheError>) {
        let known = &self.known[written.key as usize];
        match outcome {
            Ok(()) => known.acknowledged.store(written.number, Ordering::SeqCst),
            Err(error) if error.effect() == Effect::None => {
                lock(&known.without_effect).insert(written.number);
            }
            Err(_) => {}
        }
    }

    /// The least that a read that begins now may find.
    pub(crate) fn floor(&self, key: usize) -> u64 {
        if self.is_forgetful() { 1 } else { self.known[key].acknowledged.load(Ordering::SeqCst) }
    }

    /// A read that began when the floor was `floor` found this.
    pub(crate) fn check(&self, key: usize, floor: u64, found: Option<&Stored>) {
        let known = &self.known[key];
        // Every key was written, and replicated, before the load began.
        let Some(found) = found else { return self.complain(format!("{key}: nothing found")) };
        let newest = known.attempted.load(Ordering::SeqCst);
        let oldest = if self.is_forgetful() { 1 } else { floor };
        if *found != Stored::new(key, found.number) {
            self.complain(format!("{key}: found {found:?}"));
        } else if !(oldest..=newest).contains(&found.number) {
            self.complain(format!("{key}: found {}, not of {oldest} to {newest}", found.number));
        } else if lock(&known.without_effect).contains(&found.number) {
            self.complain(format!("{key}: found {}, whose write had no effect", found.number));
        }
    }

    /// From now on the server may forget the last writes of any key.
    pub(crate) fn expect_losses(&self) {
        self.forgetful.store(true, Ordering::SeqCst);
    }

    /// What a read may find from now on is what `found` was found, or newer.
    pub(crate) fn rebase(&self, found: impl IntoIterator<Item = (usize, Stored)>) {
        for known in &self.known {
            known.acknowledged.store(0, Ordering::SeqCst);
        }
        for (key, record) in found {
            self.known[key].acknowledged.fetch_max(record.number, Ordering::SeqCst);
        }
        self.forgetful.store(false, Ordering::SeqCst);
    }

    pub(crate) fn is_forgetful(&self) -> bool {
        self.forgetful.load(Ordering::SeqCst)
    }

    pub(crate) fn complain(&self, wrong: String) {
        lock(&self.wrong).push(wrong);
    }

    pub(crate) fn wrong(&self) -> Vec<String> {
        lock(&self.wrong).clone()
    }
}

/// A counter that one caller alone counts up, by one each time.
#[derive(Default)]
pub(crate) struct Counter {
    acknowledged: i64,
    /// As much more may have been counted by calls whose effect is not known.
    unknown: i64,
}

impl Counter {
    pub(crate) fn check(&mut self, oracle: &Oracle, forgetful: bool, outcome: Result<i64, &CacheError>) {
        match outcome {
            Ok(now) => {
                let least = if forgetful || oracle.is_forgetful() { 0 } else { self.acknowledged };
                let most = self.acknowledged + self.unknown;
                if !(least + 1..=most + 1).contains(&now) {
                    oracle.complain(format!("a counter of {least} to {most} was counted up to {now}"));
                }
                *self = Self { acknowledged: now, unknown: 0 };
            }
            Err(error) if error.effect() == Effect::None => {}
            Err(_) => self.unknown += 1,
        }
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
