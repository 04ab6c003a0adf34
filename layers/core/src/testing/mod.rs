//! Helpers for testing layers and stores, behind the feature `testing`.
//!
//! [`Leaf`] is a scripted service to stand beneath a layer; [`Contract`] is the suite every layer passes over it.

mod contract;
mod gate;
mod leaf;

pub mod store;

pub use contract::{Contract, KEY_MARKER, Rule, VALUE_MARKER};
pub use gate::Gate;
pub use leaf::{Leaf, LeafFuture, Outcome, Readiness};
