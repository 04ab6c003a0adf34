use std::fmt;
use std::sync::Arc;

use tower_layer::Layer;

use super::ring::KeyRing;
use super::service::{Encrypt, Shared};
use crate::envelope::{Unreadable, UnreadableStats, Unreadables};

/// Seals what is written and opens what is read. See the [module](crate::encrypt).
///
/// The services one layer value makes share its keys and count unreadable values together; a new layer value counts for itself.
#[derive(Clone)]
pub struct EncryptLayer {
    keys: KeyRing,
    unreadables: Unreadables,
}

impl EncryptLayer {
    /// Seals with the active key of `keys` and opens with any of them. A value that does not open is a counted miss.
    #[must_use]
    pub fn new(keys: KeyRing) -> Self {
        Self { keys, unreadables: Unreadables::default() }
    }

    /// What a read answers when it finds a value that does not open (default [`Unreadable::Miss`]).
    #[must_use]
    pub fn on_unreadable(mut self, policy: Unreadable) -> Self {
        self.unreadables.policy = policy;
        self
    }

    /// The keys, to be read and changed while the layer is in use.
    #[must_use]
    pub fn keys(&self) -> KeyRing {
        self.keys.clone()
    }

    /// The live counts of values that did not open.
    #[must_use]
    pub fn unreadable(&self) -> UnreadableStats {
        self.unreadables.stats.clone()
    }
}

impl<S> Layer<S> for EncryptLayer {
    type Service = Encrypt<S>;

    fn layer(&self, inner: S) -> Encrypt<S> {
        let shared = Shared { keys: self.keys.clone(), unreadables: self.unreadables.clone() };
        Encrypt::new(inner, Arc::new(shared))
    }
}

impl fmt::Debug for EncryptLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncryptLayer")
            .field("keys", &self.keys)
            .field("on_unreadable", &self.unreadables.policy)
            .field("unreadable", &self.unreadables.stats)
            .finish_non_exhaustive()
    }
}
