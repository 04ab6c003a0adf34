//! What is asked of every contender, and the data it is asked about.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::sync::OnceLock;

use bytes::Bytes;

/// How many keys an MGET names.
pub const MGET_KEYS: usize = 16;

/// Digits of a value's stamp.
const STAMP: usize = 8;

/// The operation that a caller repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Get,
    Set,
    Mget,
}

/// How large values are, and with that how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// 100,000 of 128 bytes.
    Small,
    /// 10,000 of 4 KiB.
    Large,
}

impl Size {
    pub const ALL: [Self; 2] = [Self::Small, Self::Large];

    pub fn keys(self) -> usize {
        match self {
            Self::Small => 100_000,
            Self::Large => 10_000,
        }
    }

    pub fn bytes(self) -> usize {
        match self {
            Self::Small => 128,
            Self::Large => 4_096,
        }
    }

    /// The name of a key in a space.
    pub fn key(self, space: &str, index: usize) -> KeyName {
        KeyName::new(space, self, index)
    }

    /// The value of a key: text that carries the number of its key at both ends. A clone of one that all share.
    pub fn value(self, index: usize) -> Bytes {
        static SMALL: OnceLock<Vec<Bytes>> = OnceLock::new();
        static LARGE: OnceLock<Vec<Bytes>> = OnceLock::new();
        let values = match self {
            Self::Small => &SMALL,
            Self::Large => &LARGE,
        };
        values.get_or_init(|| self.indices().map(|index| self.new_value(index)).collect())[index].clone()
    }

    fn new_value(self, index: usize) -> Bytes {
        let mut value: Vec<u8> = (0..self.bytes()).map(|at| b'a' + (at % 26) as u8).collect();
        let stamp = stamp(index);
        value[..STAMP].copy_from_slice(&stamp);
        let end = self.bytes() - STAMP;
        value[end..].copy_from_slice(&stamp);
        value.into()
    }

    /// Whether this is the value of that key.
    pub fn is_value(self, index: usize, value: &[u8]) -> bool {
        let stamp = stamp(index);
        value.len() == self.bytes() && value.starts_with(&stamp) && value.ends_with(&stamp)
    }

    pub fn indices(self) -> Range<usize> {
        0..self.keys()
    }
}

/// The name of a key, `{space}:{size}:{index}`. Made without an allocation: callers make one for each operation.
#[derive(Clone, Copy, Debug)]
pub struct KeyName {
    bytes: [u8; Self::CAPACITY],
    len: usize,
}

impl KeyName {
    const CAPACITY: usize = 24;
    const DIGITS: usize = 8;

    fn new(space: &str, size: Size, index: usize) -> Self {
        let mut name = Self { bytes: [b'0'; Self::CAPACITY], len: 0 };
        name.push(space);
        name.push(match size {
            Size::Small => ":128:",
            Size::Large => ":4096:",
        });
        name.len += Self::DIGITS;
        let mut rest = index;
        for digit in name.bytes[..name.len].iter_mut().rev().take(Self::DIGITS) {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        name
    }

    fn push(&mut self, text: &str) {
        self.bytes[self.len..][..text.len()].copy_from_slice(text.as_bytes());
        self.len += text.len();
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).expect("made of text")
    }
}

/// The number of a key as hexadecimal digits. Cheap: every reply is checked by it.
fn stamp(index: usize) -> [u8; STAMP] {
    let mut rest = index;
    std::array::from_fn(|_| {
        let digit = b"0123456789abcdef"[rest & 0xf];
        rest >>= 4;
        digit
    })
}

/// An operation on values of a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    pub op: Op,
    pub size: Size,
}

/// The workload that the targets are about. It is measured longer than the others.
pub const MAIN: Workload = Workload { op: Op::Get, size: Size::Small };

impl Workload {
    pub const ALL: [Self; 6] = [
        MAIN,
        Self { op: Op::Set, size: Size::Small },
        Self { op: Op::Mget, size: Size::Small },
        Self { op: Op::Get, size: Size::Large },
        Self { op: Op::Set, size: Size::Large },
        Self { op: Op::Mget, size: Size::Large },
    ];

    pub fn name(self) -> &'static str {
        match (self.op, self.size) {
            (Op::Get, Size::Small) => "get-128",
            (Op::Set, Size::Small) => "set-128",
            (Op::Mget, Size::Small) => "mget-128",
            (Op::Get, Size::Large) => "get-4k",
            (Op::Set, Size::Large) => "set-4k",
            (Op::Mget, Size::Large) => "mget-4k",
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.op {
            Op::Get => f.write_str("GET")?,
            Op::Set => f.write_str("SET")?,
            Op::Mget => write!(f, "MGET of {MGET_KEYS}")?,
        }
        f.write_str(match self.size {
            Size::Small => ", 128 B",
            Size::Large => ", 4 KiB",
        })
    }
}

impl FromStr for Workload {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|workload| workload.name() == name).ok_or_else(|| {
            format!("no workload `{name}`; there are {}", Self::ALL.map(Workload::name).join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_told_from_any_other() {
        for size in Size::ALL {
            let value = size.value(4_711);
            assert!(size.is_value(4_711, &value));
            assert!(!size.is_value(4_712, &value));
            assert!(!size.is_value(4_711, &value[..size.bytes() - 1]));
            let mut torn = value.to_vec();
            torn[size.bytes() - 1] ^= 1;
            assert!(!size.is_value(4_711, &torn));
        }
    }

    #[test]
    fn keys_are_named() {
        assert_eq!(Size::Small.key("plain", 4_711).as_str(), "plain:128:00004711");
        assert_eq!(Size::Large.key("sealed", 9_999).as_str(), "sealed:4096:00009999");
    }

    #[test]
    fn stamps_do_not_collide() {
        let mut stamps: Vec<_> = Size::Small.indices().map(stamp).collect();
        stamps.sort_unstable();
        stamps.dedup();
        assert_eq!(stamps.len(), Size::Small.keys());
    }
}
