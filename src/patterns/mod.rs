//! Caching patterns, built on the handle.

pub(crate) mod flights;
pub mod lock;
mod read_through;

pub use lock::{LockGuard, Redlock, RedlockGuard};
pub use read_through::{ReadThrough, ReadThroughFuture};
