//! The deserializer that answers with made-up data and notes what was asked for.

use std::any::type_name;

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor};

use super::sample::{self, AnySample, Leaf};
use super::shape::{Node, Slot};
use super::tracer::{BodyKind, Failed, Identity, Tracer};

/// Reads one part of a type. Without a slot there is nothing to learn here and the part is to be as small as it can be.
pub(super) struct Probe<'a> {
    pub(super) tracer: &'a mut Tracer,
    pub(super) slot: Option<Slot>,
}

macro_rules! numbers {
    ($($method:ident $visit:ident $ty:ident $kind:ident $samples:ident;)*) => {
        $(
            fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
                let sample = self.tracer.leaf(self.slot, Leaf::$kind(stringify!($ty)));
                visitor.$visit($ty::try_from(sample::$samples[sample]).unwrap_or_default())
            }
        )*
    };
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Failed;

    numbers! {
        deserialize_i8 visit_i8 i8 Int INTS;
        deserialize_i16 visit_i16 i16 Int INTS;
        deserialize_i32 visit_i32 i32 Int INTS;
        deserialize_i64 visit_i64 i64 Int INTS;
        deserialize_i128 visit_i128 i128 Int INTS;
        deserialize_u8 visit_u8 u8 Int INTS;
        deserialize_u16 visit_u16 u16 Int INTS;
        deserialize_u32 visit_u32 u32 Int INTS;
        deserialize_u64 visit_u64 u64 Int INTS;
        deserialize_u128 visit_u128 u128 Int INTS;
        deserialize_f32 visit_f32 f32 Float FLOATS;
        deserialize_f64 visit_f64 f64 Float FLOATS;
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        let sample = self.tracer.leaf(self.slot, Leaf::Bool);
        visitor.visit_bool(sample::BOOLS[sample])
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        let sample = self.tracer.leaf(self.slot, Leaf::Char);
        visitor.visit_char(sample::CHARS[sample])
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        let sample = self.tracer.leaf(self.slot, Leaf::Str);
        visitor.visit_borrowed_str(sample::STRS[sample])
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        let sample = self.tracer.leaf(self.slot, Leaf::Bytes);
        visitor.visit_borrowed_bytes(sample::BYTES[sample])
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        self.tracer.leaf(self.slot, Leaf::Unit);
        visitor.visit_unit()
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        let sample = self.tracer.leaf(self.slot, Leaf::Any);
        match sample::ANYS[sample] {
            AnySample::Unit => visitor.visit_unit(),
            AnySample::Bool => visitor.visit_bool(false),
            AnySample::Int => visitor.visit_u64(1),
            AnySample::Str => visitor.visit_borrowed_str("a"),
            AnySample::Seq => visitor.visit_seq(Parts::none(self.tracer)),
            AnySample::Map => visitor.visit_map(Parts::none(self.tracer)),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        self.deserialize_any(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        match self.tracer.option(self.slot) {
            Some(inner) => {
                self.tracer.beneath(|tracer| visitor.visit_some(Probe { tracer, slot: Some(inner) }))
            }
            None => visitor.visit_none(),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        let inner = self.tracer.seq(self.slot);
        visitor.visit_seq(Parts::some(self.tracer, inner.into_iter().collect()))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        let inner = self.tracer.map(self.slot);
        let parts = inner.map_or(Vec::new(), |(key, value)| vec![key, value]);
        visitor.visit_map(Parts::some(self.tracer, parts))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Failed> {
        let slots = self.tracer.tuple(self.slot, len);
        visitor.visit_seq(Parts::of(self.tracer, slots, len))
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failed> {
        self.tracer.in_struct(self.slot, identity::<V>(name, &[]), |tracer, number| {
            tracer.body(number.map(|number| (number, 0)), BodyKind::Unit);
            visitor.visit_unit()
        })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failed> {
        self.tracer.in_struct(self.slot, identity::<V>(name, &[]), |tracer, number| {
            let slots = tracer.body(number.map(|number| (number, 0)), BodyKind::Newtype);
            let slot = slots.map(|slots| slots[0]);
            tracer.beneath(|tracer| visitor.visit_newtype_struct(Probe { tracer, slot }))
        })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Failed> {
        self.tracer.in_struct(self.slot, identity::<V>(name, &[]), |tracer, number| {
            let slots = tracer.body(number.map(|number| (number, 0)), BodyKind::Tuple(len));
            visitor.visit_seq(Parts::of(tracer, slots, len))
        })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failed> {
        self.tracer.in_struct(self.slot, identity::<V>(name, fields), |tracer, number| {
            let slots = tracer.body(number.map(|number| (number, 0)), BodyKind::Struct(fields));
            visitor.visit_seq(Parts::of(tracer, slots, fields.len()))
        })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failed> {
        if variants.is_empty() {
            self.tracer.note(self.slot, Node::Leaf("never"));
            return Err(Failed);
        }
        self.tracer.in_enum(self.slot, identity::<V>(name, variants), |tracer, number, variant| {
            visitor.visit_enum(OneVariant { tracer, number, variant, name: variants[variant] })
        })
    }

    fn is_human_readable(&self) -> bool {
        self.tracer.human_readable
    }
}

fn identity<'de, V: Visitor<'de>>(name: &'static str, parts: &'static [&'static str]) -> Identity {
    Identity { type_name: type_name::<V::Value>(), name, parts }
}

/// The parts of a sequence or a map, in order.
struct Parts<'a> {
    tracer: &'a mut Tracer,
    slots: Vec<Slot>,
    at: usize,
    len: usize,
}

impl<'a> Parts<'a> {
    fn none(tracer: &'a mut Tracer) -> Self {
        Self { tracer, slots: Vec::new(), at: 0, len: 0 }
    }

    fn some(tracer: &'a mut Tracer, slots: Vec<Slot>) -> Self {
        let len = slots.len();
        Self { tracer, slots, at: 0, len }
    }

    /// `len` parts, whether or not they are to be noted.
    fn of(tracer: &'a mut Tracer, slots: Option<Vec<Slot>>, len: usize) -> Self {
        Self { tracer, slots: slots.unwrap_or_default(), at: 0, len }
    }

    fn next<'de, S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Failed> {
        let slot = self.slots.get(self.at).copied();
        self.at += 1;
        self.tracer.beneath(|tracer| seed.deserialize(Probe { tracer, slot }))
    }
}

impl<'de> SeqAccess<'de> for Parts<'_> {
    type Error = Failed;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Failed> {
        if self.at < self.len { self.next(seed).map(Some) } else { Ok(None) }
    }
}

impl<'de> MapAccess<'de> for Parts<'_> {
    type Error = Failed;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Failed> {
        if self.at < self.len { self.next(seed).map(Some) } else { Ok(None) }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Failed> {
        self.next(seed)
    }
}

struct OneVariant<'a> {
    tracer: &'a mut Tracer,
    number: Option<usize>,
    variant: usize,
    name: &'static str,
}

impl OneVariant<'_> {
    fn body(&mut self, kind: BodyKind) -> Option<Vec<Slot>> {
        self.tracer.body(self.number.map(|number| (number, self.variant)), kind)
    }
}

impl<'de> EnumAccess<'de> for OneVariant<'_> {
    type Error = Failed;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Failed> {
        let name = StrDeserializer::<Failed>::new(self.name);
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for OneVariant<'_> {
    type Error = Failed;

    fn unit_variant(mut self) -> Result<(), Failed> {
        self.body(BodyKind::Unit);
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(mut self, seed: S) -> Result<S::Value, Failed> {
        let slot = self.body(BodyKind::Newtype).map(|slots| slots[0]);
        self.tracer.beneath(|tracer| seed.deserialize(Probe { tracer, slot }))
    }

    fn tuple_variant<V: Visitor<'de>>(mut self, len: usize, visitor: V) -> Result<V::Value, Failed> {
        let slots = self.body(BodyKind::Tuple(len));
        visitor.visit_seq(Parts::of(self.tracer, slots, len))
    }

    fn struct_variant<V: Visitor<'de>>(
        mut self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failed> {
        let slots = self.body(BodyKind::Struct(fields));
        visitor.visit_seq(Parts::of(self.tracer, slots, fields.len()))
    }
}
