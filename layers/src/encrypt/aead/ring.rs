//! XChaCha20-Poly1305 over `ring`, whose assembly is fast whatever the compiler was told of the processor.
//!
//! [The draft] defines it as ChaCha20-Poly1305 of RFC 8439 under a key of its own per message: HChaCha20 of the key and the first
//! 16 bytes of the nonce. So `ring` sees keys of single messages only. It does not overwrite them when dropped; the
//! key of the ring, which is overwritten, cannot be found from them.
//!
//! [The draft]: https://datatracker.ietf.org/doc/html/draft-irtf-cfrg-xchacha#section-2.3

use chacha20::{R20, hchacha};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce as ShortNonce, UnboundKey};
use zeroize::Zeroize;

use super::super::key::EncryptionKey;
use super::super::nonce::Nonce;
use super::{Aead, Refused, Tag};

/// Shares no memory with the key it was made of, and overwrites its own when dropped.
#[derive(Clone)]
pub(in super::super) struct XChaCha(EncryptionKey);

impl Aead for XChaCha {
    fn new(key: &EncryptionKey) -> Self {
        Self(key.clone())
    }

    fn seal(&self, nonce: &Nonce, associated: &[u8], payload: &mut [u8]) -> Result<Tag, Refused> {
        let key = LessSafeKey::new(self.of_message(nonce)?);
        let tag = key.seal_in_place_separate_tag(short(nonce), Aad::from(associated), payload);
        Tag::try_from(tag.map_err(|_| Refused)?.as_ref()).map_err(|_| Refused)
    }

    fn open(&self, nonce: &Nonce, associated: &[u8], payload: &mut [u8], tag: &Tag) -> Result<(), Refused> {
        let key = LessSafeKey::new(self.of_message(nonce)?);
        let opened =
            key.open_in_place_separate_tag(short(nonce), Aad::from(associated), (*tag).into(), payload, 0..);
        opened.map(drop).map_err(|_| Refused)
    }
}

impl XChaCha {
    /// The key that ChaCha20-Poly1305 takes for the message with this nonce. Inlined, since `ring`'s keys are large to move.
    #[inline(always)]
    fn of_message(&self, nonce: &Nonce) -> Result<UnboundKey, Refused> {
        let (front, _) = nonce.split_first_chunk::<16>().ok_or(Refused)?;
        let mut key = hchacha::<R20>(self.0.bytes().into(), front.into());
        let unbound = UnboundKey::new(&CHACHA20_POLY1305, &key);
        key.as_mut_slice().zeroize();
        unbound.map_err(|_| Refused)
    }
}

/// The nonce that goes with it.
#[inline(always)]
fn short(nonce: &Nonce) -> ShortNonce {
    let mut short = [0; 12];
    short[4..].copy_from_slice(&nonce[16..]);
    ShortNonce::assume_unique_for_key(short)
}
