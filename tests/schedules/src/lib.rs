//! Explores the schedules of cachex's concurrent core: the real sources, compiled against a standard library and a tokio
//! in which [shuttle](https://docs.rs/shuttle) decides who goes next. CONTRIBUTING.md tells how to run and to replay.
//!
//! # What is explored
//!
//! The files named below as they are, with every `Mutex`, `RwLock`, `OnceLock` and atomic of theirs, their tasks and their
//! timers; and quick_cache, which has the same switch.
//!
//! # What is out of reach
//!
//! - Weak memory: every atomic operation is sequentially consistent here, whatever ordering it names.
//! - The insides of tokio's channels and `Notify`, and of `cachex_core`: each operation is one step.
//! - Time: a timer fires whenever the explorer likes, and instants are the real clock's, so scenarios use waits that are
//!   over at once or never. Expiry and its clean-up are therefore not explored.
//! - Unwinding through a lock: the explorer takes a panic for the end. [`tokio::task::abandon`] ends a task without one.
//!
//! Keys hash differently in each process, so a scenario uses one key: with two, a schedule might not be replayed.
#![forbid(unsafe_code)]
#![expect(dead_code, unused_imports, reason = "what no scenario needs of the sources")]
#![expect(
    clippy::drop_non_drop,
    clippy::large_enum_variant,
    reason = "the explorer's tasks and atomics are other types"
)]

extern crate explored_std as std;
extern crate explored_tokio as tokio;

mod explore;
pub mod scenarios;
mod tools;

pub use explore::explore;

// What `layers/core/src/shared.rs` finds beside it.
use cachex_core::{CacheError, CacheRequest, CacheResponse, CacheService, ErrorKind, clock, foresight};
mod error {
    pub use cachex_core::{CacheError, ErrorKind};
}
mod request {
    pub use cachex_core::CacheRequest;
}
mod response {
    pub use cachex_core::CacheResponse;
}
mod service {
    pub use cachex_core::CacheService;
}
#[path = "../../../layers/core/src/shared.rs"]
mod shared;

#[macro_use]
#[path = "../../../layers/src/macros.rs"]
mod macros;
#[path = "../../../layers/src/batch/mod.rs"]
mod batch;
#[path = "../../../layers/src/bulkhead/mod.rs"]
mod bulkhead;
#[path = "../../../layers/src/circuit_breaker/mod.rs"]
mod circuit_breaker;

#[path = "../../../src/cache/mod.rs"]
mod cache;
#[path = "../../../src/patterns"]
mod patterns {
    pub(crate) mod flights;
    pub mod read_through;
}
#[path = "../../../src/store"]
mod store {
    pub mod memory;
}
