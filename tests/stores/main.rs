//! The stores: one behaviour suite for all, and each store's own tests.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

mod memory;
mod redis;
