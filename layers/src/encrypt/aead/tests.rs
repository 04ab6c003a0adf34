//! The ciphers against the packages that stand for them and against published test vectors.

use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::{Aead as Reference, KeyInit, Payload};
use proptest::prelude::*;
use xaes_256_gcm::Xaes256Gcm;

use super::*;

fn unhex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

fn seal<A: Aead>(key: &[u8; 32], nonce: &Nonce, associated: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut sealed = payload.to_vec();
    let key = EncryptionKey::from_bytes(key).unwrap();
    let tag = A::new(&key).seal(nonce, associated, &mut sealed).unwrap();
    [sealed, tag.to_vec()].concat()
}

fn open<A: Aead>(
    key: &[u8; 32],
    nonce: &Nonce,
    associated: &[u8],
    sealed: &[u8],
) -> Result<Vec<u8>, Refused> {
    let (ciphertext, tag) = sealed.split_last_chunk().unwrap();
    let mut payload = ciphertext.to_vec();
    let key = EncryptionKey::from_bytes(key).unwrap();
    A::new(&key).open(nonce, associated, &mut payload, tag).map(|()| payload)
}

/// Seals and opens as the reference does, and nothing opens that was changed.
fn agrees<A: Aead, R: Reference + KeyInit>(
    key: &[u8; 32],
    nonce: &Nonce,
    associated: &[u8],
    payload: &[u8],
    flip: usize,
) {
    let reference = R::new_from_slice(key).unwrap();
    let reference_nonce = nonce.as_slice().try_into().unwrap();
    let expected = reference.encrypt(reference_nonce, Payload { msg: payload, aad: associated }).unwrap();
    let sealed = seal::<A>(key, nonce, associated, payload);
    assert_eq!(sealed, expected);
    assert_eq!(open::<A>(key, nonce, associated, &expected).as_deref(), Ok(payload));

    let flipped = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        let bit = flip % (bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    };
    assert_eq!(open::<A>(key, nonce, associated, &flipped(&sealed)), Err(Refused));
    assert_eq!(open::<A>(key, &flipped(nonce).try_into().unwrap(), associated, &sealed), Err(Refused));
    assert_eq!(open::<A>(&flipped(key).try_into().unwrap(), nonce, associated, &sealed), Err(Refused));
    assert_eq!(open::<A>(key, nonce, &[associated, &[0]].concat(), &sealed), Err(Refused));
}

fn bytes(len: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), len)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn xchacha_is_that_of_the_package(
        key: [u8; 32], nonce: [u8; 24], associated in bytes(0..300), payload in bytes(0..5000), flip: usize,
    ) {
        agrees::<package::XChaCha, XChaCha20Poly1305>(&key, &nonce, &associated, &payload, flip);
        #[cfg(feature = "encrypt-ring")]
        agrees::<ring::XChaCha, XChaCha20Poly1305>(&key, &nonce, &associated, &payload, flip);
    }

    #[test]
    fn xaes_is_that_of_the_package(
        key: [u8; 32], nonce: [u8; 24], associated in bytes(0..300), payload in bytes(0..5000), flip: usize,
    ) {
        agrees::<Xaes, Xaes256Gcm>(&key, &nonce, &associated, &payload, flip);
    }
}

/// The block sizes of ciphers and of their vector code lie in between.
#[test]
fn xchacha_is_that_of_the_package_at_every_short_length() {
    let payload: Vec<u8> = (0..700).map(|at| at as u8).collect();
    for len in 0..=payload.len() {
        let (associated, payload) = payload.split_at(payload.len() - len);
        let nonce = [len as u8; 24];
        agrees::<package::XChaCha, XChaCha20Poly1305>(&[7; 32], &nonce, associated, payload, len);
        #[cfg(feature = "encrypt-ring")]
        agrees::<ring::XChaCha, XChaCha20Poly1305>(&[7; 32], &nonce, associated, payload, len);
    }
}

/// draft-irtf-cfrg-xchacha-03, appendix A.3.1.
#[test]
fn xchacha_is_that_of_the_draft() {
    fn check<A: Aead>() {
        let key: [u8; 32] = std::array::from_fn(|at| 0x80 + at as u8);
        let nonce: Nonce = std::array::from_fn(|at| 0x40 + at as u8);
        let associated = unhex("50515253c0c1c2c3c4c5c6c7");
        let payload = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for \
            the future, sunscreen would be it.";
        let sealed = unhex(
            "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f4eda7e39
             ae64c6708c54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9
             21f9664c97637da9768812f615c68b13b52e c0875924c1c7987947deafd8780acf49",
        );
        assert_eq!(seal::<A>(&key, &nonce, &associated, payload), sealed);
        assert_eq!(open::<A>(&key, &nonce, &associated, &sealed).as_deref(), Ok(&payload[..]));
    }
    check::<package::XChaCha>();
    #[cfg(feature = "encrypt-ring")]
    check::<ring::XChaCha>();
}

/// The test vectors of <https://c2sp.org/XAES-256-GCM>, for either highest bit of the first block.
#[test]
fn xaes_is_that_of_the_specification() {
    let nonce = b"ABCDEFGHIJKLMNOPQRSTUVWX";
    for (key, associated, sealed) in [
        ([1; 32], "", "ce546ef63c9cc60765923609 b33a9a1974e96e52daf2fcf7075e2271"),
        ([3; 32], "c2sp.org/XAES-256-GCM", "986ec1832593df5443a17943 7fd083bf3fdb41abd740a21f71eb769d"),
    ] {
        let (associated, sealed) = (associated.as_bytes(), unhex(sealed));
        assert_eq!(seal::<Xaes>(&key, nonce, associated, b"XAES-256-GCM"), sealed);
        assert_eq!(open::<Xaes>(&key, nonce, associated, &sealed).as_deref(), Ok(&b"XAES-256-GCM"[..]));
    }
}
