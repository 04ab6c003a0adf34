//! Faults under constant load, on the recommended stack over real servers.
//!
//! Each scenario starts a [load](load::Load) of a fixed rate, does something to the server, and asks for the same: no
//! panic, no call beyond its bound, no wrong value, no acknowledged write lost but by the server itself, no error of a
//! kind that the table in `docs/redis.md` does not give for it, and nine tenths of the load served within 5 s of the
//! server's return, without anything being done to the application.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

mod cluster;
mod load;
mod oracle;
mod panics;
mod seen;
mod sentinel;
mod standalone;

use std::time::Duration;

use cachex::Cache;
use cachex::layers::{Bincode, EncryptionKey, KeyId, KeyRing};
use cachex::preset::Recommended;
use cachex::store::redis::RedisStore;

/// Longer than anything takes, on however slow a machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How soon after the server's return the load is to be served again.
const RECOVERY: Duration = Duration::from_secs(5);

/// Of the recommended stack: three attempts of 250 ms, and 100 ms at most before the second and the third, which is what an
/// error asks for that asks for most (`loading`, `cluster_down`); the backoff itself is shorter.
const LONGEST_CALL: Duration = Duration::from_millis(3 * 250 + 2 * 100);

/// The same for control operations, which have 1 s for an attempt.
const LONGEST_CONTROL: Duration = Duration::from_millis(3 * 1_000 + 2 * 100);

/// What a busy machine adds, beyond the longest stall that was measured meanwhile.
const SLACK: Duration = Duration::from_secs(1);

/// The recommended stack as it is, sealed.
fn sealed(settings: &Recommended, store: RedisStore) -> Cache<oracle::Stored> {
    let keys = KeyRing::new(KeyId(1), EncryptionKey::generate().unwrap());
    Cache::new(settings.sealed(Bincode, keys, store.sealed())).boxed()
}

/// The recommended stack as it is.
fn typed(settings: &Recommended, store: RedisStore) -> Cache<oracle::Stored> {
    Cache::new(settings.typed(Bincode, store)).boxed()
}
