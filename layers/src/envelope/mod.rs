//! The stored form: one versioned envelope around every value that leaves the process as bytes.
//!
//! ```text
//! clear:   header (26) | tags? | payload | checksum (8)
//! sealed:  header (26) | tags? | cipher (1) | key id (4) | nonce | ciphertext | authentication tag
//! ```
//!
//! `docs/wire-format.md` documents every byte and the rules by which the format may evolve; golden files hold later
//! versions to it. The serialize layer writes and reads clear envelopes, the encrypt layer turns them into sealed ones and
//! back. Use this module directly to read stored values outside a stack, as a migration or an inspection tool does:
//!
//! ```
//! use cachex_core::{CodecId, Key};
//! use cachex_layers::envelope::{self, Envelope, Header};
//!
//! let key = Key::new("greeting")?;
//! let header = Header { created_ms: 1_700_000_000_000, ..Header::new(CodecId::JSON) };
//! let mut stored = Vec::new();
//! envelope::begin(&mut stored, &header, &[]);
//! stored.extend_from_slice(b"\"hello\"");
//! envelope::finish(&mut stored, 0, &key);
//!
//! let read = Envelope::parse(&stored, &key)?;
//! assert_eq!(read.header.codec, CodecId::JSON);
//! assert_eq!(read.clear_payload()?, b"\"hello\"");
//!
//! // Under another key, or with any bit changed, it is refused.
//! assert!(Envelope::parse(&stored, &Key::new("farewell")?).is_err());
//! # Ok::<(), cachex_core::CacheError>(())
//! ```
//!
//! What cannot be read is a typed [`EnvelopeError`], which the layers turn into a counted miss or a
//! [`CacheError`](cachex_core::CacheError) as their [`Unreadable`] policy says; never a wrong value or a panic. Reading
//! allocates nothing: no length that is claimed inside an envelope is trusted further than the bytes that are there.

mod error;
mod read;
mod tags;
mod unreadable;
mod write;

pub use error::EnvelopeError;
pub use read::{Body, Envelope, SealedBody};
pub use tags::{TagIter, TagStamp};
#[cfg(any(feature = "serialize", feature = "encrypt"))]
pub(crate) use unreadable::Unreadables;
pub use unreadable::{Unreadable, UnreadableStats};
pub use write::{begin, finish};
#[cfg(feature = "encrypt")]
pub(crate) use write::{begin_opened, begin_sealed};

use cachex_core::CodecId;

/// The first two bytes of every envelope. Not valid UTF-8, so that neither text nor a counter is mistaken for one.
pub const MAGIC: [u8; 2] = [0xCA, 0xC8];

/// The version this build writes, and the highest it reads.
pub const VERSION: u8 = 1;

/// The length of the fixed header.
pub const HEADER_LEN: usize = 26;

/// The length of the checksum that ends a clear envelope.
pub const CHECKSUM_LEN: usize = 8;

/// What a clear envelope without tags adds to its payload.
pub const CLEAR_OVERHEAD: usize = HEADER_LEN + CHECKSUM_LEN;

/// The latest time a header can hold: 2^48 - 1 milliseconds after 1970, in the year 10889.
pub const MAX_TIME_MS: u64 = (1 << 48) - 1;

const FLAG_SEALED: u8 = 1;
const FLAG_COMPRESSED: u8 = 1 << 1;
const FLAG_TAGGED: u8 = 1 << 2;
const FLAGS: u8 = FLAG_SEALED | FLAG_COMPRESSED | FLAG_TAGGED;

/// What an envelope tells about its payload, always in the clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Who encoded the payload.
    pub codec: CodecId,
    /// How the encoded payload is compressed; 0 is not at all, and all that this build reads and writes.
    pub compression: u8,
    /// When the value was written: milliseconds since 1970, at most [`MAX_TIME_MS`].
    pub created_ms: u64,
    /// When its lifetime ends, in the same unit; 0 when it does not, or when the writer could not know.
    pub expires_ms: u64,
    /// The fingerprint of the value's type and of the application's own version number.
    pub fingerprint: u64,
}

impl Header {
    /// A header that names the codec and nothing else.
    #[must_use]
    pub fn new(codec: CodecId) -> Self {
        Self { codec, compression: 0, created_ms: 0, expires_ms: 0, fingerprint: 0 }
    }
}

/// How a sealed envelope is encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum Cipher {
    /// XChaCha20-Poly1305 with a nonce of 24 bytes and a tag of 16.
    #[default]
    XChaCha20Poly1305 = 1,
    // 2 is reserved for AES-256-GCM with a nonce of 12 bytes.
    /// AES-256-GCM with a nonce of 24 bytes and a tag of 16: [XAES-256-GCM], which derives a key and a nonce of 12 bytes for each
    /// value.
    ///
    /// [XAES-256-GCM]: https://c2sp.org/XAES-256-GCM
    Xaes256Gcm = 3,
}

impl Cipher {
    /// The cipher with this number in the stored form.
    #[must_use]
    pub fn from_id(id: u8) -> Option<Self> {
        match id {
            1 => Some(Self::XChaCha20Poly1305),
            3 => Some(Self::Xaes256Gcm),
            _ => None,
        }
    }

    /// The number in the stored form.
    #[must_use]
    pub fn id(self) -> u8 {
        self as u8
    }

    /// The length of its nonce, in bytes.
    #[must_use]
    pub fn nonce_len(self) -> usize {
        24
    }

    /// The length of its authentication tag, in bytes.
    #[must_use]
    pub fn tag_len(self) -> usize {
        16
    }
}
