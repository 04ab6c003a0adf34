//! The handle and the patterns built on it.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

mod invalidations;
mod operations;
mod read_through;
