//! The stored form itself: what is read of it, and what is refused.

#[cfg(all(
    feature = "bincode",
    feature = "encrypt",
    feature = "json",
    feature = "message-pack",
    feature = "postcard"
))]
mod golden;
#[cfg(all(feature = "bincode", feature = "json", feature = "message-pack", feature = "postcard"))]
pub(crate) mod shelf;

use cachex_core::{CacheError, CodecId, ErrorKind, Key};
use cachex_layers::envelope::{
    self, Body, CLEAR_OVERHEAD, Envelope, EnvelopeError, HEADER_LEN, Header, MAX_TIME_MS, TagStamp,
};
use proptest::prelude::*;

fn key() -> Key {
    Key::new("user:42").unwrap()
}

fn write(header: &Header, tags: &[TagStamp<'_>], payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    envelope::begin(&mut out, header, tags);
    out.extend_from_slice(payload);
    envelope::finish(&mut out, 0, &key());
    out
}

fn sample() -> Vec<u8> {
    let tags = [TagStamp { tag: "a", generation: 1 }, TagStamp { tag: "team:7", generation: u64::MAX }];
    write(&Header { created_ms: 5, ..Header::new(CodecId(9)) }, &tags, b"payload")
}

fn refused(bytes: &[u8]) -> EnvelopeError {
    Envelope::parse(bytes, &key()).expect_err("must be refused")
}

prop_compose! {
    fn header()(
        codec in 1_u8.., compression in any::<u8>(), created_ms in 0..=MAX_TIME_MS, expires_ms in 0..=MAX_TIME_MS,
        fingerprint in any::<u64>(),
    ) -> Header {
        Header { codec: CodecId(codec), compression, created_ms, expires_ms, fingerprint }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        header in header(),
        tags in prop::collection::btree_map("[^\\p{Cc}]{1,30}", any::<u64>(), 0..6),
        payload in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let tags: Vec<_> = tags.iter().map(|(tag, &generation)| TagStamp { tag, generation }).collect();
        let bytes = write(&header, &tags, &payload);
        let read = Envelope::parse(&bytes, &key()).unwrap();
        prop_assert_eq!(read.header, header);
        prop_assert_eq!(read.tags.len(), tags.len());
        prop_assert_eq!(read.tags.clone().collect::<Vec<_>>(), tags);
        prop_assert_eq!(read.clear_payload().unwrap(), &payload[..]);
    }

    #[test]
    fn arbitrary_bytes_are_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..200), as_envelope in any::<bool>()) {
        if as_envelope && bytes.len() >= 4 {
            bytes[..3].copy_from_slice(&[0xCA, 0xC8, 1]);
            bytes[3] &= 0b111;
        }
        match Envelope::parse(&bytes, &key()) {
            Ok(read) => prop_assert!(matches!(read.body, Body::Sealed(_)), "only a seal is left to be checked"),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    #[test]
    fn no_text_or_number_is_taken_for_an_envelope(text in ".*", number in any::<i64>()) {
        prop_assert_eq!(refused(text.as_bytes()), EnvelopeError::NotAnEnvelope);
        prop_assert_eq!(refused(number.to_string().as_bytes()), EnvelopeError::NotAnEnvelope);
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    let bytes = sample();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        match Envelope::parse(&flipped, &key()) {
            // The flag that says "sealed": the rest then reads as an unknown cipher, or the seal does not open.
            Ok(read) => assert!(bit == 3 * 8 && read.clear_payload().is_err(), "bit {bit}"),
            Err(EnvelopeError::NotAnEnvelope) => assert!(bit < 16, "bit {bit}"),
            Err(EnvelopeError::UnknownVersion(_)) => assert!((16..24).contains(&bit), "bit {bit}"),
            Err(_) => assert!(bit >= 24, "bit {bit}"),
        }
    }
}

#[test]
fn every_truncation_and_extension_is_noticed() {
    let bytes = sample();
    for len in 0..bytes.len() {
        let error = refused(&bytes[..len]);
        assert!(matches!(error.kind(), ErrorKind::Decode), "{len}: {error}");
    }
    for extra in [&[0][..], &[0; 8], &bytes] {
        assert_eq!(refused(&[&bytes, extra].concat()), EnvelopeError::Checksum);
    }
}

#[test]
fn another_keys_value_is_refused() {
    let error = Envelope::parse(&sample(), &Key::new("user:43").unwrap()).expect_err("moved");
    assert_eq!(error, EnvelopeError::Checksum);
}

#[test]
fn each_contradiction_has_its_name() {
    let edited = |at: usize, value: u8| {
        let mut bytes = sample();
        bytes[at] = value;
        refused(&bytes)
    };
    assert_eq!(edited(0, b'1'), EnvelopeError::NotAnEnvelope);
    assert_eq!(edited(2, 2), EnvelopeError::UnknownVersion(2));
    assert_eq!(edited(3, 0b1100), EnvelopeError::Malformed("reserved flags are set"));
    assert_eq!(edited(3, 0b0110), EnvelopeError::Malformed("compression id contradicts the flags"));
    assert_eq!(edited(4, 0), EnvelopeError::Malformed("codec id is zero"));
    assert_eq!(edited(5, 1), EnvelopeError::Malformed("compression id contradicts the flags"));
    assert_eq!(edited(HEADER_LEN, 0), EnvelopeError::Malformed("tag count is out of range"));
    assert_eq!(edited(HEADER_LEN, 129), EnvelopeError::Malformed("tag count is out of range"));
    assert_eq!(edited(HEADER_LEN + 3, 0xFF), EnvelopeError::Malformed("tag is too long"));
    assert_eq!(edited(HEADER_LEN + 4, 0xFF), EnvelopeError::Malformed("tag is not UTF-8"));
    assert_eq!(edited(HEADER_LEN + 4, b'z'), EnvelopeError::Malformed("tags are not in ascending order"));
    // A tag that claims more than there is.
    let mut short = sample();
    short.truncate(HEADER_LEN + 4);
    assert_eq!(refused(&short), EnvelopeError::Truncated);
}

#[test]
fn errors_become_cache_errors_with_a_source() {
    let error = CacheError::from(EnvelopeError::UnknownVersion(9));
    assert_eq!(error.kind(), ErrorKind::UnknownVersion);
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "envelope version is unknown (9)");
    assert_eq!(CacheError::from(EnvelopeError::NotSealed).kind(), ErrorKind::Decrypt);
}

#[test]
fn the_overhead_is_as_documented_and_times_are_capped() {
    let header = Header { created_ms: u64::MAX, expires_ms: MAX_TIME_MS, ..Header::new(CodecId::JSON) };
    let bytes = write(&header, &[], b"");
    assert_eq!((bytes.len(), CLEAR_OVERHEAD), (34, 34));
    let read = Envelope::parse(&bytes, &key()).unwrap();
    assert_eq!((read.header.created_ms, read.header.expires_ms), (MAX_TIME_MS, MAX_TIME_MS));
}

#[test]
fn debug_shows_no_payload() {
    let bytes = write(&Header::new(CodecId::JSON), &[], b"secret");
    let shown = format!("{:?}", Envelope::parse(&bytes, &key()).unwrap());
    assert!(
        shown.contains("Clear(6 bytes)") && !shown.contains(&format!("{:?}", &b"secret"[..3])),
        "{shown}"
    );
}
