use cachex_core::{Tag, Tags};

use super::EnvelopeError;
use super::read::Cursor;

/// A tag, with the generation it had when the value was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TagStamp<'a> {
    /// The text of the tag.
    pub tag: &'a str,
    /// How often it had been invalidated.
    pub generation: u64,
}

/// The tags of an envelope, in ascending order of their text.
#[derive(Clone, Debug, Default)]
pub struct TagIter<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> TagIter<'a> {
    /// Reads a tag section that is known to be there, checking all of it, and leaves the cursor behind it.
    pub(super) fn parse(cursor: &mut Cursor<'a>) -> Result<Self, EnvelopeError> {
        let count = usize::from(cursor.u16()?);
        if count == 0 || count > Tags::MAX_COUNT {
            return Err(EnvelopeError::Malformed("tag count is out of range"));
        }
        let section = Self { rest: cursor.rest(), left: count };
        let mut last = "";
        for _ in 0..count {
            let stamp = read_stamp(cursor)?;
            // Ascending and never empty: a set of tags has exactly one stored form.
            if stamp.tag <= last {
                return Err(EnvelopeError::Malformed("tags are not in ascending order"));
            }
            last = stamp.tag;
        }
        Ok(section)
    }
}

impl<'a> Iterator for TagIter<'a> {
    type Item = TagStamp<'a>;

    fn next(&mut self) -> Option<TagStamp<'a>> {
        self.left = self.left.checked_sub(1)?;
        let mut cursor = Cursor::new(self.rest);
        let stamp = read_stamp(&mut cursor).ok()?;
        self.rest = cursor.rest();
        Some(stamp)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for TagIter<'_> {}

fn read_stamp<'a>(cursor: &mut Cursor<'a>) -> Result<TagStamp<'a>, EnvelopeError> {
    let len = usize::from(cursor.u16()?);
    if len > Tag::MAX_LEN {
        return Err(EnvelopeError::Malformed("tag is too long"));
    }
    let text = cursor.take(len)?;
    let tag = std::str::from_utf8(text).map_err(|_| EnvelopeError::Malformed("tag is not UTF-8"))?;
    Ok(TagStamp { tag, generation: cursor.u64()? })
}
