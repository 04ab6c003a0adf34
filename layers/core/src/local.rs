//! The small synchronous face of an in-process store.

use std::fmt;
use std::sync::Arc;

use crate::entry::Entry;
use crate::key::Key;
use crate::ttl::Ttl;

/// What a load must show for its result to be stored: taken before the load began, refused when the key was written or
/// invalidated since.
///
/// Opaque: only the store that handed it out can read it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct FillToken(u64);

impl FillToken {
    /// The token of a store that keeps no fence: such a store decides by other means, as by storing only if absent.
    pub const UNFENCED: Self = Self(0);

    /// Wraps a store's own number. Zero is [`FillToken::UNFENCED`].
    #[must_use]
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// The store's own number.
    #[must_use]
    pub const fn into_raw(self) -> u64 {
        self.0
    }
}

impl fmt::Debug for FillToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FillToken({})", self.0)
    }
}

/// An in-process store as a near cache sees it: synchronous, infallible, sharing values.
///
/// Every method is atomic with respect to the others on the same key.
pub trait LocalStore<V>: Send + Sync + 'static {
    /// The live entry, if there is one.
    fn get(&self, key: &Key) -> Option<Entry<V>>;

    /// The fence a load of this key has to show to [`LocalStore::fill`]. Take it before the load begins.
    fn begin_fill(&self, key: &Key) -> FillToken;

    /// Stores the result of a load, unless the key was written or removed since the token was taken.
    /// Returns whether it was stored.
    fn fill(&self, key: Key, value: Arc<V>, ttl: Ttl, token: FillToken) -> bool;

    /// Stores a value and refuses every load of this key that is under way.
    fn insert(&self, key: Key, value: Arc<V>, ttl: Ttl);

    /// Removes an entry and refuses every load of this key that is under way. Returns whether there was an entry.
    fn remove(&self, key: &Key) -> bool;

    /// Removes everything and refuses every load that is under way.
    fn clear(&self);

    /// How many entries there are; expired ones may still be counted.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
