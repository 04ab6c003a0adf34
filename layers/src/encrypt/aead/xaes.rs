//! AES-256-GCM under a key and a nonce derived for each value, as the package `xaes-256-gcm` makes it.

use xaes_256_gcm::Xaes256Gcm;
use xaes_256_gcm::aead::{AeadInOut, KeyInit};

use super::super::key::EncryptionKey;
use super::super::nonce::Nonce;
use super::{Aead, Refused, Tag};

/// Boxed: the round keys of AES are long. They are overwritten when dropped.
#[derive(Clone)]
pub(in super::super) struct Xaes(Box<Xaes256Gcm>);

impl Aead for Xaes {
    fn new(key: &EncryptionKey) -> Self {
        Self(Box::new(Xaes256Gcm::new(key.bytes().into())))
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
