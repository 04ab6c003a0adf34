//! What can be wrong with the parts of a key.

use std::fmt;

use cachex_core::{CacheError, ErrorKind};

/// Why a key could not be built or read. Messages never contain a part's text.
///
/// As a [`CacheError`] it is of kind [`ErrorKind::InvalidKey`], with this as its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// A part is the empty text.
    Empty {
        /// Which part.
        part: &'static str,
    },
    /// The finished key, escapes included, is longer than [`Key::MAX_LEN`](cachex_core::Key::MAX_LEN).
    TooLong {
        /// How many bytes it would have.
        len: usize,
        /// How many bytes it may have.
        max: usize,
    },
    /// The text is no key of this scheme, so it was built by something else.
    Foreign {
        /// What it lacks.
        reason: &'static str,
    },
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty { part } => write!(f, "the {part} of a key is empty"),
            Self::TooLong { len, max } => write!(f, "a key of {len} bytes, {max} at most"),
            Self::Foreign { reason } => write!(f, "not a key of the key scheme: {reason}"),
        }
    }
}

impl std::error::Error for KeyError {}

impl From<KeyError> for CacheError {
    fn from(error: KeyError) -> Self {
        Self::with_source(ErrorKind::InvalidKey, error.to_string(), error)
    }
}
