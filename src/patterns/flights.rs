//! Loads under way: one per key and process, whoever asks, and nobody's in particular.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use cachex_core::{CacheError, CacheRequest, ErrorKind, Key, KeyHashBuilder};
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// A power of two: the low bits of a key's hash choose the shard.
const SHARDS: usize = 64;

/// What a load came to.
pub(crate) type Outcome<V> = Result<Arc<V>, CacheError>;

/// The loads under way of one cache.
pub(crate) struct Flights<V> {
    shards: Box<[Shard<V>]>,
    /// How many loads run, superseded ones included.
    running: AtomicUsize,
    idle: Notify,
}

struct Shard<V> {
    flights: Mutex<HashMap<Key, Arc<Flight<V>>, KeyHashBuilder>>,
    /// How many loads of this shard have landed. Unchanged since before a lookup means that its miss is still news.
    landed: AtomicU64,
}

/// One load under way.
pub(crate) struct Flight<V> {
    outcome: OnceLock<Outcome<V>>,
    landed: Arc<Notify>,
    /// The key was written or invalidated since the load began: its result may be told to those who wait, not stored.
    superseded: AtomicBool,
}

/// A seat on a flight: wait for the landing, then read the outcome.
pub(crate) struct Seat<V> {
    pub(crate) flight: Arc<Flight<V>>,
    pub(crate) landing: OwnedNotified,
}

/// How many loads of a key's shard had landed when this was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Landed(u64);

impl<V> Default for Flights<V> {
    fn default() -> Self {
        let shards = (0..SHARDS)
            .map(|_| Shard { flights: Mutex::default(), landed: AtomicU64::new(0) })
            .collect::<Vec<_>>()
            .into_boxed_slice();
        Self { shards, running: AtomicUsize::new(0), idle: Notify::new() }
    }
}

impl<V> Flights<V> {
    fn shard(&self, key: &Key) -> &Shard<V> {
        // The high bits: quick_cache and the hash maps use the low ones.
        &self.shards[(key.hash_code() >> 58) as usize % SHARDS]
    }

    /// Take this before a lookup, and show it to [`Flights::board`] after a miss.
    #[inline]
    pub(crate) fn landed(&self, key: &Key) -> Landed {
        Landed(self.shard(key).landed.load(Ordering::Acquire))
    }

    /// Takes a seat on the load of `key` that is under way. Where there is none, one is made, and the second answer is the
    /// pilot's licence: whether the miss that led here is current (no load of this shard landed since `since`), so that
    /// nothing could have been stored in between and the cache need not be asked again.
    pub(crate) fn board(self: &Arc<Self>, key: &Key, since: Landed) -> (Seat<V>, Option<(Pilot<V>, bool)>) {
        let shard = self.shard(key);
        let mut flights = shard.lock();
        match flights.entry(key.clone()) {
            Entry::Occupied(entry) => (Flight::seat(entry.get()), None),
            Entry::Vacant(entry) => {
                let flight = Arc::new(Flight {
                    outcome: OnceLock::new(),
                    landed: Arc::new(Notify::new()),
                    superseded: AtomicBool::new(false),
                });
                // Before it can be found: whoever supersedes looks at the count first.
                self.running.fetch_add(1, Ordering::AcqRel);
                entry.insert(Arc::clone(&flight));
                // Under the lock: a landing counts itself under it as well.
                let current = shard.landed.load(Ordering::Acquire) == since.0;
                drop(flights);
                let seat = Flight::seat(&flight);
                (seat, Some((Pilot { flights: Arc::clone(self), key: key.clone(), flight }, current)))
            }
        }
    }

    /// The keys of `request` are being written: loads of them that are under way may not be stored, and nobody boards
    /// them any more.
    pub(crate) fn supersede_request(&self, request: &CacheRequest<V>) {
        if self.running.load(Ordering::Acquire) == 0 {
            return;
        }
        if let CacheRequest::InvalidateTags(_) = request {
            // Which loads the tags concern is not known before they are stored.
            return self.supersede_all();
        }
        for key in request.keys() {
            if let Some(flight) = self.shard(key).lock().remove(key) {
                flight.superseded.store(true, Ordering::Release);
            }
        }
    }

    /// As if every key had been written.
    pub(crate) fn supersede_all(&self) {
        for shard in &self.shards {
            for (_, flight) in shard.lock().drain() {
                flight.superseded.store(true, Ordering::Release);
            }
        }
    }

    /// Whether no load is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.running.load(Ordering::Acquire) == 0
    }

    /// Waits until no load is under way. Cancel safe.
    pub(crate) async fn drained(&self) {
        loop {
            let idle = self.idle.notified();
            if self.running.load(Ordering::Acquire) == 0 {
                return;
            }
            idle.await;
        }
    }
}

impl<V> Shard<V> {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Arc<Flight<V>>, KeyHashBuilder>> {
        // No code that can panic runs under the lock, and the map is whole between any two statements.
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> Flight<V> {
    fn seat(flight: &Arc<Self>) -> Seat<V> {
        // Made before the outcome is looked at: a landing in between is not missed.
        Seat { flight: Arc::clone(flight), landing: Arc::clone(&flight.landed).notified_owned() }
    }

    /// What the load came to, once it has landed.
    pub(crate) fn outcome(&self) -> Option<Outcome<V>> {
        self.outcome.get().cloned()
    }

    /// Whether the result may not be stored.
    pub(crate) fn is_superseded(&self) -> bool {
        self.superseded.load(Ordering::Acquire)
    }
}

/// Whoever runs the load. Dropping it without [`Pilot::land`] tells those who wait that the load was abandoned.
pub(crate) struct Pilot<V> {
    flights: Arc<Flights<V>>,
    pub(crate) key: Key,
    pub(crate) flight: Arc<Flight<V>>,
}

impl<V> Pilot<V> {
    /// Tells everyone who waits, and clears the runway.
    pub(crate) fn land(self, outcome: Outcome<V>) {
        // Only the pilot sets it, and only once.
        let _ = self.flight.outcome.set(outcome);
    }
}

impl<V> Drop for Pilot<V> {
    fn drop(&mut self) {
        // In flight => landed: outcome first, so that whoever is woken, or boards late, finds it.
        self.flight.outcome.get_or_init(|| {
            Err(CacheError::new(
                ErrorKind::LoaderPanicked,
                "the load was abandoned: it panicked, or its runtime shut down",
            ))
        });
        let shard = self.flights.shard(&self.key);
        {
            let mut flights = shard.lock();
            if flights.get(&self.key).is_some_and(|current| Arc::ptr_eq(current, &self.flight)) {
                flights.remove(&self.key);
            }
            shard.landed.fetch_add(1, Ordering::AcqRel);
        }
        self.flight.landed.notify_waiters();
        if self.flights.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.flights.idle.notify_waiters();
        }
    }
}

impl<V> fmt::Debug for Flights<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights").field("running", &self.running).finish_non_exhaustive()
    }
}
