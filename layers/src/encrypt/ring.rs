use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};

use super::aead::{Aead, Sealer};
use super::key::{EncryptionKey, KeyError, KeyId};

/// The keys of an encrypt layer: one that seals, and any number that open.
///
/// A handle: clones share the keys, and a change takes effect for every value that is sealed or opened after it. The secrets
/// are overwritten when the last value that uses them is done; `Debug` shows the numbers only.
#[derive(Clone)]
pub struct KeyRing(Arc<Ring>);

struct Ring {
    current: ArcSwap<Keys>,
    /// Held by who changes them.
    changing: Mutex<()>,
}

/// Never changed, only replaced.
#[derive(Clone)]
pub(super) struct Keys {
    active: KeyId,
    /// A handful: searching them in order beats a map.
    all: Vec<RingKey>,
}

#[derive(Clone)]
struct RingKey {
    id: KeyId,
    sealer: Sealer,
    key: EncryptionKey,
}

impl Keys {
    /// The key for new values.
    pub(super) fn active(&self) -> Option<(KeyId, &Sealer)> {
        Some((self.active, self.get(self.active)?))
    }

    pub(super) fn get(&self, id: KeyId) -> Option<&Sealer> {
        self.all.iter().find(|key| key.id == id).map(|key| &key.sealer)
    }

    /// Adding a key once more changes nothing, so that reading a configuration again is harmless.
    fn add(&mut self, id: KeyId, key: EncryptionKey) -> Result<(), KeyError> {
        if let Some(known) = self.all.iter().find(|known| known.id == id) {
            return if known.key.is_same(&key) { Ok(()) } else { Err(KeyError::DuplicateId(id)) };
        }
        self.all.push(RingKey { id, sealer: Sealer::new(&key), key });
        Ok(())
    }
}

impl KeyRing {
    /// A ring of one key, which seals and opens.
    #[must_use]
    pub fn new(id: KeyId, key: EncryptionKey) -> Self {
        let mut keys = Keys { active: id, all: Vec::new() };
        // The first key of an empty ring is never a duplicate.
        let _ = keys.add(id, key);
        Self(Arc::new(Ring { current: ArcSwap::from_pointee(keys), changing: Mutex::new(()) }))
    }

    /// A ring of several keys: `key` seals and opens; add those that only open.
    pub fn builder(id: KeyId, key: EncryptionKey) -> KeyRingBuilder {
        KeyRingBuilder { active: (id, key), readable: Vec::new() }
    }

    /// Adds a key that opens values. A key that is there already, with the same bytes, may be added again.
    ///
    /// # Errors
    ///
    /// [`KeyError::DuplicateId`] when another key has this number. Nothing is changed then.
    pub fn add(&self, id: KeyId, key: EncryptionKey) -> Result<(), KeyError> {
        self.change(|keys| keys.add(id, key))
    }

    /// Seals with this key from now on, adding it if it is not there. The one that sealed so far still opens.
    ///
    /// # Errors
    ///
    /// [`KeyError::DuplicateId`] when another key has this number. Nothing is changed then.
    pub fn rotate(&self, id: KeyId, key: EncryptionKey) -> Result<(), KeyError> {
        self.change(|keys| {
            keys.add(id, key)?;
            keys.active = id;
            Ok(())
        })
    }

    /// Forgets a key. Values that were sealed with it can no longer be read.
    ///
    /// # Errors
    ///
    /// [`KeyError::Active`] when it is the one that seals, [`KeyError::UnknownId`] when there is none. Nothing is changed then.
    pub fn retire(&self, id: KeyId) -> Result<(), KeyError> {
        self.change(|keys| {
            if keys.active == id {
                return Err(KeyError::Active(id));
            }
            let before = keys.all.len();
            keys.all.retain(|key| key.id != id);
            if keys.all.len() == before { Err(KeyError::UnknownId(id)) } else { Ok(()) }
        })
    }

    /// The number of the key that seals.
    #[must_use]
    pub fn active(&self) -> KeyId {
        self.keys().active
    }

    /// The numbers of all keys that open, the active one included.
    #[must_use]
    pub fn ids(&self) -> Vec<KeyId> {
        self.keys().all.iter().map(|key| key.id).collect()
    }

    /// The keys as they are now. Every read asks, on every thread: so it takes no lock and counts no reference.
    #[inline]
    pub(super) fn keys(&self) -> Guard<Arc<Keys>> {
        self.0.current.load()
    }

    fn change(&self, change: impl FnOnce(&mut Keys) -> Result<(), KeyError>) -> Result<(), KeyError> {
        let _changing = self.0.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = Keys::clone(&self.keys());
        change(&mut next)?;
        self.0.current.store(Arc::new(next));
        Ok(())
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.keys();
        let ids: Vec<_> = keys.all.iter().map(|key| key.id.0).collect();
        f.debug_struct("KeyRing").field("active", &keys.active.0).field("ids", &ids).finish()
    }
}

/// Collects the keys of a [`KeyRing`]. From [`KeyRing::builder`].
#[derive(Debug)]
#[must_use]
pub struct KeyRingBuilder {
    active: (KeyId, EncryptionKey),
    readable: Vec<(KeyId, EncryptionKey)>,
}

impl KeyRingBuilder {
    /// Adds a key that opens values and never seals one.
    pub fn readable(mut self, id: KeyId, key: EncryptionKey) -> Self {
        self.readable.push((id, key));
        self
    }

    /// Makes the ring.
    ///
    /// # Errors
    ///
    /// [`KeyError::DuplicateId`] when two different keys have one number.
    pub fn build(self) -> Result<KeyRing, KeyError> {
        let (id, key) = self.active;
        let ring = KeyRing::new(id, key);
        for (id, key) in self.readable {
            ring.add(id, key)?;
        }
        Ok(ring)
    }
}
