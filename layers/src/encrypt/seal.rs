//! Sealing and opening one envelope.

use bytes::Bytes;
use cachex_core::{CacheError, ErrorKind, Key};

use super::aead::{Aead, Tag};
use super::key::KeyId;
use super::nonce::Nonce;
use super::ring::Keys;
use crate::envelope::{self, Body, CHECKSUM_LEN, Envelope, EnvelopeError};

/// Turns a clear envelope, as a serialize layer wrote it, into a sealed one.
pub(super) fn seal(keys: &Keys, nonce: &Nonce, key: &Key, clear: &[u8]) -> Result<Bytes, CacheError> {
    let not_clear =
        |error| CacheError::with_source(ErrorKind::Encode, "payload to seal is not a clear envelope", error);
    let envelope = Envelope::parse_unchecked(clear).map_err(not_clear)?;
    let payload = envelope.clear_payload().map_err(not_clear)?;
    let (key_id, sealer) =
        keys.active().ok_or_else(|| CacheError::new(ErrorKind::Internal, "key ring has no active key"))?;

    let head_len = envelope.head.len() + 1 + size_of::<u32>();
    let mut sealed = Vec::with_capacity(head_len + nonce.len() + payload.len() + size_of::<Tag>());
    envelope::begin_sealed(&mut sealed, envelope.head, sealer.cipher(), key_id.0);
    let mut associated = Associated::default();
    associated.fill(key, &sealed);
    sealed.extend_from_slice(nonce);
    let start = sealed.len();
    sealed.extend_from_slice(payload);
    let tag = sealer
        .seal(nonce, associated.bytes(), &mut sealed[start..])
        .map_err(|_| CacheError::new(ErrorKind::Encode, "value is too large to be sealed"))?;
    sealed.extend_from_slice(&tag);
    Ok(sealed.into())
}

/// Turns a sealed envelope back into the clear one, with a checksum of its own.
pub(super) fn open(keys: &Keys, key: &Key, sealed: &[u8]) -> Result<Bytes, CacheError> {
    let envelope = Envelope::parse(sealed, key)?;
    let Body::Sealed(body) = envelope.body else { return Err(EnvelopeError::NotSealed.into()) };
    let sealer = keys.get(KeyId(body.key_id)).ok_or_else(|| {
        CacheError::new(
            ErrorKind::Decrypt,
            format!("value is sealed with key {}, which is not in the ring", body.key_id),
        )
    })?;
    if body.cipher != sealer.cipher() {
        return Err(CacheError::new(
            ErrorKind::Decrypt,
            format!("value is sealed with {:?}, which key {} is not for", body.cipher, body.key_id),
        ));
    }
    let forged =
        || CacheError::new(ErrorKind::Decrypt, "authentication failed: altered, or stored under another key");
    let nonce = Nonce::try_from(body.nonce).map_err(|_| forged())?;
    let tag = Tag::try_from(body.tag).map_err(|_| forged())?;

    let mut clear = Vec::with_capacity(envelope.head.len() + body.ciphertext.len() + CHECKSUM_LEN);
    envelope::begin_opened(&mut clear, envelope.head);
    let start = clear.len();
    clear.extend_from_slice(body.ciphertext);
    let mut associated = Associated::default();
    associated.fill(key, body.authenticated);
    sealer.open(&nonce, associated.bytes(), &mut clear[start..], &tag).map_err(|_| forged())?;
    envelope::finish(&mut clear, 0, key);
    Ok(clear.into())
}

/// What is authenticated beside the payload: the length of the cache key as four bytes, the key, and all of the envelope up
/// to the nonce. The AEAD wants it in one piece; nearly always it fits on the stack.
struct Associated {
    short: [u8; Self::SHORT],
    /// Empty where it fits into the other.
    long: Vec<u8>,
    len: usize,
}

impl Default for Associated {
    #[inline]
    fn default() -> Self {
        Self { short: [0; Self::SHORT], long: Vec::new(), len: 0 }
    }
}

impl Associated {
    const SHORT: usize = 128;

    /// Filled where it stands: moving it would cost as much as making it.
    #[inline]
    fn fill(&mut self, key: &Key, head: &[u8]) {
        let key = key.as_str().as_bytes();
        // Keys are at most 4096 bytes long.
        let len = (key.len() as u32).to_le_bytes();
        let (key_end, end) = (len.len() + key.len(), len.len() + key.len() + head.len());
        self.len = end;
        if end > Self::SHORT {
            self.long = [&len, key, head].concat();
            return;
        }
        self.short[..len.len()].copy_from_slice(&len);
        self.short[len.len()..key_end].copy_from_slice(key);
        self.short[key_end..end].copy_from_slice(head);
    }

    fn bytes(&self) -> &[u8] {
        if self.long.is_empty() { &self.short[..self.len] } else { &self.long }
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::EncryptionKey;
    use super::super::ring::KeyRing;
    use super::*;
    use crate::envelope::Cipher;

    /// The files are read by the tests of the stored form; here they hold the writing side to the same bytes.
    #[test]
    fn sealing_is_what_the_golden_files_hold() {
        sealing_is(Cipher::XChaCha20Poly1305, include_str!("../../tests/golden/v1-sealed.hex"));
        sealing_is(Cipher::Xaes256Gcm, include_str!("../../tests/golden/v1-sealed-xaes.hex"));
    }

    fn sealing_is(cipher: Cipher, text: &str) {
        let digits: String = text.split_whitespace().collect();
        let golden: Vec<u8> = (0..digits.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
            .collect();
        let key = Key::new("golden:v1").unwrap();
        let secret = EncryptionKey::from_bytes(&[0x42; 32]).unwrap().with_cipher(cipher);
        let ring = KeyRing::new(KeyId(7), secret);
        let clear = open(&ring.keys(), &key, &golden).unwrap();
        let Body::Sealed(body) = Envelope::parse(&golden, &key).unwrap().body else { panic!("not sealed") };
        assert_eq!(body.cipher, cipher);
        let nonce = Nonce::try_from(body.nonce).unwrap();
        assert_eq!(seal(&ring.keys(), &nonce, &key, &clear).unwrap(), golden);
    }

    #[test]
    fn associated_data_is_the_same_short_and_long() {
        for len in [1, 92, 93, 94, 200, 4096] {
            let key = Key::new("k".repeat(len)).unwrap();
            let mut expected = (len as u32).to_le_bytes().to_vec();
            expected.extend_from_slice(key.as_str().as_bytes());
            expected.extend_from_slice(&[7; 31]);
            let mut associated = Associated::default();
            associated.fill(&key, &[7; 31]);
            assert_eq!(associated.bytes(), expected);
        }
    }
}
