//! Authenticated encryption: two ciphers, one of them by one of two implementations that make the same bytes.

mod package;
#[cfg(feature = "encrypt-ring")]
mod ring;

#[cfg(not(feature = "encrypt-ring"))]
use package::XChaCha;
use package::Xaes;
#[cfg(feature = "encrypt-ring")]
use ring::XChaCha;

use super::key::EncryptionKey;
use super::nonce::Nonce;
use crate::envelope::Cipher;

pub(super) type Tag = [u8; 16];

/// Too long to be sealed; or does not open. Why is nobody's business.
#[derive(Debug, PartialEq)]
pub(super) struct Refused;

/// A cipher with its key. Overwrites the key when dropped.
pub(super) trait Aead: Clone {
    fn new(key: &EncryptionKey) -> Self;

    /// Encrypts the payload where it stands.
    fn seal(&self, nonce: &Nonce, associated: &[u8], payload: &mut [u8]) -> Result<Tag, Refused>;

    /// Decrypts the payload where it stands. What stands there when refused is of no use.
    fn open(&self, nonce: &Nonce, associated: &[u8], payload: &mut [u8], tag: &Tag) -> Result<(), Refused>;
}

/// A key made ready for the cipher it is for.
#[derive(Clone)]
pub(super) enum Sealer {
    XChaCha(XChaCha),
    Xaes(Xaes),
}

impl Sealer {
    pub(super) fn cipher(&self) -> Cipher {
        match self {
            Self::XChaCha(_) => Cipher::XChaCha20Poly1305,
            Self::Xaes(_) => Cipher::Xaes256Gcm,
        }
    }
}

impl Aead for Sealer {
    fn new(key: &EncryptionKey) -> Self {
        match key.cipher() {
            Cipher::XChaCha20Poly1305 => Self::XChaCha(XChaCha::new(key)),
            Cipher::Xaes256Gcm => Self::Xaes(Xaes::new(key)),
        }
    }

    fn seal(&self, nonce: &Nonce, associated: &[u8], payload: &mut [u8]) -> Result<Tag, Refused> {
        match self {
            Self::XChaCha(cipher) => cipher.seal(nonce, associated, payload),
            Self::Xaes(cipher) => cipher.seal(nonce, associated, payload),
        }
    }

    fn open(&self, nonce: &Nonce, associated: &[u8], payload: &mut [u8], tag: &Tag) -> Result<(), Refused> {
        match self {
            Self::XChaCha(cipher) => cipher.open(nonce, associated, payload, tag),
            Self::Xaes(cipher) => cipher.open(nonce, associated, payload, tag),
        }
    }
}

#[cfg(test)]
mod tests;
