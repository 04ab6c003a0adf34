//! Caching patterns, built on the handle.

pub(crate) mod flights;
mod read_through;

pub use read_through::{ReadThrough, ReadThroughFuture};
