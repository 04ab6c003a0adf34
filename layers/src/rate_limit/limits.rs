//! The limits of one layer: the stack's, and those of classes.

use std::sync::Arc;
use std::time::Duration;

use cachex_core::{OpClass, clock};
use tokio::time::Instant;

use super::limit::{Limit, Verdict};
use super::rate::{LONGEST, Rate};

#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) rate: Rate,
    /// By class, in the order of [`OpClass::ALL`].
    pub(super) classes: [Option<Rate>; OpClass::ALL.len()],
    pub(super) max_wait: Duration,
}

#[derive(Debug)]
pub(super) struct Limits {
    pub(super) settings: Settings,
    epoch: Instant,
    patience: u64,
    stack: Limit,
    classes: [Option<Limit>; OpClass::ALL.len()],
}

/// What becomes of a call.
pub(super) enum Admission {
    Pass,
    Wait(Box<Turn>),
    /// Refused, with the time after which it is worth trying again.
    Refuse(Duration),
}

/// Which limit a call has come to. A class's comes first: what it refuses takes nothing from the other classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Class,
    Stack,
}

impl Limits {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            epoch: clock::now(),
            patience: nanos(settings.max_wait),
            stack: Limit::new(settings.rate),
            classes: settings.classes.map(|rate| rate.map(Limit::new)),
        }
    }

    pub(super) fn stack(&self) -> &Limit {
        &self.stack
    }

    #[inline]
    pub(super) fn class(&self, class: OpClass) -> Option<&Limit> {
        self.classes[class as usize].as_ref()
    }

    /// Now, as the limits reckon it.
    #[inline]
    pub(super) fn now(&self) -> u64 {
        nanos(clock::now().saturating_duration_since(self.epoch))
    }

    /// Takes a cell if one is at hand. It never panics.
    #[inline]
    pub(super) fn admit_at_once(&self, class: OpClass) -> bool {
        self.class(class).is_none() && self.stack.enter_at_once()
    }

    /// Asks all limits of this class for a cell.
    pub(super) fn admit(self: &Arc<Self>, class: OpClass) -> Admission {
        if let Some(limit) = self.class(class) {
            return self.admit_class(class, limit, self.now());
        }
        let now = self.now();
        match self.stack.enter(now, self.patience) {
            Verdict::Pass => Admission::Pass,
            verdict => self.not_yet(class, Stage::Stack, verdict, now),
        }
    }

    fn admit_class(self: &Arc<Self>, class: OpClass, limit: &Limit, now: u64) -> Admission {
        // A look at the stack's limit first: a class's cell is not spent on what will be refused anyway. Only when
        // another thread takes the last one in between is a cell lost.
        let stack_wait = self.stack.forecast(self.stack.waiting(), now);
        if stack_wait > self.patience {
            self.stack.count_rejected();
            return Admission::Refuse(Duration::from_nanos(stack_wait));
        }
        match limit.enter(now, self.patience) {
            Verdict::Pass => match self.stack.enter(now, self.patience) {
                Verdict::Pass => Admission::Pass,
                verdict => self.not_yet(class, Stage::Stack, verdict, now),
            },
            verdict => self.not_yet(class, Stage::Class, verdict, now),
        }
    }

    #[cold]
    fn not_yet(self: &Arc<Self>, class: OpClass, stage: Stage, verdict: Verdict, now: u64) -> Admission {
        match verdict {
            Verdict::Pass => Admission::Pass,
            Verdict::Refuse(wait) => Admission::Refuse(Duration::from_nanos(wait)),
            Verdict::Wait(due) => Admission::Wait(Box::new(Turn {
                limits: Arc::clone(self),
                class,
                stage: Some(stage),
                since: now,
                due,
                deadline: now + self.patience,
            })),
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX).min(LONGEST)
}

/// A place in the line before a limit. It holds no cell: dropping it only leaves the line.
#[derive(Debug)]
pub(super) struct Turn {
    limits: Arc<Limits>,
    class: OpClass,
    /// `None` once there is nothing left to wait for.
    stage: Option<Stage>,
    /// When it came to this stage.
    since: u64,
    /// When a cell is expected.
    due: u64,
    /// The latest moment at which it is worth while.
    deadline: u64,
}

/// How a wait goes on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Pass,
    /// There is a new time to wait for: [`Turn::due`].
    Again,
    Refuse(Duration),
}

impl Turn {
    /// When to [`advance`](Self::advance).
    pub(super) fn due(&self) -> Instant {
        self.limits.epoch + Duration::from_nanos(self.due)
    }

    /// Takes the cell that was due, and goes on to the next limit, if there is one.
    ///
    /// It must be called when [`due`](Self::due) has passed, which is proof enough: a shared clock reading may be older.
    pub(super) fn advance(&mut self) -> Progress {
        let now = self.limits.now().max(self.due);
        let Some(stage) = self.stage else { return Progress::Pass };
        let limit = self.limit(stage);
        if let Err(wait) = limit.take(self.since, now) {
            // Someone else was faster.
            if now + wait > self.deadline {
                limit.count_rejected();
                return Progress::Refuse(Duration::from_nanos(wait));
            }
            self.due = now + wait;
            return Progress::Again;
        }
        limit.leave();
        self.stage = None;
        if stage == Stage::Stack {
            return Progress::Pass;
        }
        // Class => Stack
        match self.limits.stack.enter(now, self.deadline.saturating_sub(now)) {
            Verdict::Pass => Progress::Pass,
            Verdict::Refuse(wait) => Progress::Refuse(Duration::from_nanos(wait)),
            Verdict::Wait(due) => {
                (self.stage, self.since, self.due) = (Some(Stage::Stack), now, due);
                Progress::Again
            }
        }
    }

    fn limit(&self, stage: Stage) -> &Limit {
        match stage {
            Stage::Class => self.limits.class(self.class).unwrap_or(&self.limits.stack),
            Stage::Stack => &self.limits.stack,
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(stage) = self.stage {
            self.limit(stage).leave();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    // Threads that look at a limit in the same moment both come to the same cell.
    #[tokio::test(start_paused = true)]
    async fn who_finds_the_cell_gone_waits_on_within_the_deadline() {
        let interval = Duration::from_millis(100);
        let limits = Arc::new(Limits::new(Settings {
            rate: Rate::every(interval),
            classes: [None; OpClass::ALL.len()],
            max_wait: interval * 2,
        }));
        assert!(matches!(limits.admit(OpClass::Read), Admission::Pass));
        let Admission::Wait(mut turn) = limits.admit(OpClass::Read) else { panic!("one cell, two calls") };
        for _ in 0..2 {
            advance(interval).await;
            assert_eq!(limits.stack.take(limits.now(), limits.now()), Ok(()));
            let progress = turn.advance();
            if limits.now() < turn.deadline {
                assert_eq!(progress, Progress::Again);
                assert_eq!(turn.due() - clock::now(), interval);
            } else {
                assert_eq!(progress, Progress::Refuse(interval));
            }
        }
        drop(turn);
        assert_eq!((limits.stack.waiting(), limits.stack.rejected()), (0, 1));
    }
}
