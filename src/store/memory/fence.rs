//! Mutual exclusion of writers, and the generations that refuse late fills.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use cachex_core::{FillToken, Key};

use super::lock;

/// Stripes by key hash, each with a lock for writers and a generation, and an epoch that counts for all of them.
///
/// Both numbers only grow, so their sum is unchanged exactly when neither has changed: the sum is the token.
#[derive(Debug)]
pub(super) struct Fence {
    stripes: Box<[Stripe]>,
    epoch: AtomicU64,
    /// Fills hold it shared from the check of their token until they are stored; ending the epoch takes it alone.
    gate: RwLock<()>,
}

#[derive(Debug, Default)]
struct Stripe {
    lock: Mutex<()>,
    generation: AtomicU64,
}

/// A stripe, locked.
pub(super) struct Writing<'a> {
    stripe: &'a Stripe,
    _guard: MutexGuard<'a, ()>,
}

impl Fence {
    /// A fence for about this many keys.
    pub(super) fn new(keys: usize) -> Self {
        let stripes = keys.clamp(64, 1024).next_power_of_two();
        Self {
            stripes: (0..stripes).map(|_| Stripe::default()).collect(),
            epoch: AtomicU64::new(1), // so that no token is zero, which is `UNFENCED`
            gate: RwLock::new(()),
        }
    }

    fn stripe(&self, key: &Key) -> &Stripe {
        // The cache beneath picks shards by the middle and buckets by the low bits of the hash: take others.
        let at = (key.hash_code() >> 48) as usize & (self.stripes.len() - 1);
        &self.stripes[at]
    }

    /// What a load of this key that begins now has to show.
    pub(super) fn token(&self, key: &Key) -> FillToken {
        // Acquire: what the load reads is read after this, and after whatever the last writer did before it was done.
        let generation = self.stripe(key).generation.load(Ordering::Acquire);
        FillToken::from_raw(generation.wrapping_add(self.epoch.load(Ordering::Acquire)))
    }

    /// Excludes other writers of this key.
    pub(super) fn write(&self, key: &Key) -> Writing<'_> {
        let stripe = self.stripe(key);
        Writing { stripe, _guard: lock(&stripe.lock) }
    }

    /// Keeps the epoch as it is. Taken before [`Fence::write`], never after.
    pub(super) fn hold_epoch(&self) -> RwLockReadGuard<'_, ()> {
        self.gate.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something that every load under way has missed.
    pub(super) fn end_epoch<R>(&self, change: impl FnOnce() -> R) -> R {
        let _alone = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        let result = change();
        self.epoch.fetch_add(1, Ordering::Release);
        result
    }
}

impl Writing<'_> {
    /// Refuses every load of this stripe's keys that has begun by now. Called after the change and before the lock is
    /// released: a load that began in between has not seen the change either.
    pub(super) fn end_generation(&self) {
        self.stripe.generation.fetch_add(1, Ordering::Release);
    }
}
