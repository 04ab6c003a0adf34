//! One search for the primary: sentinel by sentinel, until a server turns out to be it.

use std::sync::atomic::Ordering;

use cachex_core::{CacheError, Effect, ErrorKind};

use super::{Answer, Guide};
use crate::store::redis::address::Endpoint;

/// See [`Guide::search`].
pub(in super::super) struct Search<'a> {
    guide: &'a Guide,
    /// What was known when the search began: older answers are from sentinels that have not heard yet.
    known: Option<Answer>,
    first: usize,
    asked: usize,
    /// Servers that were tried already.
    tried: Vec<Endpoint>,
    /// The newest among the older answers. It counts when nobody has a newer one and the primary that was known is one no
    /// more: then the sentinels were set up anew, or the one who knew is gone.
    older: Option<Answer>,
    problem: Option<(Weight, CacheError)>,
}

/// Which of several problems is told: the one nearest to the goal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    Unreachable,
    Refused,
    Primary,
}

impl<'a> Search<'a> {
    pub(super) fn new(guide: &'a Guide) -> Self {
        Self {
            guide,
            known: guide.known(),
            first: guide.first.load(Ordering::Relaxed),
            asked: 0,
            tried: Vec::new(),
            older: None,
            problem: None,
        }
    }

    /// The next server to try.
    pub(in super::super) async fn next(&mut self) -> Option<Answer> {
        let sentinels = &self.guide.sentinels;
        while self.asked < sentinels.nodes.len() {
            let index = self.index();
            self.asked += 1;
            match sentinels.ask_once(&sentinels.nodes[index], self.guide.patience).await {
                Err(error) => self.unanswered(error),
                Ok(answer) if self.tried.contains(&answer.primary) => {}
                Ok(answer) if answer.epoch < self.newest() => {
                    if self.older.as_ref().is_none_or(|older| older.epoch < answer.epoch) {
                        self.older = Some(answer);
                    }
                }
                Ok(answer) => {
                    // The next search begins with one that answers.
                    self.guide.first.store(index, Ordering::Relaxed);
                    self.tried.push(answer.primary.clone());
                    return Some(answer);
                }
            }
        }
        let untried = |answer: &Answer| !self.tried.contains(&answer.primary);
        let older = self.older.clone().filter(untried)?;
        let next = self.known.clone().filter(untried).unwrap_or(older);
        self.tried.push(next.primary.clone());
        Some(next)
    }

    /// The server that was tried is a primary. `None` if another is known to be it by now.
    pub(in super::super) fn found(&self, answer: &Answer) -> Option<u64> {
        if answer.epoch < self.newest() {
            self.guide.go_back(answer, self.newest())
        } else {
            self.guide.learn(answer)
        }
    }

    /// The server that was tried is out of reach, or no primary.
    pub(in super::super) fn failed(&mut self, error: CacheError) {
        self.note(Weight::Primary, error);
    }

    /// Why there is no primary.
    pub(in super::super) fn into_error(self) -> CacheError {
        let error = match self.problem {
            Some((Weight::Unreachable, error)) => {
                let message =
                    format!("none of the {} sentinels can be reached", self.guide.sentinels.nodes.len());
                CacheError::with_source(ErrorKind::Connection, message, error)
            }
            Some((_, error)) => error,
            None => CacheError::new(ErrorKind::Connection, "the primary is changing"),
        };
        error.with_effect(Effect::None)
    }

    fn newest(&self) -> u64 {
        self.known.as_ref().map_or(0, |known| known.epoch)
    }

    fn index(&self) -> usize {
        (self.first + self.asked) % self.guide.sentinels.nodes.len()
    }

    fn unanswered(&mut self, error: CacheError) {
        let weight = match error.kind() {
            ErrorKind::Connection | ErrorKind::Timeout => Weight::Unreachable,
            _ => Weight::Refused,
        };
        self.note(weight, error);
    }

    fn note(&mut self, weight: Weight, error: CacheError) {
        if self.problem.as_ref().is_none_or(|(known, _)| *known <= weight) {
            self.problem = Some((weight, error));
        }
    }
}
