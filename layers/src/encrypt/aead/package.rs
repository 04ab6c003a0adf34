//! Ciphers as their packages make them.

#[cfg(any(test, not(feature = "encrypt-ring")))]
use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::consts::{U16, U24, U32};
use chacha20poly1305::aead::{AeadCore, AeadInOut, KeyInit, KeySizeUser};
use xaes_256_gcm::Xaes256Gcm;

use super::super::key::EncryptionKey;
use super::super::nonce::Nonce;
use super::{Aead, Refused, Tag};

/// XChaCha20-Poly1305, of the package `chacha20poly1305`.
#[cfg(any(test, not(feature = "encrypt-ring")))]
pub(in super::super) type XChaCha = Package<XChaCha20Poly1305>;

/// AES-256-GCM under a key and a nonce derived for each value, of the package `xaes-256-gcm`.
pub(in super::super) type Xaes = Package<Xaes256Gcm>;

/// A cipher that holds a copy of its key, and overwrites it when dropped. Boxed: a key ring that grows leaves no copy behind
/// where its list was, and the round keys of AES are long.
#[derive(Clone)]
pub(in super::super) struct Package<C>(Box<C>);

impl<C> Aead for Package<C>
where
    C: Clone + KeyInit + KeySizeUser<KeySize = U32> + AeadInOut + AeadCore<NonceSize = U24, TagSize = U16>,
{
    fn new(key: &EncryptionKey) -> Self {
        Self(Box::new(C::new(key.bytes().into())))
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
