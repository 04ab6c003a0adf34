//! How values become bytes.

use std::error::Error;
use std::fmt;

/// The number a codec writes into the envelope, so that a value is never read by another codec than wrote it.
///
/// 1 to 63 belong to cachex; 64 and up are free for an application's own codecs. The numbers are part of the stored form
/// and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CodecId(pub u8);

impl CodecId {
    /// bincode 2, standard configuration.
    pub const BINCODE: Self = Self(1);
    /// MessagePack with named fields.
    pub const MESSAGE_PACK: Self = Self(2);
    /// JSON.
    pub const JSON: Self = Self(3);
    /// Postcard.
    pub const POSTCARD: Self = Self(4);
}

impl fmt::Display for CodecId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::BINCODE => f.write_str("bincode"),
            Self::MESSAGE_PACK => f.write_str("message_pack"),
            Self::JSON => f.write_str("json"),
            Self::POSTCARD => f.write_str("postcard"),
            Self(other) => write!(f, "codec {other}"),
        }
    }
}

/// The error a codec failed with. It becomes the source of a [`CacheError`](crate::CacheError) of kind `Encode` or `Decode`.
pub type CodecError = Box<dyn Error + Send + Sync>;

/// Turns values of `T` into bytes and back.
///
/// Bytes come from outside: `decode` must bound what it allocates by the length of its input (and its own limits), must
/// refuse trailing bytes, and must never panic.
pub trait Codec<T>: Send + Sync + 'static {
    /// The codec's number in the stored form.
    fn id(&self) -> CodecId;

    /// A number that differs between two shapes of `T` that this codec must not confuse, and is the same in every process
    /// and build that has the same shape. It is stored with each value, and a value with another one is not decoded.
    ///
    /// 0, the default, is "not known": then only the codec's id and the application's own version number keep two shapes
    /// apart. It may be slow to find; it is asked for once per service and type.
    fn fingerprint(&self) -> u64 {
        0
    }

    /// Appends the encoded value to `out`.
    ///
    /// # Errors
    ///
    /// Whatever the underlying serializer fails with; `out` may then hold part of the value.
    fn encode(&self, value: &T, out: &mut Vec<u8>) -> Result<(), CodecError>;

    /// Reads one value that fills all of `bytes`.
    ///
    /// # Errors
    ///
    /// Whatever the underlying deserializer fails with, and left-over bytes.
    fn decode(&self, bytes: &[u8]) -> Result<T, CodecError>;
}
