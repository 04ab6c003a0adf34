use std::error::Error;
use std::fmt;
use std::str::FromStr;

use chacha20poly1305::aead::Generate;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::envelope::Cipher;

/// The number of an encryption key, stored in clear with every value it sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub u32);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// 32 secret bytes, and the cipher they are for. Overwritten when dropped, never shown by `Debug`, and deliberately without a way to read them back.
///
/// They must be random, as from a key management service or `openssl rand -base64 32`: a password is not a key.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct EncryptionKey {
    bytes: Box<[u8; Self::LEN]>,
    #[zeroize(skip)]
    cipher: Cipher,
}

impl EncryptionKey {
    /// The length of a key, in bytes.
    pub const LEN: usize = 32;

    /// Takes the bytes of a key.
    ///
    /// # Errors
    ///
    /// [`KeyError::Length`] when there are not 32 of them.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        if bytes.len() != Self::LEN {
            return Err(KeyError::Length(bytes.len()));
        }
        let mut key = Self { bytes: Box::new([0; Self::LEN]), cipher: Cipher::default() };
        key.bytes.copy_from_slice(bytes);
        Ok(key)
    }

    /// Reads 64 hexadecimal digits, of either case.
    ///
    /// # Errors
    ///
    /// [`KeyError::Encoding`] when there is another character, [`KeyError::Length`] when they are not 32 bytes.
    pub fn from_hex(text: &str) -> Result<Self, KeyError> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(text.len() / 2 + 1));
        for pair in text.as_bytes().chunks(2) {
            let digit =
                |at: usize| pair.get(at).and_then(|&c| char::from(c).to_digit(16)).ok_or(KeyError::Encoding);
            bytes.push((digit(0)? << 4 | digit(1)?) as u8);
        }
        Self::from_bytes(&bytes)
    }

    /// Reads base64 of the standard or the URL-safe alphabet, with or without padding ([RFC 4648]).
    ///
    /// [RFC 4648]: https://www.rfc-editor.org/rfc/rfc4648
    ///
    /// # Errors
    ///
    /// [`KeyError::Encoding`] when it is not base64, [`KeyError::Length`] when it is not of 32 bytes.
    pub fn from_base64(text: &str) -> Result<Self, KeyError> {
        let digits = text.strip_suffix("==").or_else(|| text.strip_suffix('=')).unwrap_or(text);
        let mut bytes = Zeroizing::new(Vec::with_capacity(digits.len()));
        let (mut held, mut bits) = (0_u32, 0);
        for digit in digits.bytes() {
            held = held << 6 | u32::from(base64_value(digit).ok_or(KeyError::Encoding)?);
            bits += 6;
            if bits >= 8 {
                bits -= 8;
                bytes.push((held >> bits) as u8);
                held &= (1 << bits) - 1;
            }
        }
        // A whole digit too many, or bits that belong to no byte.
        if bits >= 6 || held != 0 {
            return Err(KeyError::Encoding);
        }
        Self::from_bytes(&bytes)
    }

    /// Makes a new key from the operating system's random source.
    ///
    /// # Errors
    ///
    /// [`KeyError::Random`] when that fails.
    pub fn generate() -> Result<Self, KeyError> {
        let mut bytes = chacha20poly1305::Key::try_generate().map_err(|_| KeyError::Random)?;
        let key = Self::from_bytes(&bytes);
        bytes.as_mut_slice().zeroize();
        key
    }

    /// The same bytes for another cipher (default [`Cipher::XChaCha20Poly1305`]).
    ///
    /// A key is for one cipher alone: bytes that sealed values with the one are better not used with the other.
    #[must_use]
    pub fn with_cipher(mut self, cipher: Cipher) -> Self {
        self.cipher = cipher;
        self
    }

    /// The cipher it is for.
    #[must_use]
    pub fn cipher(&self) -> Cipher {
        self.cipher
    }

    pub(super) fn bytes(&self) -> &[u8; Self::LEN] {
        &self.bytes
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.cipher == other.cipher && self.bytes == other.bytes
    }
}

fn base64_value(digit: u8) -> Option<u8> {
    match digit {
        b'A'..=b'Z' => Some(digit - b'A'),
        b'a'..=b'z' => Some(digit - b'a' + 26),
        b'0'..=b'9' => Some(digit - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}

/// 64 characters are read as hex, everything else as base64. White space around is ignored.
impl FromStr for EncryptionKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        if text.len() == 2 * Self::LEN { Self::from_hex(text) } else { Self::from_base64(text) }
    }
}

impl fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EncryptionKey(…)")
    }
}

/// What is wrong with a key or a change of a key ring. Never tells anything of a key's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyError {
    /// It has this many bytes instead of 32.
    Length(usize),
    /// It is not the text of a key: neither hex nor base64.
    Encoding,
    /// The operating system's random source failed.
    Random,
    /// There is a key with this number already, and it is another one.
    DuplicateId(KeyId),
    /// There is no key with this number.
    UnknownId(KeyId),
    /// The key with this number is the active one: rotate to another first.
    Active(KeyId),
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(len) => write!(f, "encryption key is {len} bytes long, not {}", EncryptionKey::LEN),
            Self::Encoding => f.write_str("encryption key is neither 64 hex digits nor base64"),
            Self::Random => f.write_str("the operating system's random source failed"),
            Self::DuplicateId(id) => write!(f, "there is another encryption key with id {id}"),
            Self::UnknownId(id) => write!(f, "there is no encryption key with id {id}"),
            Self::Active(id) => write!(f, "the encryption key with id {id} is in use for new values"),
        }
    }
}

impl Error for KeyError {}
