use cachex_core::{Codec, CodecError, CodecId};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::bounded::{Bounded, within};
use super::nothing_left;
use crate::serialize::structural_fingerprint;

/// bincode 2 in its standard configuration: little-endian, integers of variable length. The default.
///
/// Fields and variants are known by position, so it cannot read types that need to be told the type from the data
/// (`#[serde(untagged)]`, internally tagged enums, `#[serde(flatten)]`, `serde_json::Value`): use [`Json`](super::Json) or
/// [`MessagePack`](super::MessagePack) for those.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bincode;

impl<T: Serialize + DeserializeOwned> Codec<T> for Bincode {
    fn id(&self) -> CodecId {
        CodecId::BINCODE
    }

    fn fingerprint(&self) -> u64 {
        structural_fingerprint::<T>(false)
    }

    fn encode(&self, value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        bincode::serde::encode_into_std_write(value, out, bincode::config::standard())?;
        Ok(())
    }

    fn decode(&self, bytes: &[u8]) -> Result<T, CodecError> {
        let (Bounded(value), read) = within(bytes.len(), || {
            bincode::serde::borrow_decode_from_slice(bytes, bincode::config::standard())
        })?;
        nothing_left(bytes.len() - read)?;
        Ok(value)
    }
}
