use cachex_core::{Codec, CodecError, CodecId};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::bounded::{Bounded, within};
use super::nothing_left;
use crate::serialize::structural_fingerprint;

/// Postcard 1, whose wire format is specified and stable: the smallest of the four.
///
/// Fields and variants are known by position; what [`Bincode`](super::Bincode) cannot read, it cannot read either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Postcard;

impl<T: Serialize + DeserializeOwned> Codec<T> for Postcard {
    fn id(&self) -> CodecId {
        CodecId::POSTCARD
    }

    fn fingerprint(&self) -> u64 {
        structural_fingerprint::<T>(false)
    }

    fn encode(&self, value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        postcard::to_io(value, out)?;
        Ok(())
    }

    fn decode(&self, bytes: &[u8]) -> Result<T, CodecError> {
        let (Bounded(value), rest) = within(bytes.len(), || postcard::take_from_bytes(bytes))?;
        nothing_left(rest.len())?;
        Ok(value)
    }
}
