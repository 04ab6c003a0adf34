use std::borrow::Cow;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use cachex_core::{ErrorKind, Op};
use metrics::{Counter, Histogram, Label, counter, histogram};

use super::names;
use crate::observed::{Status, Told};

/// The series of one layer, each looked up in the recorder when it is first used.
pub(super) struct Table {
    name: Option<Cow<'static, str>>,
    ops: [OpSeries; Op::ALL.len()],
    errors: [OnceLock<Counter>; ERROR_SLOTS],
    bytes_in: OnceLock<Counter>,
    bytes_out: OnceLock<Counter>,
}

/// More than there are kinds; one that comes later and does not fit is looked up each time.
const ERROR_SLOTS: usize = 64;

#[derive(Default)]
struct OpSeries {
    statuses: [OnceLock<Counter>; Status::COUNT],
    duration: OnceLock<Histogram>,
    /// Calls that have ended and are not in the histogram yet.
    skipped: AtomicU32,
    /// How often the histogram was told of calls that did not suspend, up to [`EACH_AT_FIRST`].
    told: AtomicU32,
}

/// So many calls that did not suspend are timed each, before one stands for several.
const EACH_AT_FIRST: u32 = 16;

/// From then on one call is timed for so many.
const ONE_FOR: u32 = 16;

impl Table {
    pub(super) fn new(name: Option<Cow<'static, str>>) -> Self {
        Self {
            name,
            ops: Default::default(),
            errors: [const { OnceLock::new() }; ERROR_SLOTS],
            bytes_in: OnceLock::new(),
            bytes_out: OnceLock::new(),
        }
    }

    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    #[inline]
    pub(super) fn count(&self, op: Op, status: Status) {
        let counter = self.ops[op as usize].statuses[status as usize].get_or_init(|| {
            let labels = [
                Label::new(names::OPERATION_LABEL, op.as_str()),
                Label::new(names::STATUS_LABEL, status.as_str()),
            ];
            counter!(names::OPERATIONS, self.labels(labels))
        });
        counter.increment(1);
    }

    /// Whether the next call of this operation is to be timed even if it does not suspend.
    #[inline]
    pub(super) fn is_due(&self, op: Op) -> bool {
        let series = &self.ops[op as usize];
        series.skipped.load(Relaxed) >= ONE_FOR - 1 || series.told.load(Relaxed) < EACH_AT_FIRST
    }

    /// A call has ended that was not timed: the next one that is stands for it as well.
    #[inline]
    pub(super) fn skip(&self, op: Op) {
        self.ops[op as usize].skipped.fetch_add(1, Relaxed);
    }

    /// A call has ended. `alone` if it stands for no other.
    #[inline]
    pub(super) fn time(&self, op: Op, duration: Duration, alone: bool) {
        let series = &self.ops[op as usize];
        let mut count = 1;
        if !alone {
            count += series.skipped.swap(0, Relaxed) as usize;
            if series.told.load(Relaxed) < EACH_AT_FIRST {
                series.told.fetch_add(1, Relaxed);
            }
        }
        let histogram = series.duration.get_or_init(|| {
            histogram!(names::DURATION, self.labels([Label::new(names::OPERATION_LABEL, op.as_str())]))
        });
        histogram.record_many(duration, count);
    }

    #[cold]
    pub(super) fn error(&self, kind: ErrorKind) {
        let find = || counter!(names::ERRORS, self.labels([Label::new(names::TYPE_LABEL, kind.as_str())]));
        match self.errors.get(kind as usize) {
            Some(slot) => slot.get_or_init(find).increment(1),
            None => find().increment(1),
        }
    }

    /// Counts the bytes that the layers beneath told of.
    #[inline]
    pub(super) fn bytes(&self, told: Told) {
        for (bytes, slot, name) in [
            (told.stored_bytes, &self.bytes_in, names::BYTES_IN),
            (told.loaded_bytes, &self.bytes_out, names::BYTES_OUT),
        ] {
            if bytes > 0 {
                slot.get_or_init(|| counter!(name, self.labels([]))).increment(bytes);
            }
        }
    }

    fn labels<const N: usize>(&self, own: [Label; N]) -> Vec<Label> {
        let name = self.name.as_ref().map(|name| Label::new(names::CACHE_LABEL, name.clone()));
        own.into_iter().chain(name).collect()
    }
}
