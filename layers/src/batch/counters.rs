//! What is counted, per lane.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// One row per lane, so that lanes do not fight for a cache line.
#[derive(Debug)]
pub(super) struct Counters {
    lanes: Box<[LaneCounters]>,
}

#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct LaneCounters {
    /// Reads that went to the inner service as they came.
    passed: AtomicU64,
    /// Reads that went there in batches.
    batched: AtomicU64,
    batches: AtomicU64,
    largest: AtomicUsize,
    /// Reads that were dropped while they waited.
    withdrawn: AtomicU64,
    /// How often a sender gave up its core.
    gave_way: AtomicU64,
    rejected: AtomicU64,
    queued: AtomicUsize,
}

impl Counters {
    pub(super) fn new(lanes: usize) -> Self {
        Self { lanes: (0..lanes).map(|_| LaneCounters::default()).collect() }
    }

    #[inline]
    pub(super) fn lane(&self, lane: usize) -> &LaneCounters {
        &self.lanes[lane]
    }

    pub(super) fn lanes(&self) -> &[LaneCounters] {
        &self.lanes
    }
}

impl LaneCounters {
    #[inline]
    pub(super) fn pass(&self, reads: usize) {
        self.passed.fetch_add(reads as u64, Relaxed);
    }

    /// Counts one who queues; `false` when `limit` do already.
    #[inline]
    pub(super) fn enter(&self, limit: usize) -> bool {
        if self.queued.fetch_add(1, Relaxed) < limit {
            return true;
        }
        self.queued.fetch_sub(1, Relaxed);
        self.rejected.fetch_add(1, Relaxed);
        false
    }

    pub(super) fn withdraw(&self) {
        self.queued.fetch_sub(1, Relaxed);
        self.withdrawn.fetch_add(1, Relaxed);
    }

    pub(super) fn give_way(&self) {
        self.gave_way.fetch_add(1, Relaxed);
    }

    /// Counts `reads` that leave the queue for the inner service, with `keys` different keys.
    pub(super) fn send(&self, reads: usize, keys: usize) {
        self.queued.fetch_sub(reads, Relaxed);
        if keys == 1 {
            self.pass(reads);
        } else {
            self.batches.fetch_add(1, Relaxed);
            self.batched.fetch_add(reads as u64, Relaxed);
            self.largest.fetch_max(keys, Relaxed);
        }
    }

    pub(super) fn read(&self, into: &mut super::BatchState) {
        let (passed, batched) = (self.passed.load(Relaxed), self.batched.load(Relaxed));
        let (queued, rejected) = (self.queued.load(Relaxed), self.rejected.load(Relaxed));
        into.requests += passed + batched + queued as u64 + rejected + self.withdrawn.load(Relaxed);
        into.batches += self.batches.load(Relaxed);
        into.batched_keys += batched;
        into.largest_batch = into.largest_batch.max(self.largest.load(Relaxed));
        into.queued += queued;
        into.rejected += rejected;
        into.gave_way += self.gave_way.load(Relaxed);
    }
}
