use std::error::Error;
use std::fmt;

use cachex_core::{CacheError, ErrorKind};

/// Why stored bytes are not a readable envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// The bytes do not begin as an envelope does: a counter, or another program's value.
    NotAnEnvelope,
    /// A version this build does not read.
    UnknownVersion(u8),
    /// The bytes end before the envelope does.
    Truncated,
    /// The bytes contradict the format; the words say where.
    Malformed(&'static str),
    /// The checksum does not fit: altered bytes, or a value that was stored under another key.
    Checksum,
    /// The payload is compressed in a way this build does not read.
    UnknownCompression(u8),
    /// A cipher this build does not open.
    UnknownCipher(u8),
    /// A sealed envelope where a clear one was to be read: the stack has no encrypt layer.
    Sealed,
    /// A clear envelope where a sealed one was to be read. It is never taken for one.
    NotSealed,
}

impl EnvelopeError {
    /// The kind of [`CacheError`] it becomes.
    #[must_use]
    pub fn kind(self) -> ErrorKind {
        match self {
            Self::UnknownVersion(_) => ErrorKind::UnknownVersion,
            Self::UnknownCipher(_) | Self::Sealed | Self::NotSealed => ErrorKind::Decrypt,
            _ => ErrorKind::Decode,
        }
    }

    fn describe(self) -> &'static str {
        match self {
            Self::NotAnEnvelope => "not an envelope",
            Self::UnknownVersion(_) => "envelope version is unknown",
            Self::Truncated => "envelope is truncated",
            Self::Malformed(what) => what,
            Self::Checksum => "checksum mismatch: altered, or stored under another key",
            Self::UnknownCompression(_) => "compression is unknown",
            Self::UnknownCipher(_) => "cipher is unknown",
            Self::Sealed => "value is sealed and this stack has no encrypt layer",
            Self::NotSealed => "value is not sealed",
        }
    }
}

impl fmt::Display for EnvelopeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.describe())?;
        match self {
            Self::UnknownVersion(id) | Self::UnknownCompression(id) | Self::UnknownCipher(id) => {
                write!(f, " ({id})")
            }
            _ => Ok(()),
        }
    }
}

impl Error for EnvelopeError {}

impl From<EnvelopeError> for CacheError {
    fn from(error: EnvelopeError) -> Self {
        Self::with_source(error.kind(), error.describe(), error)
    }
}
