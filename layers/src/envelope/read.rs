use std::{array, fmt};

use cachex_core::{CodecId, Key};

use super::write::checksum;
use super::{
    CHECKSUM_LEN, Cipher, EnvelopeError, FLAG_COMPRESSED, FLAG_SEALED, FLAG_TAGGED, FLAGS, HEADER_LEN,
    Header, MAGIC, TagIter, VERSION,
};

/// A parsed envelope. It borrows the stored bytes and owns nothing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Envelope<'a> {
    /// What is told about the payload.
    pub header: Header,
    /// The tags and their generations; none are written yet.
    pub tags: TagIter<'a>,
    /// The payload, in the clear or sealed.
    pub body: Body<'a>,
    /// The header and tags as they are stored.
    #[cfg(feature = "encrypt")]
    pub(crate) head: &'a [u8],
}

/// What an envelope holds. `Debug` shows lengths only.
#[derive(Clone, Copy)]
pub enum Body<'a> {
    /// The encoded value.
    Clear(&'a [u8]),
    /// The encrypted value.
    Sealed(SealedBody<'a>),
}

/// The parts of a sealed payload. `Debug` shows lengths only.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct SealedBody<'a> {
    /// How it is encrypted.
    pub cipher: Cipher,
    /// With which key.
    pub key_id: u32,
    /// With which nonce: as long as the cipher needs.
    pub nonce: &'a [u8],
    /// The encrypted payload.
    pub ciphertext: &'a [u8],
    /// The tag that authenticates all of the envelope and the cache key.
    pub tag: &'a [u8],
    /// Everything before the nonce, as it is stored: what is authenticated besides the payload.
    #[cfg(feature = "encrypt")]
    pub(crate) authenticated: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Parses stored bytes, and checks the checksum of a clear envelope against them and the key they were read from.
    ///
    /// A sealed envelope is parsed only: it is not to be trusted before it has been opened.
    ///
    /// # Errors
    ///
    /// Any [`EnvelopeError`] but `Sealed` and `NotSealed`.
    pub fn parse(bytes: &'a [u8], key: &Key) -> Result<Self, EnvelopeError> {
        let envelope = Self::parse_unchecked(bytes)?;
        if let Body::Clear(_) = envelope.body {
            let (covered, stored) = bytes.split_last_chunk().ok_or(EnvelopeError::Truncated)?;
            if u64::from_le_bytes(*stored) != checksum(covered, key) {
                return Err(EnvelopeError::Checksum);
            }
        }
        Ok(envelope)
    }

    /// As [`Envelope::parse`], without the checksum: for bytes that never left this process.
    pub(crate) fn parse_unchecked(bytes: &'a [u8]) -> Result<Self, EnvelopeError> {
        if !bytes.starts_with(&MAGIC) {
            return Err(EnvelopeError::NotAnEnvelope);
        }
        let version = *bytes.get(MAGIC.len()).ok_or(EnvelopeError::Truncated)?;
        if version != VERSION {
            return Err(EnvelopeError::UnknownVersion(version));
        }
        let mut cursor = Cursor::new(bytes);
        // All of the header is there, or nothing of it is read: one look at the length instead of seven.
        let head = cursor.array::<HEADER_LEN>()?;
        let (flags, codec, compression) = (head[3], head[4], head[5]);
        let time = |at: usize| u64::from_le_bytes(array::from_fn(|n| if n < 6 { head[at + n] } else { 0 }));
        if flags & !FLAGS != 0 {
            return Err(EnvelopeError::Malformed("reserved flags are set"));
        }
        if codec == 0 {
            return Err(EnvelopeError::Malformed("codec id is zero"));
        }
        if (compression != 0) != (flags & FLAG_COMPRESSED != 0) {
            return Err(EnvelopeError::Malformed("compression id contradicts the flags"));
        }
        let header = Header {
            codec: CodecId(codec),
            compression,
            created_ms: time(6),
            expires_ms: time(12),
            fingerprint: u64::from_le_bytes(array::from_fn(|n| head[18 + n])),
        };
        let tags = if flags & FLAG_TAGGED != 0 { TagIter::parse(&mut cursor)? } else { TagIter::default() };
        #[cfg(feature = "encrypt")]
        let head = cursor.passed();
        let body = if flags & FLAG_SEALED != 0 {
            Body::Sealed(SealedBody::parse(cursor)?)
        } else {
            let (payload, _) =
                cursor.rest().split_last_chunk::<CHECKSUM_LEN>().ok_or(EnvelopeError::Truncated)?;
            Body::Clear(payload)
        };
        Ok(Self {
            header,
            tags,
            body,
            #[cfg(feature = "encrypt")]
            head,
        })
    }

    /// The payload of a clear envelope.
    ///
    /// # Errors
    ///
    /// [`EnvelopeError::Sealed`] when it is a sealed one.
    pub fn clear_payload(&self) -> Result<&'a [u8], EnvelopeError> {
        match self.body {
            Body::Clear(payload) => Ok(payload),
            Body::Sealed(_) => Err(EnvelopeError::Sealed),
        }
    }
}

impl<'a> SealedBody<'a> {
    fn parse(mut cursor: Cursor<'a>) -> Result<Self, EnvelopeError> {
        let id = cursor.u8()?;
        let cipher = Cipher::from_id(id).ok_or(EnvelopeError::UnknownCipher(id))?;
        let key_id = u32::from_le_bytes(cursor.array()?);
        #[cfg(feature = "encrypt")]
        let authenticated = cursor.passed();
        let nonce = cursor.take(cipher.nonce_len())?;
        let rest = cursor.rest();
        let split = rest.len().checked_sub(cipher.tag_len()).ok_or(EnvelopeError::Truncated)?;
        let (ciphertext, tag) = rest.split_at(split);
        Ok(Self {
            cipher,
            key_id,
            nonce,
            ciphertext,
            tag,
            #[cfg(feature = "encrypt")]
            authenticated,
        })
    }
}

impl fmt::Debug for Body<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clear(payload) => write!(f, "Clear({} bytes)", payload.len()),
            Self::Sealed(sealed) => sealed.fmt(f),
        }
    }
}

impl fmt::Debug for SealedBody<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({:?}, key {}, {} bytes)", self.cipher, self.key_id, self.ciphertext.len())
    }
}

/// Reads forward through bytes and never past their end.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    all: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(all: &'a [u8]) -> Self {
        Self { all, at: 0 }
    }

    #[cfg(feature = "encrypt")]
    pub(super) fn passed(&self) -> &'a [u8] {
        &self.all[..self.at]
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        &self.all[self.at..]
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], EnvelopeError> {
        let taken = self.rest().get(..len).ok_or(EnvelopeError::Truncated)?;
        self.at += len;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], EnvelopeError> {
        let taken = *self.rest().first_chunk().ok_or(EnvelopeError::Truncated)?;
        self.at += N;
        Ok(taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, EnvelopeError> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, EnvelopeError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, EnvelopeError> {
        self.array().map(u64::from_le_bytes)
    }
}
