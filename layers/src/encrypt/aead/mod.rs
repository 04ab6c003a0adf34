//! Authenticated encryption, by one of two implementations that make the same bytes.

#[cfg(any(test, not(feature = "encrypt-ring")))]
mod portable;
#[cfg(feature = "encrypt-ring")]
mod ring;

#[cfg(not(feature = "encrypt-ring"))]
pub(super) use portable::XChaCha;
#[cfg(feature = "encrypt-ring")]
pub(super) use ring::XChaCha;

use super::key::EncryptionKey;
use super::nonce::Nonce;

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

#[cfg(test)]
mod tests;
