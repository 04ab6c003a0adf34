//! Locks with owners, lifetimes and fencing tokens.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::Mutex;
use std::time::Duration;

use cachex_core::{FencingToken, Key, KeyHashBuilder, LockOwner, clock};
use tokio::time::Instant;

use super::lock;

/// The locks that are held. They are no cache entries: eviction never takes one.
#[derive(Debug, Default)]
pub(super) struct LockTable(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    held: HashMap<Key, Held, KeyHashBuilder>,
    /// One number for all locks of the store: it grows for each, and there is nothing to remember of a free lock.
    last_token: u64,
    /// Drop what has expired when there are this many.
    tidy_at: usize,
}

#[derive(Debug)]
struct Held {
    owner: LockOwner,
    until: Instant,
    token: FencingToken,
}

/// A table smaller than this is not worth tidying.
const TIDY_FROM: usize = 64;

impl LockTable {
    pub(super) fn acquire(&self, key: Key, owner: LockOwner, ttl: Duration) -> Option<FencingToken> {
        let now = clock::now();
        let mut table = lock(&self.0);
        if let Some(held) = table.held.get_mut(&key).filter(|held| held.until > now) {
            // The answer to an owner's first attempt may have been lost on its way.
            return (held.owner == owner).then(|| {
                held.until = held.until.max(now + ttl);
                held.token
            });
        }
        table.last_token += 1;
        let token = FencingToken(NonZeroU64::new(table.last_token)?);
        table.held.insert(key, Held { owner, until: now + ttl, token });
        if table.held.len() >= table.tidy_at.max(TIDY_FROM) {
            table.held.retain(|_, held| held.until > now);
            table.tidy_at = table.held.len() * 2;
        }
        Some(token)
    }

    pub(super) fn extend(&self, key: &Key, owner: LockOwner, ttl: Duration) -> bool {
        let now = clock::now();
        let mut table = lock(&self.0);
        match table.held.get_mut(key) {
            Some(held) if held.owner == owner && held.until > now => {
                held.until = now + ttl;
                true
            }
            _ => false,
        }
    }

    pub(super) fn release(&self, key: &Key, owner: LockOwner) -> bool {
        let now = clock::now();
        let mut table = lock(&self.0);
        if table.held.get(key).is_none_or(|held| held.owner != owner) {
            return false;
        }
        table.held.remove(key).is_some_and(|held| held.until > now)
    }

    pub(super) fn clear(&self) {
        lock(&self.0).held.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn expired_locks_are_not_kept_for_ever() {
        let locks = LockTable::default();
        let ttl = Duration::from_secs(1);
        for n in 0..100 {
            for m in 0..100 {
                assert!(locks.acquire(Key::new(format!("{n}:{m}")).unwrap(), LockOwner(1), ttl).is_some());
            }
            tokio::time::advance(ttl).await;
        }
        assert!(lock(&locks.0).held.len() <= 256);
    }
}
