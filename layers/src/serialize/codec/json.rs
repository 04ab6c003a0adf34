use cachex_core::{Codec, CodecError, CodecId};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::serialize::structural_fingerprint;

/// JSON without white space.
///
/// As in all of JSON, a float that is not finite is written as null and cannot be read back, and map keys must be strings,
/// numbers or unit variants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Json;

impl<T: Serialize + DeserializeOwned> Codec<T> for Json {
    fn id(&self) -> CodecId {
        CodecId::JSON
    }

    fn fingerprint(&self) -> u64 {
        structural_fingerprint::<T>(true)
    }

    fn encode(&self, value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        serde_json::to_writer(out, value)?;
        Ok(())
    }

    fn decode(&self, bytes: &[u8]) -> Result<T, CodecError> {
        // Refuses trailing bytes and more than 128 levels by itself.
        Ok(serde_json::from_slice(bytes)?)
    }
}
