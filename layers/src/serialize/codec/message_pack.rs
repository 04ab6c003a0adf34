use cachex_core::{Codec, CodecError, CodecId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::bounded::Bounded;
use super::nothing_left;
use crate::serialize::structural_fingerprint;

/// MessagePack, with structs as maps from field name to value, as other languages expect them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessagePack;

impl<T: Serialize + DeserializeOwned> Codec<T> for MessagePack {
    fn id(&self) -> CodecId {
        CodecId::MESSAGE_PACK
    }

    fn fingerprint(&self) -> u64 {
        structural_fingerprint::<T>(false)
    }

    fn encode(&self, value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        rmp_serde::encode::write_named(out, value)?;
        Ok(())
    }

    fn decode(&self, bytes: &[u8]) -> Result<T, CodecError> {
        let mut reader = rmp_serde::Deserializer::new(bytes);
        let Bounded(value) = Bounded::deserialize(&mut reader)?;
        nothing_left(reader.into_inner().len())?;
        Ok(value)
    }
}
