//! Keys and key rings.

use cachex_core::{CacheRequest, ErrorKind, Key};
use cachex_layers::encrypt::{EncryptLayer, EncryptionKey, KeyError, KeyId, KeyRing};
use cachex_layers::envelope::{Body, Cipher, Envelope, Unreadable};
use cachex_layers::serialize::SerializeLayer;
use proptest::prelude::*;
use tower_layer::Layer;

use crate::envelope::shelf::{Shelf, ask, get};

fn secret(byte: u8) -> EncryptionKey {
    EncryptionKey::from_bytes(&[byte; 32]).unwrap()
}

fn name(number: u32) -> Key {
    Key::new(format!("k:{number}")).unwrap()
}

fn sealed_with(shelf: &Shelf, key: &Key) -> (u32, Cipher) {
    let bytes = shelf.bytes(key);
    match Envelope::parse(&bytes, key).unwrap().body {
        Body::Sealed(body) => (body.key_id, body.cipher),
        Body::Clear(_) => panic!("not sealed"),
    }
}

fn key_id(shelf: &Shelf, key: &Key) -> u32 {
    sealed_with(shelf, key).0
}

#[test]
fn rotation_needs_no_restart() {
    let shelf = Shelf::default();
    let keys = KeyRing::new(KeyId(1), secret(1));
    let sealing = EncryptLayer::new(keys.clone()).on_unreadable(Unreadable::Error);
    let service = SerializeLayer::default().layer(sealing.layer(shelf.clone()));
    ask(&service, CacheRequest::set(name(1), 1_u32, None)).unwrap();

    keys.rotate(KeyId(2), secret(2)).unwrap();
    ask(&service, CacheRequest::set(name(2), 2_u32, None)).unwrap();
    assert_eq!((key_id(&shelf, &name(1)), key_id(&shelf, &name(2))), (1, 2));
    for number in [1, 2] {
        assert_eq!(*get::<u32, _>(&service, &name(number)).unwrap().expect("a hit").value, number);
    }

    keys.retire(KeyId(1)).unwrap();
    assert_eq!(get::<u32, _>(&service, &name(1)).expect_err("retired").kind(), ErrorKind::Decrypt);
    assert_eq!(sealing.unreadable().count(ErrorKind::Decrypt), 1);
    // The same number with other bytes does not open it either.
    keys.add(KeyId(1), secret(9)).unwrap();
    assert_eq!(get::<u32, _>(&service, &name(1)).expect_err("another key").kind(), ErrorKind::Decrypt);
}

#[test]
fn each_key_has_its_cipher() {
    let shelf = Shelf::default();
    let keys = KeyRing::new(KeyId(1), secret(1));
    let sealing = EncryptLayer::new(keys.clone()).on_unreadable(Unreadable::Error);
    let service = SerializeLayer::default().layer(sealing.layer(shelf.clone()));
    ask(&service, CacheRequest::set(name(1), 1_u32, None)).unwrap();
    keys.rotate(KeyId(2), secret(2).with_cipher(Cipher::Xaes256Gcm)).unwrap();
    ask(&service, CacheRequest::set(name(2), 2_u32, None)).unwrap();

    assert_eq!(sealed_with(&shelf, &name(1)), (1, Cipher::XChaCha20Poly1305));
    assert_eq!(sealed_with(&shelf, &name(2)), (2, Cipher::Xaes256Gcm));
    for number in [1, 2] {
        assert_eq!(*get::<u32, _>(&service, &name(number)).unwrap().expect("a hit").value, number);
    }
    // The same bytes for another cipher are another key.
    let again = keys.add(KeyId(1), secret(1).with_cipher(Cipher::Xaes256Gcm));
    assert_eq!(again, Err(KeyError::DuplicateId(KeyId(1))));
    keys.add(KeyId(2), secret(2).with_cipher(Cipher::Xaes256Gcm)).unwrap();
    // Nor do they open what the other cipher sealed.
    let other = KeyRing::new(KeyId(1), secret(1).with_cipher(Cipher::Xaes256Gcm));
    let other = EncryptLayer::new(other).on_unreadable(Unreadable::Error);
    let other = SerializeLayer::default().layer(other.layer(shelf));
    let error = get::<u32, _>(&other, &name(1)).expect_err("another cipher");
    assert_eq!(error.kind(), ErrorKind::Decrypt);
    assert!(error.to_string().contains("which key 1 is not for"), "{error}");
}

#[test]
fn a_readable_key_opens_and_does_not_seal() {
    let shelf = Shelf::default();
    let old = SerializeLayer::default()
        .layer(EncryptLayer::new(KeyRing::new(KeyId(1), secret(1))).layer(shelf.clone()));
    ask(&old, CacheRequest::set(name(1), 1_u32, None)).unwrap();
    let keys = KeyRing::builder(KeyId(2), secret(2)).readable(KeyId(1), secret(1)).build().unwrap();
    let new = SerializeLayer::default().layer(EncryptLayer::new(keys).layer(shelf.clone()));
    assert!(get::<u32, _>(&new, &name(1)).unwrap().is_some());
    ask(&new, CacheRequest::set(name(1), 1_u32, None)).unwrap();
    assert_eq!(key_id(&shelf, &name(1)), 2);
    assert!(get::<u32, _>(&old, &name(1)).unwrap().is_none());
}

#[test]
fn a_ring_refuses_what_would_lose_or_confuse_keys() {
    let ring = KeyRing::new(KeyId(1), secret(1));
    assert_eq!(ring.add(KeyId(1), secret(2)), Err(KeyError::DuplicateId(KeyId(1))));
    assert_eq!(ring.rotate(KeyId(1), secret(2)), Err(KeyError::DuplicateId(KeyId(1))));
    assert_eq!(ring.retire(KeyId(1)), Err(KeyError::Active(KeyId(1))));
    assert_eq!(ring.retire(KeyId(5)), Err(KeyError::UnknownId(KeyId(5))));
    assert_eq!((ring.active(), ring.ids()), (KeyId(1), vec![KeyId(1)]));
    // Once more the same is harmless, and rotating back to a key that is there works.
    ring.add(KeyId(1), secret(1)).unwrap();
    ring.rotate(KeyId(2), secret(2)).unwrap();
    ring.rotate(KeyId(1), secret(1)).unwrap();
    assert_eq!((ring.active(), ring.ids()), (KeyId(1), vec![KeyId(1), KeyId(2)]));
    let twice = KeyRing::builder(KeyId(1), secret(1)).readable(KeyId(1), secret(2)).build();
    assert_eq!(twice.expect_err("twice"), KeyError::DuplicateId(KeyId(1)));
}

#[test]
fn rotating_under_load_loses_nothing() {
    let keys = KeyRing::new(KeyId(0), secret(0));
    let layer = EncryptLayer::new(keys.clone()).on_unreadable(Unreadable::Error);
    let service = SerializeLayer::default().layer(layer.layer(Shelf::default()));
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let service = service.clone();
            scope.spawn(move || {
                for round in 0..300_u32 {
                    ask(&service, CacheRequest::set(name(thread), round, None)).unwrap();
                    assert_eq!(*get::<u32, _>(&service, &name(thread)).unwrap().expect("a hit").value, round);
                }
            });
        }
        for id in 1..50 {
            keys.rotate(KeyId(id), secret(id as u8)).unwrap();
        }
    });
}

proptest! {
    #[test]
    fn a_key_reads_alike_from_bytes_hex_and_base64(bytes in any::<[u8; 32]>(), other in any::<[u8; 32]>()) {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let padded = base64(&bytes);
        let ring = KeyRing::new(KeyId(1), EncryptionKey::from_bytes(&bytes).unwrap());
        let url = padded.trim_end_matches('=').replace('+', "-").replace('/', "_");
        for text in [&hex, &hex.to_uppercase(), &padded, &url, &format!(" {padded}\n")] {
            // Adding the same key again is accepted; any other is not.
            prop_assert_eq!(ring.add(KeyId(1), text.parse().unwrap()), Ok(()));
        }
        if other != bytes {
            let refused = ring.add(KeyId(1), base64(&other).parse().unwrap());
            prop_assert_eq!(refused, Err(KeyError::DuplicateId(KeyId(1))));
        }
    }

    #[test]
    fn no_text_is_read_with_a_panic(text in ".{0,80}") {
        let _ = text.parse::<EncryptionKey>();
        let _ = EncryptionKey::from_hex(&text);
        let _ = EncryptionKey::from_base64(&text);
    }
}

#[test]
fn what_is_no_key_is_refused() {
    assert_eq!(EncryptionKey::from_bytes(&[0; 31]).expect_err("short"), KeyError::Length(31));
    assert_eq!(EncryptionKey::from_hex(&"0".repeat(62)).expect_err("short"), KeyError::Length(31));
    assert_eq!(EncryptionKey::from_hex(&"0".repeat(63)).expect_err("half a byte"), KeyError::Encoding);
    assert_eq!("hunter2".parse::<EncryptionKey>().expect_err("a password"), KeyError::Encoding);
    assert_eq!("".parse::<EncryptionKey>().expect_err("empty"), KeyError::Length(0));
    assert_eq!("AAAA".parse::<EncryptionKey>().expect_err("short"), KeyError::Length(3));
    // 43 digits hold 258 bits: the two that belong to no byte must be zero.
    assert!(EncryptionKey::from_base64(&"A".repeat(43)).is_ok());
    assert_eq!(
        EncryptionKey::from_base64(&("A".repeat(42) + "B")).expect_err("bits left"),
        KeyError::Encoding
    );
}

#[test]
fn secrets_are_never_shown() {
    let key = EncryptionKey::from_bytes(&[0xAB; 32]).unwrap();
    let ring = KeyRing::new(KeyId(3), key.clone());
    let layer = EncryptLayer::new(ring.clone());
    let shown = format!("{key:?} {ring:?} {layer:?} {:?}", layer.layer(Shelf::default()));
    assert!(shown.contains("active: 3"), "{shown}");
    for secret in ["171", "abab", "ABAB", "0xab"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert_ne!(
        KeyRing::new(KeyId(1), EncryptionKey::generate().unwrap())
            .add(KeyId(1), EncryptionKey::generate().unwrap()),
        Ok(())
    );
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let held = three.iter().chain([&0; 2]).take(3).fold(0_u32, |held, &byte| held << 8 | u32::from(byte));
        for digit in 0..4 {
            let shown = digit <= three.len();
            text.push(if shown { char::from(DIGITS[(held >> (18 - 6 * digit) & 63) as usize]) } else { '=' });
        }
    }
    text
}
