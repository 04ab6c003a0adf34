//! cachex
pub mod store;
