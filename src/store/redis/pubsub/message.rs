//! One invalidation message as bytes. The form is described in docs/wire-format.md.

use std::fmt;
use std::hash::{BuildHasher, RandomState};

use cachex_core::Key;

/// Not valid UTF-8, and not the magic of an envelope either.
const MAGIC: [u8; 2] = [0xCA, 0xC9];
const VERSION: u8 = 1;
/// The message is a list of keys.
const KEYS: u8 = 1;

/// Magic, version, kind, publisher, count.
const HEADER: usize = 2 + 1 + 1 + 16 + 2;

/// What a writer keeps to, in bytes. Small enough that a message never holds up a connection for long, large enough
/// that its header does not count.
const MAX_WRITTEN: usize = 16 * 1024;
/// What a reader takes, in bytes.
const MAX_READ: usize = 64 * 1024;

/// Tells one store instance from all others, wherever they run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct PublisherId([u8; 16]);

impl PublisherId {
    pub(super) fn random() -> Self {
        // Two independent keys of 128 bits, from the operating system.
        let mut id = [0; 16];
        for half in id.chunks_exact_mut(8) {
            half.copy_from_slice(&RandomState::new().hash_one(()).to_le_bytes());
        }
        Self(id)
    }
}

impl fmt::Debug for PublisherId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// As few messages as hold all `keys`, in order.
pub(super) fn encode(publisher: PublisherId, keys: &[Key]) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    let mut rest = keys;
    while !rest.is_empty() {
        let (message, count) = encode_one(publisher, rest);
        messages.push(message);
        rest = &rest[count..];
    }
    messages
}

/// A message with as many of `keys` as it takes, and how many these are: at least one, since every key fits.
fn encode_one(publisher: PublisherId, keys: &[Key]) -> (Vec<u8>, usize) {
    let mut message = Vec::with_capacity(HEADER + 64);
    message.extend_from_slice(&MAGIC);
    message.extend_from_slice(&[VERSION, KEYS]);
    message.extend_from_slice(&publisher.0);
    message.extend_from_slice(&[0; 2]);
    let mut count = 0_u16;
    for key in keys {
        let text = key.as_str().as_bytes();
        // A valid key is at most 4096 bytes long.
        let Ok(length) = u16::try_from(text.len()) else { break };
        if count > 0 && message.len() + 2 + text.len() > MAX_WRITTEN {
            break;
        }
        message.extend_from_slice(&length.to_le_bytes());
        message.extend_from_slice(text);
        count += 1;
    }
    message[HEADER - 2..HEADER].copy_from_slice(&count.to_le_bytes());
    (message, count.into())
}

/// Whose message it is and which keys it names; `None` for anything but a message of this version.
///
/// What it allocates is bounded by [`MAX_READ`], whatever the bytes say.
pub(super) fn decode(message: &[u8]) -> Option<(PublisherId, Vec<Key>)> {
    if message.len() > MAX_READ {
        return None;
    }
    let (magic, rest) = message.split_first_chunk()?;
    let (kind, rest) = rest.split_first_chunk()?;
    let (publisher, rest) = rest.split_first_chunk()?;
    let (count, mut rest) = rest.split_first_chunk()?;
    if *magic != MAGIC || *kind != [VERSION, KEYS] {
        return None;
    }
    let count = usize::from(u16::from_le_bytes(*count));
    // No key is shorter than a byte, after the two of its length.
    if count == 0 || count > rest.len() / 3 {
        return None;
    }
    let mut keys = Vec::with_capacity(count);
    for _ in 0..count {
        let (length, after) = rest.split_first_chunk()?;
        let (text, after) = after.split_at_checked(u16::from_le_bytes(*length).into())?;
        keys.push(Key::new(std::str::from_utf8(text).ok()?).ok()?);
        rest = after;
    }
    rest.is_empty().then_some((PublisherId(*publisher), keys))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SOMEONE: PublisherId = PublisherId(*b"0123456789abcdef");

    fn keys(names: &[&str]) -> Vec<Key> {
        names.iter().map(|name| Key::new(name).unwrap()).collect()
    }

    /// Bytes that later versions of the software must still read.
    const GOLDEN: &[u8] = b"\xca\xc9\x01\x010123456789abcdef\x02\x00\x07\x00user:42\x03\x00\xc3\xa9t";

    #[test]
    fn golden() {
        let keys = keys(&["user:42", "ét"]);
        assert_eq!(encode(SOMEONE, &keys), [GOLDEN]);
        assert_eq!(decode(GOLDEN), Some((SOMEONE, keys)));
    }

    #[test]
    fn every_key_is_in_one_message_and_none_is_too_long() {
        let long = "x".repeat(Key::MAX_LEN);
        let names: Vec<String> = (0..5000)
            .map(|n| if n % 100 == 0 { format!("{n}{}", &long[5..]) } else { n.to_string() })
            .collect();
        let keys: Vec<Key> = names.iter().map(|name| Key::new(name).unwrap()).collect();
        let messages = encode(SOMEONE, &keys);
        assert!(messages.len() > 10);
        assert!(messages.iter().all(|message| message.len() <= MAX_WRITTEN));
        let read: Vec<Key> = messages.iter().flat_map(|message| decode(message).unwrap().1).collect();
        assert_eq!(read, keys);
        assert!(encode(SOMEONE, &[]).is_empty());
    }

    #[test]
    fn whatever_is_not_whole_is_refused() {
        for length in 0..GOLDEN.len() {
            assert_eq!(decode(&GOLDEN[..length]), None, "{length}");
        }
        let with = |at: usize, byte: u8| {
            let mut bytes = GOLDEN.to_vec();
            bytes[at] = byte;
            decode(&bytes)
        };
        // Magic, version, kind, count, length of a key, a control character and what is not UTF-8 in a key.
        for (at, byte) in
            [(0, 0), (1, 0xc8), (2, 2), (3, 2), (20, 1), (20, 3), (21, 255), (22, 0), (24, 7), (33, 0xff)]
        {
            assert_eq!(with(at, byte), None, "byte {at} as {byte}");
        }
        assert_eq!(decode(&[GOLDEN, b"x"].concat()), None, "something is left over");
        assert_eq!(decode(&vec![b'x'; MAX_READ + 1]), None);
    }

    #[test]
    fn publishers_differ() {
        assert_ne!(PublisherId::random(), PublisherId::random());
        assert_ne!(PublisherId::random().0[..8], PublisherId::random().0[..8]);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_no_harm(tail in proptest::collection::vec(any::<u8>(), 0..200), header in 0..=4_usize) {
            let bytes = [&GOLDEN[..header], &tail].concat();
            if let Some((publisher, keys)) = decode(&bytes) {
                prop_assert_eq!(encode(publisher, &keys), [bytes]);
            }
        }

        #[test]
        fn what_is_written_is_read(names in proptest::collection::vec("[a-zé:]{1,40}", 1..60)) {
            let keys: Vec<Key> = names.iter().map(|name| Key::new(name).unwrap()).collect();
            let messages = encode(SOMEONE, &keys);
            prop_assert_eq!(messages.len(), 1);
            prop_assert_eq!(decode(&messages[0]), Some((SOMEONE, keys)));
        }
    }
}
