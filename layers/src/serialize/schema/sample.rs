//! Made-up data. The first of each list suits nearly every type; the others are tried where a type refuses it.

/// The kinds of data a type can ask for that hold no other data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaf {
    Bool,
    /// An integer, by the name of its type.
    Int(&'static str),
    Float(&'static str),
    Char,
    Str,
    Bytes,
    Unit,
    /// Whatever the data says it is.
    Any,
}

impl Leaf {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int(name) | Self::Float(name) => name,
            Self::Char => "char",
            Self::Str => "str",
            Self::Bytes => "bytes",
            Self::Unit => "unit",
            Self::Any => "any",
        }
    }

    /// How many different samples there are.
    pub(super) fn samples(self) -> usize {
        match self {
            Self::Bool => BOOLS.len(),
            Self::Int(_) => INTS.len(),
            Self::Float(_) => FLOATS.len(),
            Self::Char => CHARS.len(),
            Self::Str => STRS.len(),
            Self::Bytes => BYTES.len(),
            Self::Unit => 1,
            Self::Any => ANYS.len(),
        }
    }
}

pub(super) const BOOLS: [bool; 2] = [false, true];
pub(super) const INTS: [i8; 6] = [1, 0, 2, 10, 100, -1];
pub(super) const FLOATS: [f32; 3] = [1.0, 0.0, 0.5];
pub(super) const CHARS: [char; 3] = ['a', '0', 'A'];

/// What common types read from text: numbers, dates and times, identifiers, addresses, versions, names of zones.
pub(super) const STRS: [&str; 19] = [
    "a",
    "",
    "1970-01-01T00:00:00Z",
    "1970-01-01T00:00:00",
    "1970-01-01",
    "00:00:00",
    "00000000-0000-0000-0000-000000000001",
    "1",
    "1.0.0",
    "127.0.0.1",
    "::1",
    "127.0.0.1:1",
    "10.0.0.0/8",
    "http://a.example/",
    "a@a.example",
    "UTC",
    "00000000000000000000000001",
    "AAAA",
    "EUR",
];

/// Lengths of identifiers, addresses, digests and keys.
pub(super) const BYTES: [&[u8]; 7] = [&[], &[0; 16], &[0; 12], &[0; 4], &[0; 8], &[0; 20], &[0; 32]];

#[derive(Clone, Copy, Debug)]
pub(super) enum AnySample {
    Unit,
    Bool,
    Int,
    Str,
    Seq,
    Map,
}

pub(super) const ANYS: [AnySample; 6] =
    [AnySample::Unit, AnySample::Bool, AnySample::Int, AnySample::Str, AnySample::Seq, AnySample::Map];
