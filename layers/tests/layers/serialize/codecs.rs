//! Every codec: round trips, damage, and bytes from strangers.

use std::collections::BTreeMap;

use cachex_core::{CacheRequest, Codec, ErrorKind, Key};
use cachex_layers::envelope::Unreadable;
use cachex_layers::serialize::{Bincode, Json, MessagePack, Postcard, SerializeLayer};
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tower_layer::Layer;

use crate::envelope::shelf::{Shelf, ask, get};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Account {
    id: u64,
    name: String,
    score: f64,
    mails: Vec<String>,
    limits: BTreeMap<String, i32>,
    kind: Kind,
    parent: Option<Box<Account>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Kind {
    Guest,
    Member { since: u16 },
    Admin(u8, bool),
    Robot(Vec<u8>),
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Guest),
        any::<u16>().prop_map(|since| Kind::Member { since }),
        any::<(u8, bool)>().prop_map(|(level, root)| Kind::Admin(level, root)),
        prop::collection::vec(any::<u8>(), 0..20).prop_map(Kind::Robot),
    ]
}

prop_compose! {
    pub(crate) fn one_account()(
        id in any::<u64>(), name in ".{0,12}", score in -1e9..1e9, mails in prop::collection::vec(".{0,6}", 0..3),
        limits in prop::collection::btree_map(".{0,4}", any::<i32>(), 0..3), kind in kind(),
    ) -> Account {
        Account { id, name, score, mails, limits, kind, parent: None }
    }
}

pub(crate) fn account() -> impl Strategy<Value = Account> {
    one_account().prop_recursive(3, 4, 1, |inner| {
        (one_account(), inner)
            .prop_map(|(account, parent)| Account { parent: Some(Box::new(parent)), ..account })
    })
}

fn key() -> Key {
    Key::new("account:1").unwrap()
}

fn round_trip<C: Codec<Account> + Clone>(codec: C, value: &Account) {
    let service = SerializeLayer::new(codec).layer(Shelf::default());
    ask(&service, CacheRequest::set(key(), value.clone(), None)).unwrap();
    let read = get::<Account, _>(&service, &key()).unwrap().expect("a hit");
    assert_eq!(*read.value, *value);
    assert_eq!(service.unreadable().total(), 0);
}

/// Every damage done to the stored bytes is a counted miss, or a typed error where that is asked for.
fn damage<C: Codec<Account> + Clone>(codec: C, value: &Account) {
    let shelf = Shelf::default();
    let lenient = SerializeLayer::new(codec.clone()).layer(shelf.clone());
    let strict = SerializeLayer::new(codec).on_unreadable(Unreadable::Error).layer(shelf.clone());
    ask(&lenient, CacheRequest::set(key(), value.clone(), None)).unwrap();
    let stored = shelf.bytes(&key());

    let mut unreadable = 0;
    let mut refused = |key: &Key, bytes: Vec<u8>| {
        shelf.put(key, bytes);
        unreadable += 1;
        assert!(get::<Account, _>(&lenient, key).unwrap().is_none());
        assert_eq!(lenient.unreadable().total(), unreadable);
        let error = get::<Account, _>(&strict, key).expect_err("unreadable");
        let kinds = [ErrorKind::Decode, ErrorKind::UnknownVersion, ErrorKind::Decrypt];
        assert!(kinds.contains(&error.kind()), "{error:?}");
        assert_eq!(strict.unreadable().count(error.kind()), lenient.unreadable().count(error.kind()));
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

/// Bytes that reach the codec itself: it answers or refuses, and does nothing else.
fn stranger<C>(codec: C, bytes: &[u8])
where
    C: Codec<Account> + Codec<Vec<String>> + Codec<BTreeMap<u8, Vec<u64>>>,
{
    let _: Result<Account, _> = codec.decode(bytes);
    let _: Result<Vec<String>, _> = codec.decode(bytes);
    let _: Result<BTreeMap<u8, Vec<u64>>, _> = codec.decode(bytes);
}

proptest! {
    #[test]
    fn what_is_written_is_read(value in account()) {
        round_trip(Bincode, &value);
        round_trip(MessagePack, &value);
        round_trip(Json, &value);
        round_trip(Postcard, &value);
    }

    #[test]
    fn bytes_from_strangers_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        stranger(Bincode, &bytes);
        stranger(MessagePack, &bytes);
        stranger(Json, &bytes);
        stranger(Postcard, &bytes);
    }

    #[test]
    fn left_over_bytes_are_refused(value in account(), extra in any::<u8>().prop_filter("white space", |b| !b.is_ascii_whitespace())) {
        fn check<C: Codec<Account>>(codec: C, value: &Account, extra: u8) {
            let mut bytes = Vec::new();
            codec.encode(value, &mut bytes).unwrap();
            assert_eq!(codec.decode(&bytes).unwrap(), *value);
            bytes.push(extra);
            assert!(codec.decode(&bytes).is_err());
        }
        check(Bincode, &value, extra);
        check(MessagePack, &value, extra);
        check(Json, &value, extra);
        check(Postcard, &value, extra);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn damage_is_never_a_wrong_value(value in one_account()) {
        damage(Bincode, &value);
        damage(MessagePack, &value);
        damage(Json, &value);
        damage(Postcard, &value);
    }
}

/// serde_json reads this one as its neighbour unless it is told to be exact.
#[test]
fn a_float_is_read_back_exactly() {
    let mut bytes = Vec::new();
    let float = 969_973_016.319_583_9_f64;
    Json.encode(&float, &mut bytes).unwrap();
    assert_eq!(Codec::<f64>::decode(&Json, &bytes).unwrap().to_bits(), float.to_bits());
}

/// Lengths that only an attacker or an accident claims. Where one were believed, the allocation would end the process.
#[test]
fn a_claimed_length_allocates_nothing() {
    fn check<T: Serialize + DeserializeOwned>(codec: impl Codec<T>, bytes: &[u8]) {
        assert!(codec.decode(bytes).is_err());
    }
    const HUGE_BINCODE: [u8; 9] = [253, 0, 0, 0, 0, 0, 0, 0xFF, 0];
    const HUGE_POSTCARD: [u8; 8] = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F];
    check::<String>(Bincode, &HUGE_BINCODE);
    check::<Vec<u8>>(Bincode, &HUGE_BINCODE);
    check::<Vec<[u64; 32]>>(Bincode, &HUGE_BINCODE);
    check::<BTreeMap<String, u8>>(Bincode, &HUGE_BINCODE);
    check::<String>(Postcard, &HUGE_POSTCARD);
    check::<Vec<u8>>(Postcard, &HUGE_POSTCARD);
    check::<Vec<[u64; 32]>>(Postcard, &HUGE_POSTCARD);
    for marker in [0xC6, 0xDB, 0xDD, 0xDF] {
        check::<String>(MessagePack, &[marker, 0xFF, 0xFF, 0xFF, 0xFF]);
        check::<Vec<[u64; 32]>>(MessagePack, &[marker, 0xFF, 0xFF, 0xFF, 0xFF]);
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Chain(Option<Box<Chain>>);

#[derive(Debug, Serialize, Deserialize)]
enum Nest {
    In(Box<Nest>),
    End,
}

/// Without a limit each of these overflows the stack, which ends the process.
#[test]
fn deep_nesting_is_refused() {
    fn check<T: Serialize + DeserializeOwned>(codec: impl Codec<T>, bytes: &[u8]) {
        assert!(codec.decode(bytes).is_err());
    }
    const DEEP: usize = 200_000;
    check::<Chain>(Bincode, &[1; DEEP]);
    check::<Nest>(Bincode, &[0; DEEP]);
    check::<Chain>(Postcard, &[1; DEEP]);
    check::<Nest>(Postcard, &[0; DEEP]);
    check::<Nest>(MessagePack, &[0x81, 0xA2, b'I', b'n'].repeat(DEEP));
    check::<Nest>(Json, "{\"In\":".repeat(DEEP).as_bytes());
}

#[test]
fn what_a_codec_cannot_encode_is_a_typed_error_and_is_not_sent() {
    let shelf = Shelf::default();
    let service = SerializeLayer::new(Json).layer(shelf.clone());
    let pairs = BTreeMap::from([((1_u8, 2_u8), true)]);
    let error = ask(&service, CacheRequest::set(key(), pairs, None)).expect_err("map keys must be strings");
    assert_eq!((error.kind(), shelf.len()), (ErrorKind::Encode, 0));
    assert!(std::error::Error::source(&error).is_some());
}

/// Takes no bytes in the codecs that go by position.
#[cfg(all(feature = "bincode", feature = "postcard"))]
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
struct Weightless {
    #[serde(skip)]
    room: [u64; 4],
}

#[cfg(all(feature = "bincode", feature = "postcard"))]
#[test]
fn elements_that_take_no_bytes_are_not_counted_for_ever() {
    use cachex_core::Codec;
    use cachex_layers::serialize::{Bincode, Postcard};

    // 2^64 - 1 elements, and after them nothing; and a list of such lists.
    let bincode = [&[0xFD][..], &[0xFF; 8]].concat();
    let postcard = [&[0xFF; 9][..], &[0x01]].concat();
    assert!(Codec::<Vec<()>>::decode(&Bincode, &bincode).is_err());
    assert!(Codec::<Vec<Weightless>>::decode(&Bincode, &bincode).is_err());
    assert!(Codec::<Vec<()>>::decode(&Postcard, &postcard).is_err());
    assert!(Codec::<Vec<Weightless>>::decode(&Postcard, &postcard).is_err());
    let nested = [&[2][..], &bincode, &bincode].concat();
    assert!(Codec::<Vec<Vec<()>>>::decode(&Bincode, &nested).is_err());

    // As many as there may well be are read, and so is whatever takes bytes.
    for count in [0, 3, 1024] {
        let (mut first, mut second) = (Vec::new(), Vec::new());
        let value = vec![Weightless::default(); count];
        Bincode.encode(&value, &mut first).unwrap();
        Postcard.encode(&value, &mut second).unwrap();
        assert_eq!(Codec::<Vec<Weightless>>::decode(&Bincode, &first).unwrap(), value);
        assert_eq!(Codec::<Vec<Weightless>>::decode(&Postcard, &second).unwrap(), value);
    }
    let large = vec![vec![7_u8; 5_000]; 2_000];
    let (mut first, mut second) = (Vec::new(), Vec::new());
    Bincode.encode(&large, &mut first).unwrap();
    Postcard.encode(&large, &mut second).unwrap();
    assert_eq!(Codec::<Vec<Vec<u8>>>::decode(&Bincode, &first).unwrap(), large);
    assert_eq!(Codec::<Vec<Vec<u8>>>::decode(&Postcard, &second).unwrap(), large);
}
