//! Stored values of version 1, as files that every later version must still read.
//!
//! To add a file: name it below, then run with `CACHEX_WRITE_GOLDEN=1`. A file that is there is never overwritten: a change of
//! what is written under a name is a break of the stored form.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use cachex_core::{CacheRequest, Codec, CodecId, Key};
use cachex_layers::encrypt::{EncryptLayer, EncryptionKey, KeyId, KeyRing};
use cachex_layers::envelope::{self, Cipher, Envelope, Header, TagStamp, Unreadable};
use cachex_layers::serialize::{Bincode, Json, MessagePack, Postcard, SerializeLayer};
use serde::{Deserialize, Serialize};
use tower_layer::Layer;

use super::shelf::{Shelf, ask, get};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Country {
    code: String,
    population: u64,
    capital: Option<String>,
    borders: Vec<String>,
    notes: BTreeMap<String, i32>,
    rule: Rule,
    position: (f64, f64),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Rule {
    Republic,
    Kingdom { since: u16 },
    Union(u8, bool),
}

fn country() -> Country {
    Country {
        code: "LU".into(),
        population: 672_050,
        capital: Some("Lëtzebuerg".into()),
        borders: vec!["BE".into(), "DE".into(), "FR".into()],
        notes: BTreeMap::from([("area_km2".into(), 2586), ("lowest_m".into(), -1)]),
        rule: Rule::Kingdom { since: 1815 },
        position: (49.75, 6.166),
    }
}

const CREATED_MS: u64 = 1_700_000_000_123;
const TTL: Duration = Duration::from_secs(300);

fn key() -> Key {
    Key::new("golden:v1").unwrap()
}

fn layer<C>(codec: C) -> SerializeLayer<C> {
    SerializeLayer::new(codec)
        .schema_version(3)
        .on_unreadable(Unreadable::Error)
        .wall_clock(|| SystemTime::UNIX_EPOCH + Duration::from_millis(CREATED_MS))
}

fn sealing(cipher: Cipher) -> EncryptLayer {
    let key = EncryptionKey::from_bytes(&[0x42; 32]).unwrap().with_cipher(cipher);
    EncryptLayer::new(KeyRing::new(KeyId(7), key)).on_unreadable(Unreadable::Error)
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("v1-{name}.hex"))
}

/// The bytes of a golden file; written first when that was asked for and it is not there.
fn golden(name: &str, bytes: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
    let path = path(name);
    if std::env::var_os("CACHEX_WRITE_GOLDEN").is_some() && !path.exists() {
        let lines: Vec<String> =
            bytes().chunks(32).map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect()).collect();
        fs::write(&path, lines.join("\n") + "\n").unwrap();
    }
    let text = fs::read_to_string(&path).expect("a golden file is missing; see the comment at the top");
    let digits: String = text.split_whitespace().collect();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

fn check<C: Codec<Country> + Clone>(name: &str, codec: C) {
    let shelf = Shelf::default();
    let service = layer(codec).layer(shelf.clone());
    ask(&service, CacheRequest::set(key(), country(), TTL)).unwrap();
    let written = shelf.bytes(&key());
    let golden = golden(name, || written.clone());
    assert_eq!(written, golden, "what is written today is not what {name} holds");

    shelf.put(&key(), golden.clone());
    let read = get::<Country, _>(&service, &key()).unwrap().expect("a hit");
    assert_eq!(*read.value, country());
    let header = Envelope::parse(&golden, &key()).unwrap().header;
    assert_eq!((header.created_ms, header.expires_ms), (CREATED_MS, CREATED_MS + 300_000));
}

#[test]
fn bincode() {
    check("bincode", Bincode);
}

#[test]
fn message_pack() {
    check("message_pack", MessagePack);
}

#[test]
fn json() {
    check("json", Json);
}

#[test]
fn postcard() {
    check("postcard", Postcard);
}

#[test]
fn sealed() {
    check_sealed("sealed", Cipher::XChaCha20Poly1305);
}

#[test]
fn sealed_xaes() {
    check_sealed("sealed-xaes", Cipher::Xaes256Gcm);
}

fn check_sealed(name: &str, cipher: Cipher) {
    let shelf = Shelf::default();
    let service = layer(Bincode).layer(sealing(cipher).layer(shelf.clone()));
    let golden = golden(name, || {
        ask(&service, CacheRequest::set(key(), country(), TTL)).unwrap();
        shelf.bytes(&key())
    });
    shelf.put(&key(), golden);
    assert_eq!(*get::<Country, _>(&service, &key()).unwrap().expect("a hit").value, country());
}

#[test]
fn tagged() {
    let tags = [TagStamp { tag: "country", generation: 0 }, TagStamp { tag: "région:eu", generation: 258 }];
    let header = Header {
        compression: 0,
        created_ms: CREATED_MS,
        expires_ms: 0,
        fingerprint: 0x0123_4567_89AB_CDEF,
        ..Header::new(CodecId(64))
    };
    let mut written = Vec::new();
    envelope::begin(&mut written, &header, &tags);
    written.extend_from_slice(b"opaque");
    envelope::finish(&mut written, 0, &key());
    let golden = golden("tagged", || written.clone());
    assert_eq!(written, golden);

    let read = Envelope::parse(&golden, &key()).unwrap();
    assert_eq!(read.header, header);
    assert_eq!(read.tags.clone().collect::<Vec<_>>(), tags);
    assert_eq!(read.clear_payload().unwrap(), b"opaque");
}
