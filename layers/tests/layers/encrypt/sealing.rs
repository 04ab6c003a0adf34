//! Sealed values: round trips and damage.

use std::collections::HashSet;
use std::sync::Arc;

use cachex_core::testing::{Contract, VALUE_MARKER};
use cachex_core::{
    CacheRequest, CacheResponse, CacheService, Codec, Encoded, ErrorKind, Key, Keys, Sealed, StoredBytes,
};
use cachex_layers::encrypt::{Encrypt, EncryptLayer, EncryptionKey, KeyId, KeyRing};
use cachex_layers::envelope::{self, Body, Cipher, Envelope, Header, Unreadable};
use cachex_layers::serialize::{Bincode, Json, MessagePack, Postcard, SerializeLayer};
use proptest::prelude::*;
use tower_layer::{Layer, Stack};

use crate::envelope::shelf::{Shelf, ask, get};
use crate::serialize::codecs::{Account, account, one_account};

const CIPHERS: [Cipher; 2] = [Cipher::XChaCha20Poly1305, Cipher::Xaes256Gcm];

fn ring(cipher: Cipher) -> KeyRing {
    KeyRing::new(KeyId(1), EncryptionKey::from_bytes(&[7; 32]).unwrap().with_cipher(cipher))
}

fn key() -> Key {
    Key::new("account:1").unwrap()
}

const fn is_cache_service<S: CacheService<Encoded>>() {}
const _: () = is_cache_service::<Encrypt<Shelf>>();

#[test]
fn keeps_the_contract() {
    for cipher in CIPHERS {
        let layer = move || Stack::new(EncryptLayer::new(ring(cipher)), SerializeLayer::default());
        Contract::<String, Sealed, _>::codec(layer, |number| format!("{VALUE_MARKER}:{number}")).check_all();
    }
}

fn round_trip<C: Codec<Account> + Clone>(cipher: Cipher, codec: C, value: &Account) {
    let shelf = Shelf::default();
    let layer = EncryptLayer::new(ring(cipher));
    let service = SerializeLayer::new(codec.clone()).layer(layer.layer(shelf.clone()));
    let clear = Shelf::default();
    ask(&service, CacheRequest::set(key(), value.clone(), None)).unwrap();
    ask(&SerializeLayer::new(codec).layer(clear.clone()), CacheRequest::set(key(), value.clone(), None))
        .unwrap();
    assert_eq!(shelf.bytes(&key()).len(), clear.bytes(&key()).len() + 37);
    assert_eq!(*get::<Account, _>(&service, &key()).unwrap().expect("a hit").value, *value);
    assert_eq!(layer.unreadable().total(), 0);
}

/// Every damage done to the stored bytes is a counted miss, or a typed error where that is asked for.
fn damage<C: Codec<Account> + Clone>(cipher: Cipher, codec: C, value: &Account) {
    let shelf = Shelf::default();
    let (lenient, strict) =
        (EncryptLayer::new(ring(cipher)), EncryptLayer::new(ring(cipher)).on_unreadable(Unreadable::Error));
    let lenient_service = SerializeLayer::new(codec.clone()).layer(lenient.layer(shelf.clone()));
    let strict_service = SerializeLayer::new(codec).layer(strict.layer(shelf.clone()));
    ask(&lenient_service, CacheRequest::set(key(), value.clone(), None)).unwrap();
    let stored = shelf.bytes(&key());

    let mut unreadable = 0;
    let mut refused = |key: &Key, bytes: Vec<u8>| {
        shelf.put(key, bytes);
        unreadable += 1;
        assert!(get::<Account, _>(&lenient_service, key).unwrap().is_none());
        assert_eq!(lenient.unreadable().total(), unreadable);
        let error = get::<Account, _>(&strict_service, key).expect_err("does not open");
        let kinds = [ErrorKind::Decode, ErrorKind::UnknownVersion, ErrorKind::Decrypt];
        assert!(kinds.contains(&error.kind()), "{error:?}");
    };
    for bit in 0..stored.len() * 8 {
        let mut flipped = stored.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        refused(&key(), flipped);
    }
    for len in 0..stored.len() {
        refused(&key(), stored[..len].to_vec());
    }
    refused(&key(), [&stored[..], &[0]].concat());
    refused(&Key::new("account:2").unwrap(), stored);
    refused(&key(), b"12345".to_vec());
}

proptest! {
    #[test]
    fn what_is_sealed_is_opened(value in account()) {
        for cipher in CIPHERS {
            round_trip(cipher, Bincode, &value);
            round_trip(cipher, MessagePack, &value);
            round_trip(cipher, Json, &value);
            round_trip(cipher, Postcard, &value);
        }
    }

    #[test]
    fn arbitrary_bytes_do_not_open(tail in prop::collection::vec(any::<u8>(), 0..200), flags in 0_u8..8, which in 0..2_usize) {
        let cipher = CIPHERS[which];
        let shelf = Shelf::default();
        let layer = EncryptLayer::new(ring(cipher));
        let service = SerializeLayer::default().layer(layer.layer(shelf.clone()));
        shelf.put(&key(), [&[0xCA, 0xC8, 1, flags], &tail[..]].concat());
        prop_assert!(get::<Account, _>(&service, &key()).unwrap().is_none());
        prop_assert_eq!(layer.unreadable().total(), 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2))]

    #[test]
    fn damage_never_opens(value in one_account()) {
        for cipher in CIPHERS {
            damage(cipher, Bincode, &value);
            damage(cipher, MessagePack, &value);
            damage(cipher, Json, &value);
            damage(cipher, Postcard, &value);
        }
    }
}

/// Whoever can write to the store could otherwise replace a sealed value by one of their own making.
#[test]
fn a_clear_value_is_not_taken_for_a_sealed_one() {
    for cipher in CIPHERS {
        let shelf = Shelf::default();
        ask(&SerializeLayer::default().layer(shelf.clone()), CacheRequest::set(key(), 7_u32, None)).unwrap();
        let layer = EncryptLayer::new(ring(cipher)).on_unreadable(Unreadable::Error);
        let error =
            get::<u32, _>(&SerializeLayer::default().layer(layer.layer(shelf)), &key()).expect_err("clear");
        assert_eq!(error.kind(), ErrorKind::Decrypt);
    }
}

#[test]
fn nothing_of_the_value_is_left_readable_and_no_nonce_comes_twice() {
    for cipher in CIPHERS {
        let shelf = Shelf::default();
        let service = SerializeLayer::new(Json).layer(EncryptLayer::new(ring(cipher)).layer(shelf.clone()));
        let mut nonces = HashSet::new();
        for _ in 0..1000 {
            ask::<String, _>(&service, CacheRequest::set(key(), "plain to see".to_owned(), None)).unwrap();
            let bytes = shelf.bytes(&key());
            assert!(!bytes.windows(5).any(|part| part == b"plain"));
            let Body::Sealed(body) = Envelope::parse(&bytes, &key()).unwrap().body else {
                panic!("not sealed")
            };
            assert!(nonces.insert(body.nonce.to_vec()));
        }
    }
}

#[test]
fn many_values_are_sealed_and_opened_together() {
    for cipher in CIPHERS {
        let shelf = Shelf::default();
        let layer = EncryptLayer::new(ring(cipher));
        let service = SerializeLayer::default().layer(layer.layer(shelf.clone()));
        let name = |number: u32| Key::new(format!("k:{number}")).unwrap();
        let pairs: Arc<[_]> = (0..3).map(|n| (name(n), Arc::new(n))).collect();
        ask(&service, CacheRequest::set_many(pairs, None)).unwrap();
        // Two values change places.
        let (zero, two) = (shelf.bytes(&name(0)), shelf.bytes(&name(2)));
        shelf.put(&name(0), two);
        shelf.put(&name(2), zero);
        let keys = Keys::from_iter((0..4).map(name));
        let CacheResponse::Many(read) = ask::<u32, _>(&service, CacheRequest::get_many(keys)).unwrap() else {
            panic!("not many")
        };
        let values: Vec<_> = read.iter().map(|entry| entry.as_ref().map(|entry| *entry.value)).collect();
        assert_eq!(values, [None, Some(1), None, None]);
        assert_eq!(layer.unreadable().count(ErrorKind::Decrypt), 2);
    }
}

#[test]
fn long_keys_and_tags_are_bound_in() {
    for cipher in CIPHERS {
        let shelf = Shelf::default();
        let layer = EncryptLayer::new(ring(cipher)).on_unreadable(Unreadable::Error);
        let service = layer.layer(shelf.clone());
        let long = Key::new("k".repeat(Key::MAX_LEN)).unwrap();
        let mut clear = Vec::new();
        let tags = [envelope::TagStamp { tag: "team:7", generation: 3 }];
        envelope::begin(&mut clear, &Header::new(cachex_core::CodecId(64)), &tags);
        clear.extend_from_slice(b"opaque");
        envelope::finish(&mut clear, 0, &long);
        ask(&service, CacheRequest::set(long.clone(), Encoded::from_bytes(clear.clone().into()), None))
            .unwrap();
        let sealed = shelf.bytes(&long);
        assert_eq!(get(&service, &long).unwrap().expect("a hit").value.as_bytes()[..], clear[..]);

        // The generation of the tag, in the clear and changed.
        let at = envelope::HEADER_LEN + 2 + 2 + 6;
        let mut changed = sealed.clone();
        assert_eq!(changed[at], 3);
        changed[at] = 4;
        shelf.put(&long, changed);
        assert_eq!(get::<Encoded, _>(&service, &long).expect_err("changed").kind(), ErrorKind::Decrypt);
        let shorter = Key::new("k".repeat(Key::MAX_LEN - 1)).unwrap();
        shelf.put(&shorter, sealed);
        assert_eq!(get::<Encoded, _>(&service, &shorter).expect_err("moved").kind(), ErrorKind::Decrypt);
    }
}

#[test]
fn what_is_no_envelope_is_not_sealed() {
    for cipher in CIPHERS {
        let shelf = Shelf::default();
        let service = EncryptLayer::new(ring(cipher)).layer(shelf.clone());
        let raw = Encoded::from_bytes(b"raw".as_slice().into());
        let error = ask(&service, CacheRequest::set(key(), raw, None)).expect_err("not an envelope");
        assert_eq!((error.kind(), shelf.len()), (ErrorKind::Encode, 0));
    }
}
