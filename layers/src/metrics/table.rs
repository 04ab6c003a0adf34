use std::borrow::Cow;
use std::sync::OnceLock;
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
}

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

    #[inline]
    pub(super) fn time(&self, op: Op, duration: Duration) {
        let histogram = self.ops[op as usize].duration.get_or_init(|| {
            histogram!(names::DURATION, self.labels([Label::new(names::OPERATION_LABEL, op.as_str())]))
        });
        histogram.record(duration);
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
