//! The store in this process: typed, bounded, and without serialization.
//!
//! [`MemoryStore`] holds `Arc<V>`: a hit shares the value, so `V` needs no `Clone` and nothing is encoded. It is the leaf
//! of a stack of its own (there is no serialize layer over it), and the near tier before a remote store, through
//! [`LocalStore`](cachex_core::LocalStore).
//!
//! ```
//! use std::time::Duration;
//!
//! use cachex::store::memory::MemoryStore;
//! use cachex_core::{Key, LocalStore, Ttl};
//!
//! let store: MemoryStore<String> = MemoryStore::new(10_000);
//! let key = Key::new("country:FR")?;
//! store.insert(key.clone(), "Paris".to_owned().into(), Ttl::After(Duration::from_secs(300)));
//! assert_eq!(*store.get(&key).unwrap().value, "Paris");
//! # Ok::<(), cachex_core::CacheError>(())
//! ```
//!
//! # What it keeps, and for how long
//!
//! The store is bounded by a number of entries or by their weight; past the bound it evicts by S3-FIFO's rules (Yang et
//! al., "FIFO queues are all you need for cache eviction", SOSP 2023), as implemented by quick_cache. A cache may
//! forget: nothing in it is safe from eviction, counters included. Locks are kept apart and are never evicted.
//!
//! An entry past its lifetime is never served. Its memory is freed when it is next asked for, and otherwise within one
//! clean-up interval: keys wait in buckets as wide as the interval, so a clean-up touches what has expired and nothing
//! else. Giving an entry a lifetime, changing it and removing the entry cost O(log B) for B buckets in use; an
//! overwritten, deleted or evicted entry leaves nothing behind in a bucket. The clean-up is one task per store on the
//! runtime of the first write with a lifetime; it exists only while something can expire, and ends with the store. Outside
//! a tokio runtime (or in one without timers) there is no such task: writes then clean up, a few entries each.
//!
//! # Concurrency
//!
//! Reads take one shard's read lock. Writes to one key exclude each other by a striped lock, so conditions, increments
//! and changes of lifetime are atomic. No lock is held while a value is dropped.
//!
//! A miss carries a [`FillToken`](cachex_core::FillToken): the generation of the key's stripe. Every write and deletion
//! ends the generation, and so do invalidation by tag and clearing for all stripes at once; a fill that shows a token of
//! an ended generation is refused. Keys that share a stripe can refuse each other's fills, which costs a load and never
//! an old value.
//!
//! An entry remembers the generation of each of its tags, and is valid while none has ended. Invalidating a tag ends its
//! generation: O(1), however many entries carry it. They are freed as they are asked for, expire or are evicted.
//!
//! Requests are served when their future is first polled, in the order of those polls: a call that nobody polls has done
//! nothing, and dropping a future that has answered undoes nothing.
//!
//! A store that is made for more than 16,384 entries ([`MemoryStoreBuilder::max_entries`]) looks for an entry when it hears, while
//! it is being readied, that it will be read ([`cachex_core::foresight`]): the processor fetches it while the request comes down the
//! stack. That takes its shard's lock for reading once more, unless a writer has it.

mod builder;
mod channel;
mod expiry;
mod fence;
mod locks;
mod service;
mod shared;
mod slot;
mod store;
mod sweeper;
mod tags;

pub use builder::MemoryStoreBuilder;
pub use service::ResponseFuture;
pub use store::{MemoryStats, MemoryStore};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks in spite of poison: no code of users runs under these locks, and what they guard is valid at every step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
