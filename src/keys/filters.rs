//! The filters of a list, as one hash.

use std::fmt;

use cachex_core::Key;
use sha2::{Digest, Sha256};

use super::{KeyBuilder, KeyError};

/// Separates these hashes from all others, and from those of another way to write filters, should there ever be one.
const DOMAIN: &[u8] = b"cachex list filters 1";

/// The value a list is filtered by.
///
/// Numbers of different types are the same value when they are the same number; text, numbers, truth values and nothing
/// are never the same as each other: the text `"1"` is not the number `1`.
#[derive(Clone, PartialEq, Eq)]
pub struct FilterValue(Repr);

#[derive(Clone, PartialEq, Eq)]
enum Repr {
    Nothing,
    Bool(bool),
    /// In decimal.
    Integer(String),
    Text(String),
}

impl FilterValue {
    /// No value, as in "has no owner"; also what `None` becomes.
    pub const NOTHING: Self = Self(Repr::Nothing);

    /// Any value by its text, which has to tell different values apart.
    #[must_use]
    pub fn display(value: impl fmt::Display) -> Self {
        Self(Repr::Text(value.to_string()))
    }

    /// A tag, the length, the bytes: no two values, and no two sequences of values, are written alike.
    fn write(&self, out: &mut Vec<u8>) {
        match &self.0 {
            Repr::Nothing => out.push(0),
            Repr::Bool(value) => out.extend([1, u8::from(*value)]),
            Repr::Integer(decimal) => {
                out.push(2);
                write_text(out, decimal);
            }
            Repr::Text(text) => {
                out.push(3);
                write_text(out, text);
            }
        }
    }
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// Does not show the value.
impl fmt::Debug for FilterValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Repr::Nothing => "FilterValue(nothing)",
            Repr::Bool(_) => "FilterValue(bool)",
            Repr::Integer(_) => "FilterValue(integer)",
            Repr::Text(_) => "FilterValue(text)",
        })
    }
}

impl From<bool> for FilterValue {
    fn from(value: bool) -> Self {
        Self(Repr::Bool(value))
    }
}

impl From<&str> for FilterValue {
    fn from(text: &str) -> Self {
        Self(Repr::Text(text.to_owned()))
    }
}

impl From<&String> for FilterValue {
    fn from(text: &String) -> Self {
        Self(Repr::Text(text.clone()))
    }
}

impl From<String> for FilterValue {
    fn from(text: String) -> Self {
        Self(Repr::Text(text))
    }
}

impl<T: Into<Self>> From<Option<T>> for FilterValue {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::NOTHING, Into::into)
    }
}

macro_rules! from_integers {
    ($($type:ty)*) => {$(
        impl From<$type> for FilterValue {
            fn from(value: $type) -> Self {
                Self(Repr::Integer(value.to_string()))
            }
        }
    )*};
}

from_integers!(i8 i16 i32 i64 i128 isize u8 u16 u32 u64 u128 usize);

/// What the filters of a list come down to: the first 160 bits of a SHA-256, as 40 hexadecimal digits.
///
/// It depends on the set of filters only: not on their order, the process, the platform or the version of this crate.
/// SHA-256 (FIPS 180-4), because filters often come from users: with a weaker hash they could make two lists collide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FilterHash([u8; 20]);

impl FilterHash {
    fn of(filters: &[(String, FilterValue)]) -> Self {
        let mut written: Vec<Vec<u8>> = filters
            .iter()
            .map(|(name, value)| {
                let mut out = Vec::with_capacity(name.len() + 32);
                write_text(&mut out, name);
                value.write(&mut out);
                out
            })
            .collect();
        written.sort_unstable();
        written.dedup();
        let mut hash = Sha256::new();
        hash.update(DOMAIN);
        hash.update((written.len() as u64).to_le_bytes());
        for filter in &written {
            hash.update(filter);
        }
        let digest: [u8; 32] = hash.finalize().into();
        let mut first = [0; 20];
        first.copy_from_slice(&digest[..20]);
        Self(first)
    }

    /// Reads what `Display` writes.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 40 || !digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        let mut bytes = [0; 20];
        for (byte, at) in bytes.iter_mut().zip((0..40).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// The bits themselves.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }
}

impl fmt::Display for FilterHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The key of a list under construction: see [`KeyBuilder::list`].
#[derive(Clone)]
#[must_use = "a list's key is made by `build`"]
pub struct ListKey<'a> {
    keys: &'a KeyBuilder,
    entity: &'a str,
    filters: Vec<(String, FilterValue)>,
}

impl<'a> ListKey<'a> {
    pub(super) fn new(keys: &'a KeyBuilder, entity: &'a str) -> Self {
        Self { keys, entity, filters: Vec::new() }
    }

    /// Adds a filter. Filters are a set: their order does not matter, the same one twice counts once, and one name may
    /// have several values.
    pub fn filter(mut self, name: impl Into<String>, value: impl Into<FilterValue>) -> Self {
        self.filters.push((name.into(), value.into()));
        self
    }

    /// Adds several filters, as from the query of a URL.
    pub fn filters<N, F>(mut self, filters: impl IntoIterator<Item = (N, F)>) -> Self
    where
        N: Into<String>,
        F: Into<FilterValue>,
    {
        self.filters.extend(filters.into_iter().map(|(name, value)| (name.into(), value.into())));
        self
    }

    /// The hash of the filters so far.
    #[must_use]
    pub fn filter_hash(&self) -> FilterHash {
        FilterHash::of(&self.filters)
    }

    /// Makes the key: `{prefix}:{namespace}:list:{entity}:{hash}`.
    ///
    /// # Errors
    ///
    /// [`KeyError::Empty`] when the entity or a filter's name is empty (a value may be), [`KeyError::TooLong`].
    pub fn build(self) -> Result<Key, KeyError> {
        if self.filters.iter().any(|(name, _)| name.is_empty()) {
            return Err(KeyError::Empty { part: "name of a filter" });
        }
        self.keys.list_with_hash(self.entity, self.filter_hash())
    }
}

/// Does not show the filters.
impl fmt::Debug for ListKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListKey")
            .field("entity", &self.entity)
            .field("filters", &self.filters.len())
            .finish_non_exhaustive()
    }
}
