//! cachex
pub mod keys;
pub mod store;
