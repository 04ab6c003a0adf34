//! Tags: names under which many entries are invalidated at once.

use std::sync::Arc;

use crate::error::{CacheError, ErrorKind};
use crate::key::{Key, validate};

/// A label that entries carry so that all of them can be invalidated together.
///
/// 1 to [`Tag::MAX_LEN`] bytes of UTF-8 without control characters. A clone is one reference count; `Debug` does not
/// show the text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(Key);

impl Tag {
    /// The longest tag, in bytes.
    pub const MAX_LEN: usize = 256;

    /// Makes a tag.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidTag`] when `text` is empty, longer than [`Tag::MAX_LEN`] bytes, or holds a control character.
    pub fn new(text: impl AsRef<str>) -> Result<Self, CacheError> {
        let text = text.as_ref();
        validate("tag", ErrorKind::InvalidTag, text, Self::MAX_LEN)?;
        Key::new(text).map(Self)
    }

    /// The text of the tag.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The per-process hash of the text, as [`Key::hash_code`].
    #[must_use]
    pub fn hash_code(&self) -> u64 {
        self.0.hash_code()
    }
}

impl std::fmt::Debug for Tag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tag(#{:016x}, {} bytes)", self.0.hash_code(), self.as_str().len())
    }
}

/// A set of tags, shared by every clone. The empty set allocates nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags(Option<Arc<[Tag]>>);

impl Tags {
    /// No tags.
    pub const NONE: Self = Self(None);

    /// The most tags one entry may carry.
    pub const MAX_COUNT: usize = 128;

    /// Collects tags, dropping duplicates.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidTag`] when there are more than [`Tags::MAX_COUNT`] of them.
    pub fn new(tags: impl IntoIterator<Item = Tag>) -> Result<Self, CacheError> {
        let mut tags: Vec<Tag> = tags.into_iter().collect();
        tags.sort();
        tags.dedup();
        if tags.len() > Self::MAX_COUNT {
            let message = format!("{} tags, {} at most", tags.len(), Self::MAX_COUNT);
            return Err(CacheError::new(ErrorKind::InvalidTag, message));
        }
        Ok(if tags.is_empty() { Self::NONE } else { Self(Some(tags.into())) })
    }

    /// The tags, sorted and without duplicates.
    #[must_use]
    pub fn as_slice(&self) -> &[Tag] {
        self.0.as_deref().unwrap_or_default()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

/// What can be turned into [`Tags`]: tags themselves, or anything that yields text.
pub trait IntoTags {
    /// Makes the tags.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidTag`] as in [`Tag::new`] and [`Tags::new`].
    fn into_tags(self) -> Result<Tags, CacheError>;
}

impl IntoTags for Tags {
    fn into_tags(self) -> Result<Tags, CacheError> {
        Ok(self)
    }
}

impl<I, T> IntoTags for I
where
    I: IntoIterator<Item = T>,
    T: AsRef<str>,
{
    fn into_tags(self) -> Result<Tags, CacheError> {
        Tags::new(self.into_iter().map(Tag::new).collect::<Result<Vec<_>, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_a_set() {
        let tags = ["b", "a", "b"].into_tags().unwrap();
        let texts: Vec<_> = tags.as_slice().iter().map(Tag::as_str).collect();
        assert_eq!(texts, ["a", "b"]);
        assert!(Vec::<&str>::new().into_tags().unwrap().is_empty());
    }

    #[test]
    fn refuses_too_many_and_too_long() {
        let many = (0..=Tags::MAX_COUNT).map(|n| n.to_string());
        assert_eq!(many.into_tags().unwrap_err().kind(), ErrorKind::InvalidTag);
        assert_eq!(Tag::new("t".repeat(257)).unwrap_err().kind(), ErrorKind::InvalidTag);
    }
}
