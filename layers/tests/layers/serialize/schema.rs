//! Values of another type, version or codec.

use cachex_core::{CacheRequest, Codec, CodecError, CodecId, ErrorKind, Key};
use cachex_layers::envelope::{Envelope, Unreadable};
use cachex_layers::serialize::{Bincode, Json, SerializeLayer, structural_fingerprint};
use serde::{Deserialize, Serialize};
use tower_layer::Layer;

use crate::envelope::shelf::{Shelf, ask, get};

mod before {
    use serde::{Deserialize, Serialize};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    pub(crate) struct User {
        pub(crate) id: u32,
        pub(crate) visits: u32,
    }
}

/// Two fields changed places, which bincode could not tell.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct User {
    visits: u32,
    id: u32,
}

fn key() -> Key {
    Key::new("user:1").unwrap()
}

fn old() -> before::User {
    before::User { id: 7, visits: 100 }
}

#[test]
fn another_shape_is_a_miss_or_a_typed_error() {
    let shelf = Shelf::default();
    let service = SerializeLayer::default().layer(shelf.clone());
    ask(&service, CacheRequest::set(key(), old(), None)).unwrap();
    assert_eq!(*get::<before::User, _>(&service, &key()).unwrap().expect("a hit").value, old());

    assert!(get::<User, _>(&service, &key()).unwrap().is_none());
    assert_eq!(service.unreadable().count(ErrorKind::SchemaMismatch), 1);
    let strict = SerializeLayer::default().on_unreadable(Unreadable::Error).layer(shelf);
    assert_eq!(get::<User, _>(&strict, &key()).expect_err("another").kind(), ErrorKind::SchemaMismatch);
    // Both types go through one service, each with its own fingerprint, in any order.
    assert!(get::<before::User, _>(&strict, &key()).unwrap().is_some());
    assert!(get::<User, _>(&strict, &key()).is_err());
}

#[test]
fn another_codec_is_a_schema_mismatch() {
    let shelf = Shelf::default();
    ask(&SerializeLayer::new(Json).layer(shelf.clone()), CacheRequest::set(key(), old(), None)).unwrap();
    let service = SerializeLayer::new(Bincode).on_unreadable(Unreadable::Error).layer(shelf);
    let error = get::<before::User, _>(&service, &key()).expect_err("json");
    assert_eq!(error.kind(), ErrorKind::SchemaMismatch);
    assert!(error.message().contains("json"), "{error}");
}

#[test]
fn another_version_number_is_a_schema_mismatch() {
    let shelf = Shelf::default();
    let service = |version| SerializeLayer::default().schema_version(version).layer(shelf.clone());
    ask(&service(1), CacheRequest::set(key(), old(), None)).unwrap();
    assert!(get::<before::User, _>(&service(1), &key()).unwrap().is_some());
    assert!(get::<before::User, _>(&service(2), &key()).unwrap().is_none());
}

#[test]
fn without_structure_only_the_version_number_counts() {
    let shelf = Shelf::default();
    let layer = SerializeLayer::new(Json).structural(false);
    ask(&layer.layer(shelf.clone()), CacheRequest::set(key(), old(), None)).unwrap();
    let read =
        get::<User, _>(&layer.layer(shelf.clone()), &key()).unwrap().expect("json reads fields by name");
    assert_eq!(*read.value, User { id: 7, visits: 100 });
    assert!(get::<User, _>(&layer.clone().schema_version(1).layer(shelf.clone()), &key()).unwrap().is_none());
}

/// Not serde's: the fingerprint is the default, unknown.
#[derive(Clone, Debug)]
struct Raw;

impl Codec<Vec<u8>> for Raw {
    fn id(&self) -> CodecId {
        CodecId(64)
    }

    fn encode(&self, value: &Vec<u8>, out: &mut Vec<u8>) -> Result<(), CodecError> {
        out.extend_from_slice(value);
        Ok(())
    }

    fn decode(&self, bytes: &[u8]) -> Result<Vec<u8>, CodecError> {
        Ok(bytes.to_vec())
    }
}

#[test]
fn a_codec_of_ones_own_needs_no_serde() {
    let shelf = Shelf::default();
    let service = SerializeLayer::new(Raw).layer(shelf.clone());
    ask(&service, CacheRequest::set(key(), b"raw".to_vec(), None)).unwrap();
    assert_eq!(*get::<Vec<u8>, _>(&service, &key()).unwrap().expect("a hit").value, b"raw");
    assert_eq!(Envelope::parse(&shelf.bytes(&key()), &key()).unwrap().header.codec, CodecId(64));
}

/// Pinned: a fingerprint that changed between releases would turn every stored value into a miss.
#[test]
fn fingerprints_are_part_of_the_stored_form() {
    assert_eq!(structural_fingerprint::<before::User>(false), PINNED_USER);
    assert_eq!(structural_fingerprint::<Option<Vec<(String, f64)>>>(true), PINNED_PAIRS);
}

const PINNED_USER: u64 = 12_639_480_805_316_850_568;
const PINNED_PAIRS: u64 = 16_431_629_081_104_726_103;
