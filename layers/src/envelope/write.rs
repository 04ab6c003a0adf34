use cachex_core::Key;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

#[cfg(feature = "encrypt")]
use super::Cipher;
#[cfg(feature = "encrypt")]
use super::FLAG_SEALED;
use super::{FLAG_COMPRESSED, FLAG_TAGGED, Header, MAGIC, MAX_TIME_MS, TagStamp, VERSION};

#[cfg(feature = "encrypt")]
const FLAGS_AT: usize = 3;

/// Appends the header and the tags of a clear envelope to `out`; append the payload next, then [`finish`].
///
/// The tags must be those of a [`Tags`](cachex_core::Tags): in ascending order, no two alike, each of a valid length. Times
/// above [`MAX_TIME_MS`] are capped to it.
pub fn begin(out: &mut Vec<u8>, header: &Header, tags: &[TagStamp<'_>]) {
    let mut flags = 0;
    if header.compression != 0 {
        flags |= FLAG_COMPRESSED;
    }
    if !tags.is_empty() {
        flags |= FLAG_TAGGED;
    }
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[VERSION, flags, header.codec.0, header.compression]);
    push_time(out, header.created_ms);
    push_time(out, header.expires_ms);
    out.extend_from_slice(&header.fingerprint.to_le_bytes());
    if tags.is_empty() {
        return;
    }
    out.extend_from_slice(&short(tags.len()));
    for stamp in tags {
        out.extend_from_slice(&short(stamp.tag.len()));
        out.extend_from_slice(stamp.tag.as_bytes());
        out.extend_from_slice(&stamp.generation.to_le_bytes());
    }
}

/// Ends the clear envelope that [`begin`] started at `start` in `out`, to be stored under `key`.
///
/// # Panics
///
/// When `start` is past the end of `out`.
pub fn finish(out: &mut Vec<u8>, start: usize, key: &Key) {
    let sum = checksum(&out[start..], key);
    out.extend_from_slice(&sum.to_le_bytes());
}

/// XXH3-64 of the envelope before the checksum, seeded with the XXH3-64 of the cache key, so that a value which moved to
/// another key no longer fits.
pub(super) fn checksum(covered: &[u8], key: &Key) -> u64 {
    xxh3_64_with_seed(covered, xxh3_64(key.as_str().as_bytes()))
}

/// Appends everything of a sealed envelope that comes before the nonce: the clear one's head, told to be sealed.
#[cfg(feature = "encrypt")]
pub(crate) fn begin_sealed(out: &mut Vec<u8>, clear_head: &[u8], cipher: Cipher, key_id: u32) {
    let start = out.len();
    out.extend_from_slice(clear_head);
    out[start + FLAGS_AT] |= FLAG_SEALED;
    out.push(cipher.id());
    out.extend_from_slice(&key_id.to_le_bytes());
}

/// Appends the head of the clear envelope that a sealed one was made of.
#[cfg(feature = "encrypt")]
pub(crate) fn begin_opened(out: &mut Vec<u8>, sealed_head: &[u8]) {
    let start = out.len();
    out.extend_from_slice(sealed_head);
    out[start + FLAGS_AT] &= !FLAG_SEALED;
}

fn push_time(out: &mut Vec<u8>, ms: u64) {
    out.extend_from_slice(&ms.min(MAX_TIME_MS).to_le_bytes()[..6]);
}

/// Tags are at most 128 of at most 256 bytes each.
fn short(len: usize) -> [u8; 2] {
    u16::try_from(len).unwrap_or(u16::MAX).to_le_bytes()
}
