//! The scenarios, by the sources they explore.

pub mod batch;
pub mod bulkhead;
pub mod circuit_breaker;
pub mod flights;
pub mod memory_store;
pub mod shared_stack;
