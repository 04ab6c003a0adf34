//! Keys: validated once, hashed once, cheap to clone, and silent in logs.

use std::borrow::Cow;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::{Arc, LazyLock};

use crate::error::{CacheError, ErrorKind};

/// Seeded once per process, so that nobody outside can aim for collisions.
static SEED: LazyLock<foldhash::quality::RandomState> =
    LazyLock::new(foldhash::quality::RandomState::default);

/// The name of a cache entry.
///
/// 1 to [`Key::MAX_LEN`] bytes of UTF-8 without control characters (they would forge log lines). Validation and hashing
/// happen once, when the key is made; a clone is one reference count. `Debug` shows a per-process hash and the length,
/// never the text; [`Key::as_str`] is the explicit way to the text.
///
/// ```
/// use cachex_core::Key;
///
/// let key = Key::new("user:42")?;
/// assert_eq!(key.as_str(), "user:42");
/// assert!(!format!("{key:?}").contains("user"));
/// assert!(Key::new("").is_err());
/// # Ok::<(), cachex_core::CacheError>(())
/// ```
pub struct Key {
    text: Arc<str>,
    hash: u64,
}

/// One reference count.
impl Clone for Key {
    #[inline]
    fn clone(&self) -> Self {
        // Read before the count is raised, the hash is copied together with the length of the text beside it, as it is
        // when a request is moved. Written apart, it could not be read back before the count, which may have to come
        // from memory: the search for the entry would wait for that.
        let hash = self.hash;
        Self { text: Arc::clone(&self.text), hash }
    }
}

impl Key {
    /// The longest key, in bytes.
    pub const MAX_LEN: usize = 4096;

    /// Makes a key, allocating once.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidKey`] when `text` is empty, longer than [`Key::MAX_LEN`] bytes, or holds a control character.
    pub fn new(text: impl AsRef<str>) -> Result<Self, CacheError> {
        let text = text.as_ref();
        validate("key", ErrorKind::InvalidKey, text, Self::MAX_LEN)?;
        Ok(Self { text: Arc::from(text), hash: SEED.hash_one(text) })
    }

    /// The text of the key. Do not log it where keys may be personal data.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The hash of the text, seeded per process: equal keys agree within a process, never across processes.
    #[must_use]
    pub fn hash_code(&self) -> u64 {
        self.hash
    }
}

/// Refuses what no key or tag may be; errors name the length and position, never the text.
pub(crate) fn validate(what: &str, kind: ErrorKind, text: &str, max: usize) -> Result<(), CacheError> {
    if text.is_empty() {
        return Err(CacheError::new(kind, format!("{what} is empty")));
    }
    if text.len() > max {
        return Err(CacheError::new(kind, format!("{what} is {} bytes long, {max} at most", text.len())));
    }
    // Nearly all are printable ASCII: without a way out of the loop it is checked many bytes at a time.
    if text.bytes().fold(true, |printable, byte| printable & (b' '..=b'~').contains(&byte)) {
        return Ok(());
    }
    if let Some(at) = text.char_indices().find_map(|(at, c)| c.is_control().then_some(at)) {
        return Err(CacheError::new(kind, format!("{what} has a control character at byte {at}")));
    }
    Ok(())
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key(#{:016x}, {} bytes)", self.hash, self.text.len())
    }
}

impl PartialEq for Key {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        // Same allocation first: a hit on a key the caller kept never touches the text.
        Arc::ptr_eq(&self.text, &other.text) || (self.hash == other.hash && self.text == other.text)
    }
}

impl Eq for Key {}

impl Hash for Key {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}

impl TryFrom<&str> for Key {
    type Error = CacheError;

    fn try_from(text: &str) -> Result<Self, CacheError> {
        Self::new(text)
    }
}

impl std::str::FromStr for Key {
    type Err = CacheError;

    fn from_str(text: &str) -> Result<Self, CacheError> {
        Self::new(text)
    }
}

/// A hasher for maps keyed by [`Key`]: passes on the hash the key already carries.
///
/// Use it with [`Key`] (or one `u64` that is already a good hash) only.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyHashBuilder;

/// The state of a [`KeyHashBuilder`].
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyHasher(u64);

impl BuildHasher for KeyHashBuilder {
    type Hasher = KeyHasher;

    #[inline]
    fn build_hasher(&self) -> KeyHasher {
        KeyHasher(0)
    }
}

impl Hasher for KeyHasher {
    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }

    #[inline]
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, bytes: &[u8]) {
        // Only reached when someone hashes what is not a `Key`; slow, but not wrong.
        for &byte in bytes {
            self.0 = self.0.rotate_left(5).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ u64::from(byte);
        }
    }
}

/// What can be turned into a [`Key`]: a key, a reference to one, or text.
///
/// Passing a [`Key`] or `&Key` allocates nothing; text allocates once.
pub trait IntoKey {
    /// Makes the key.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidKey`] as in [`Key::new`].
    fn into_key(self) -> Result<Key, CacheError>;
}

impl IntoKey for Key {
    fn into_key(self) -> Result<Key, CacheError> {
        Ok(self)
    }
}

impl IntoKey for &Key {
    fn into_key(self) -> Result<Key, CacheError> {
        Ok(self.clone())
    }
}

impl IntoKey for &str {
    fn into_key(self) -> Result<Key, CacheError> {
        Key::new(self)
    }
}

impl IntoKey for String {
    fn into_key(self) -> Result<Key, CacheError> {
        Key::new(self)
    }
}

impl IntoKey for &String {
    fn into_key(self) -> Result<Key, CacheError> {
        Key::new(self)
    }
}

impl IntoKey for Cow<'_, str> {
    fn into_key(self) -> Result<Key, CacheError> {
        Key::new(self)
    }
}

/// One key or many, without an allocation for one.
#[derive(Clone, Debug)]
pub enum Keys {
    /// A single key.
    One(Key),
    /// Several keys, shared by every clone.
    Many(Arc<[Key]>),
}

impl Keys {
    /// The keys as a slice.
    #[must_use]
    pub fn as_slice(&self) -> &[Key] {
        match self {
            Self::One(key) => std::slice::from_ref(key),
            Self::Many(keys) => keys,
        }
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether there is no key at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }
}

impl From<Key> for Keys {
    fn from(key: Key) -> Self {
        Self::One(key)
    }
}

impl From<Vec<Key>> for Keys {
    fn from(keys: Vec<Key>) -> Self {
        Self::Many(keys.into())
    }
}

impl FromIterator<Key> for Keys {
    fn from_iter<I: IntoIterator<Item = Key>>(keys: I) -> Self {
        Self::Many(keys.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn refuses_what_no_key_may_be() {
        for (text, part) in [("", "empty"), ("a\nb", "byte 1"), ("a\u{85}", "byte 1"), ("\u{7f}", "byte 0")] {
            let error = Key::new(text).expect_err(text);
            assert_eq!(error.kind(), ErrorKind::InvalidKey);
            assert!(error.to_string().contains(part), "{error}");
        }
        assert!(Key::new("k".repeat(Key::MAX_LEN)).is_ok());
        let error = Key::new("k".repeat(Key::MAX_LEN + 1)).expect_err("too long");
        assert!(error.to_string().contains("4097"), "{error}");
    }

    proptest! {
        #[test]
        fn behaves_like_its_text(a in "[^\\p{Cc}]{1,24}", b in "[^\\p{Cc}]{1,24}") {
            let (ka, kb) = (Key::new(&a).unwrap(), Key::new(&b).unwrap());
            prop_assert_eq!(ka == kb, a == b);
            prop_assert_eq!(ka.cmp(&kb), a.cmp(&b));
            prop_assert_eq!(ka.clone(), Key::new(&a).unwrap());
            let map: HashMap<Key, u8, KeyHashBuilder> = [(ka, 1)].into_iter().collect();
            prop_assert_eq!(map.contains_key(&kb), a == b);
        }

        #[test]
        fn debug_never_shows_the_text(text in "[g-z]{4,24}") {
            let shown = format!("{:?}", Key::new(&text).unwrap());
            prop_assert!(!shown.contains(&text));
        }
    }
}
