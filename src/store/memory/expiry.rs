//! Which keys expire when.

use std::collections::{BTreeMap, HashSet, hash_set};
use std::sync::Mutex;
use std::time::Duration;

use cachex_core::{Key, KeyHashBuilder};
use tokio::time::Instant;

use super::lock;

/// Keys in buckets by the time at which they expire, each bucket as wide as the clean-up interval.
///
/// A key is noted after its entry is stored and forgotten under the lock of its shard when the entry goes, so no entry
/// that expires is without a note; a note without an entry is possible for an instant, and is dropped when it is due.
/// Noting and forgetting cost O(log B) for B buckets, a clean-up costs O(what is due).
#[derive(Debug)]
pub(super) struct Expiries {
    origin: Instant,
    interval: Duration,
    shards: Box<[Mutex<Buckets>]>,
}

#[derive(Debug)]
struct Buckets {
    later: BTreeMap<u64, HashSet<Key, KeyHashBuilder>>,
    /// What is left of buckets that are due.
    due: hash_set::IntoIter<Key>,
}

const SHARDS: usize = 16;

impl Buckets {
    fn new() -> Self {
        Self { later: BTreeMap::new(), due: HashSet::<Key>::new().into_iter() }
    }
}

impl Expiries {
    pub(super) fn new(origin: Instant, interval: Duration) -> Self {
        Self { origin, interval, shards: (0..SHARDS).map(|_| Mutex::new(Buckets::new())).collect() }
    }

    fn shard(&self, key: &Key) -> &Mutex<Buckets> {
        &self.shards[(key.hash_code() >> 58) as usize % SHARDS]
    }

    /// The first bucket that is due only when everything that expires at `at` has expired.
    fn bucket(&self, at: Instant) -> u64 {
        let nanos = at.saturating_duration_since(self.origin).as_nanos();
        saturate(nanos.div_ceil(self.interval.as_nanos()))
    }

    /// The last bucket that is due.
    pub(super) fn due_bucket(&self, now: Instant) -> u64 {
        let nanos = now.saturating_duration_since(self.origin).as_nanos();
        saturate(nanos / self.interval.as_nanos())
    }

    /// When the next bucket is due.
    pub(super) fn next_due(&self, now: Instant) -> Instant {
        let nanos = now.saturating_duration_since(self.origin).as_nanos();
        let left = self.interval.as_nanos() - nanos % self.interval.as_nanos();
        now + Duration::from_nanos(saturate(left))
    }

    /// Notes when a key expires. Called after its entry is stored.
    pub(super) fn note(&self, key: Key, at: Instant) {
        let bucket = self.bucket(at);
        lock(self.shard(&key)).later.entry(bucket).or_default().insert(key);
    }

    /// Changes the note of a key whose entry was replaced.
    pub(super) fn change(&self, key: Key, from: Option<Instant>, to: Option<Instant>) {
        if from.map(|at| self.bucket(at)) != to.map(|at| self.bucket(at)) {
            self.forget(&key, from);
        }
        // Noted even in the same bucket: that bucket may have been taken as due in the meantime.
        if let Some(at) = to {
            self.note(key, at);
        }
    }

    /// Forgets a key whose entry goes. Called while nobody can store another.
    pub(super) fn forget(&self, key: &Key, at: Option<Instant>) {
        let Some(at) = at else { return };
        let bucket = self.bucket(at);
        let mut buckets = lock(self.shard(key));
        let Some(keys) = buckets.later.get_mut(&bucket) else { return };
        keys.remove(key);
        if keys.is_empty() {
            buckets.later.remove(&bucket);
        } else if keys.capacity() > 64 && keys.len() < keys.capacity() / 8 {
            // One that outlives its fellows must not keep the memory of all of them.
            keys.shrink_to(keys.len() * 2);
        }
    }

    /// Takes up to `limit` keys whose bucket is due.
    pub(super) fn take_due(&self, now: Instant, limit: usize) -> Vec<Key> {
        let due_bucket = self.due_bucket(now);
        let mut taken = Vec::new();
        for shard in &self.shards {
            let mut buckets = lock(shard);
            loop {
                let left = limit - taken.len();
                taken.extend(buckets.due.by_ref().take(left));
                if taken.len() == limit {
                    return taken;
                }
                buckets.due = match buckets.later.first_entry() {
                    Some(first) if *first.key() <= due_bucket => first.remove().into_iter(),
                    _ => break,
                };
            }
        }
        taken
    }

    pub(super) fn is_empty(&self) -> bool {
        self.shards.iter().all(|shard| {
            let buckets = lock(shard);
            buckets.later.is_empty() && buckets.due.len() == 0
        })
    }

    /// How many notes there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| {
                let buckets = lock(shard);
                buckets.due.len() + buckets.later.values().map(HashSet::len).sum::<usize>()
            })
            .sum()
    }
}

fn saturate(n: u128) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn key(n: usize) -> Key {
        Key::new(format!("k{n}")).unwrap()
    }

    #[test]
    fn nothing_is_due_before_its_time() {
        let start = Instant::now();
        let expiries = Expiries::new(start, SECOND);
        for n in 0..1000 {
            expiries.note(key(n), start + SECOND / 1000 * n as u32 * 10);
        }
        let mut seen = 0;
        for tick in 0..=10 {
            let now = start + SECOND * tick;
            loop {
                let due = expiries.take_due(now, 7);
                if due.is_empty() {
                    break;
                }
                assert!(due.len() <= 7);
                seen += due.len();
            }
            assert_eq!(seen, if tick == 0 { 1 } else { (tick as usize * 100 + 1).min(1000) });
        }
        assert!(expiries.is_empty());
        assert_eq!(expiries.next_due(start + SECOND / 4), start + SECOND);
        assert_eq!(expiries.next_due(start + SECOND), start + SECOND * 2);
    }

    #[test]
    fn what_is_forgotten_leaves_nothing() {
        let start = Instant::now();
        let expiries = Expiries::new(start, SECOND);
        for n in 0..10_000 {
            expiries.note(key(n), start + SECOND);
        }
        for n in 0..10_000 {
            expiries.change(key(n), Some(start + SECOND), Some(start + SECOND * 5));
        }
        assert_eq!(expiries.len(), 10_000);
        for n in 1..10_000 {
            expiries.forget(&key(n), Some(start + SECOND * 5));
        }
        let kept: usize = expiries
            .shards
            .iter()
            .flat_map(|s| lock(s).later.values().map(HashSet::capacity).collect::<Vec<_>>())
            .sum();
        assert!(kept <= 64, "memory for {kept} keys is kept for one");
        expiries.change(key(0), Some(start + SECOND * 5), None);
        assert!(expiries.is_empty());
    }
}
