//! Helpers for testing layers and stores, behind the feature `testing`.
//!
//! [`Leaf`] is a scripted service to stand beneath a layer.

mod gate;
mod leaf;

pub mod store;

pub use gate::Gate;
pub use leaf::{Leaf, LeafFuture, Outcome, Readiness};
