//! XChaCha20-Poly1305 as the package `chacha20poly1305` makes it.

use chacha20poly1305::{AeadInOut, KeyInit, XChaCha20Poly1305};

use super::super::key::EncryptionKey;
use super::super::nonce::Nonce;
use super::{Aead, Refused, Tag};

/// Holds a copy of the key, and overwrites it when dropped. Boxed, so that a key ring that grows leaves no copy behind where
/// its list was.
#[derive(Clone)]
pub(in super::super) struct XChaCha(Box<XChaCha20Poly1305>);

impl Aead for XChaCha {
    fn new(key: &EncryptionKey) -> Self {
        Self(Box::new(XChaCha20Poly1305::new(key.bytes().into())))
    }

    fn seal(&self, nonce: &Nonce, associated: &[u8], payload: &mut [u8]) -> Result<Tag, Refused> {
        let tag = self.0.encrypt_inout_detached(nonce.into(), associated, payload.into());
        tag.map(Into::into).map_err(|_| Refused)
    }

    fn open(&self, nonce: &Nonce, associated: &[u8], payload: &mut [u8], tag: &Tag) -> Result<(), Refused> {
        let opened = self.0.decrypt_inout_detached(nonce.into(), associated, payload.into(), tag.into());
        opened.map_err(|_| Refused)
    }
}
