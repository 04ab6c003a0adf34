//! Which slot a key belongs to.
//!
//! Source: Redis Cluster specification, "Key distribution model" and "Hash tags",
//! <https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/>.

/// How many slots a cluster has.
pub(super) const SLOTS: u16 = 16_384;

/// The slot of a key: by its hash tag, if it has one.
pub(super) fn slot_of(key: &str) -> u16 {
    let key = key.as_bytes();
    crc16(tag(key).unwrap_or(key)) % SLOTS
}

/// What stands between the first `{` and the first `}` after it, unless that is nothing.
fn tag(key: &[u8]) -> Option<&[u8]> {
    let open = key.iter().position(|byte| *byte == b'{')?;
    let rest = &key[open + 1..];
    let close = rest.iter().position(|byte| *byte == b'}')?;
    (close > 0).then(|| &rest[..close])
}

/// CRC-16/XMODEM: polynomial 0x1021, initial value 0, nothing reflected.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| (crc << 8) ^ TABLE[usize::from((crc >> 8) as u8 ^ *byte)])
}

/// What each byte adds.
static TABLE: [u16; 256] = table();

const fn table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use cachex_test_support::{RedisServer, Reply};
    use proptest::prelude::*;

    use super::*;

    fn key_text() -> impl Strategy<Value = String> {
        // Braces at every place, and bytes beyond ASCII.
        let part = prop_oneof![
            Just("{".to_owned()),
            Just("}".to_owned()),
            "[ -~]{0,6}",
            "[\u{e0}-\u{17f}\u{4e00}-\u{4e20}]{1,3}"
        ];
        prop::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
    }

    #[test]
    fn every_key_is_in_the_slot_the_server_says() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let server = runtime.block_on(RedisServer::builder().arg("cluster-enabled", "yes").start());
        proptest!(|(text in key_text())| {
            let told = runtime.block_on(server.command(["CLUSTER", "KEYSLOT", &text]));
            prop_assert_eq!(told, Reply::Int(slot_of(&text).into()));
        });
    }

    #[test]
    fn the_values_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(slot_of("foo"), 12_182);
        assert_eq!(slot_of(""), 0);
    }

    #[test]
    fn the_hash_tags_of_the_specification() {
        assert_eq!(tag(b"{user1000}.following"), Some(b"user1000".as_slice()));
        assert_eq!(tag(b"foo{}{bar}"), None);
        assert_eq!(tag(b"foo{{bar}}zap"), Some(b"{bar".as_slice()));
        assert_eq!(tag(b"foo{bar}{zap}"), Some(b"bar".as_slice()));
        assert_eq!(tag(b"foo}{bar"), None);
        assert_eq!(slot_of("{user1000}.following"), slot_of("{user1000}.followers"));
    }
}
