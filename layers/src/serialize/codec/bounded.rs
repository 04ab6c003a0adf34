//! A deserializer around another one, for formats that have no limits of their own.
//!
//! It counts nesting, so that a recursive type cannot be made to overflow the stack; it asks for borrowed strings and bytes,
//! which a reader of a slice checks against what is there, where an owned one may allocate the claimed length first; and it
//! passes on only modest size hints; and it bounds the elements of collections by the length of the input, so that a claimed
//! number of elements that take no bytes does not keep it busy for ever.

use std::cell::Cell;
use std::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};

/// How deep a value may be nested: as serde_json.
const MAX_DEPTH: usize = 128;

/// The most elements a collection may reserve room for before it has read them.
const MAX_HINT: usize = 1024;

thread_local! {
    /// How many more elements the large collections of the value that is being read may have, if there is a bound.
    static ELEMENTS: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Reads `bytes` bytes of a format in which an element may take none. Every other element takes one at least, so that large
/// collections have no more elements, all in all, than there are bytes.
#[cfg(any(feature = "bincode", feature = "postcard"))]
pub(super) fn within<R>(bytes: usize, read: impl FnOnce() -> R) -> R {
    struct Restore(Option<usize>);
    impl Drop for Restore {
        fn drop(&mut self) {
            ELEMENTS.set(self.0);
        }
    }
    let _restore = Restore(ELEMENTS.replace(Some(bytes)));
    read()
}

/// How many elements may be read from a collection that says it has `claimed`.
#[inline]
fn allowed<E: Error>(claimed: Option<usize>) -> Result<usize, E> {
    match claimed {
        Some(claimed) if claimed <= MAX_HINT => Ok(usize::MAX),
        claimed => allowed_of_many(claimed),
    }
}

#[cold]
fn allowed_of_many<E: Error>(claimed: Option<usize>) -> Result<usize, E> {
    match (ELEMENTS.get(), claimed) {
        (None, _) => Ok(usize::MAX),
        // postcard tells no number that is larger than the bytes that are left.
        (Some(_), None) => Ok(MAX_HINT),
        (Some(left), Some(claimed)) => {
            let left = left.checked_sub(claimed).ok_or_else(too_many)?;
            ELEMENTS.set(Some(left));
            Ok(usize::MAX)
        }
    }
}

#[cold]
fn too_many<E: Error>() -> E {
    E::custom("more elements than bytes")
}

/// A value read under the limits.
pub(super) struct Bounded<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Bounded<T> {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(inner: D) -> Result<Self, D::Error> {
        T::deserialize(Limited { inner, depth: MAX_DEPTH, left: usize::MAX }).map(Self)
    }
}

/// Anything of serde's, with the depth that is left beneath it and, for a collection, the elements that are left in it.
struct Limited<X> {
    inner: X,
    depth: usize,
    left: usize,
}

impl<X> Limited<X> {
    #[inline]
    fn beneath<E: Error, Y>(&self, inner: Y) -> Result<Limited<Y>, E> {
        match self.depth.checked_sub(1) {
            Some(depth) => Ok(Limited { inner, depth, left: usize::MAX }),
            None => Err(E::custom("nested too deeply")),
        }
    }

    #[inline]
    fn wrap<Y>(&self, inner: Y) -> Limited<Y> {
        Limited { inner, depth: self.depth, left: usize::MAX }
    }

    /// Counts an element, if there was one.
    #[inline]
    fn count<T, E: Error>(&mut self, element: Option<T>) -> Result<Option<T>, E> {
        if element.is_some() {
            self.left = self.left.checked_sub(1).ok_or_else(too_many)?;
        }
        Ok(element)
    }
}

macro_rules! forward_deserialize {
    ($($method:ident => $inner:ident ($($arg:ident: $ty:ty),*);)*) => {
        $(
            #[inline]
            fn $method<V: Visitor<'de>>(self, $($arg: $ty,)* visitor: V) -> Result<V::Value, D::Error> {
                let visitor = self.wrap(visitor);
                self.inner.$inner($($arg,)* visitor)
            }
        )*
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Limited<D> {
    type Error = D::Error;

    forward_deserialize! {
        deserialize_any => deserialize_any();
        deserialize_bool => deserialize_bool();
        deserialize_i8 => deserialize_i8();
        deserialize_i16 => deserialize_i16();
        deserialize_i32 => deserialize_i32();
        deserialize_i64 => deserialize_i64();
        deserialize_i128 => deserialize_i128();
        deserialize_u8 => deserialize_u8();
        deserialize_u16 => deserialize_u16();
        deserialize_u32 => deserialize_u32();
        deserialize_u64 => deserialize_u64();
        deserialize_u128 => deserialize_u128();
        deserialize_f32 => deserialize_f32();
        deserialize_f64 => deserialize_f64();
        deserialize_char => deserialize_char();
        deserialize_str => deserialize_str();
        deserialize_string => deserialize_str();
        deserialize_bytes => deserialize_bytes();
        deserialize_byte_buf => deserialize_bytes();
        deserialize_option => deserialize_option();
        deserialize_unit => deserialize_unit();
        deserialize_unit_struct => deserialize_unit_struct(name: &'static str);
        deserialize_newtype_struct => deserialize_newtype_struct(name: &'static str);
        deserialize_seq => deserialize_seq();
        deserialize_tuple => deserialize_tuple(len: usize);
        deserialize_tuple_struct => deserialize_tuple_struct(name: &'static str, len: usize);
        deserialize_map => deserialize_map();
        deserialize_struct => deserialize_struct(name: &'static str, fields: &'static [&'static str]);
        deserialize_enum => deserialize_enum(name: &'static str, variants: &'static [&'static str]);
        deserialize_identifier => deserialize_identifier();
        deserialize_ignored_any => deserialize_ignored_any();
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

macro_rules! forward_visit {
    ($($method:ident($ty:ty);)*) => {
        $(
            #[inline]
            fn $method<E: Error>(self, value: $ty) -> Result<V::Value, E> {
                self.inner.$method(value)
            }
        )*
    };
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Limited<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    forward_visit! {
        visit_bool(bool);
        visit_i8(i8);
        visit_i16(i16);
        visit_i32(i32);
        visit_i64(i64);
        visit_i128(i128);
        visit_u8(u8);
        visit_u16(u16);
        visit_u32(u32);
        visit_u64(u64);
        visit_u128(u128);
        visit_f32(f32);
        visit_f64(f64);
        visit_char(char);
        visit_str(&str);
        visit_borrowed_str(&'de str);
        visit_string(String);
        visit_bytes(&[u8]);
        visit_borrowed_bytes(&'de [u8]);
        visit_byte_buf(Vec<u8>);
    }

    #[inline]
    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    #[inline]
    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    #[inline]
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        let deserializer = self.beneath(deserializer)?;
        self.inner.visit_some(deserializer)
    }

    #[inline]
    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        let deserializer = self.beneath(deserializer)?;
        self.inner.visit_newtype_struct(deserializer)
    }

    #[inline]
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<V::Value, A::Error> {
        let mut seq = self.beneath(seq)?;
        seq.left = allowed(seq.inner.size_hint())?;
        self.inner.visit_seq(seq)
    }

    #[inline]
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        let mut map = self.beneath(map)?;
        map.left = allowed(map.inner.size_hint())?;
        self.inner.visit_map(map)
    }

    #[inline]
    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<V::Value, A::Error> {
        let data = self.beneath(data)?;
        self.inner.visit_enum(data)
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Limited<S> {
    type Value = S::Value;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        let deserializer = self.wrap(deserializer);
        self.inner.deserialize(deserializer)
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Limited<A> {
    type Error = A::Error;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        let seed = self.wrap(seed);
        let element = self.inner.next_element_seed(seed)?;
        self.count(element)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint().map(|hint| hint.min(MAX_HINT))
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Limited<A> {
    type Error = A::Error;

    #[inline]
    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        let seed = self.wrap(seed);
        let key = self.inner.next_key_seed(seed)?;
        self.count(key)
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        let seed = self.wrap(seed);
        self.inner.next_value_seed(seed)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint().map(|hint| hint.min(MAX_HINT))
    }
}

impl<'de, A: EnumAccess<'de>> EnumAccess<'de> for Limited<A> {
    type Error = A::Error;
    type Variant = Limited<A::Variant>;

    #[inline]
    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self::Variant), A::Error> {
        let seed = self.wrap(seed);
        let depth = self.depth;
        let (value, inner) = self.inner.variant_seed(seed)?;
        Ok((value, Limited { inner, depth, left: usize::MAX }))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Limited<A> {
    type Error = A::Error;

    #[inline]
    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    #[inline]
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        let seed = self.wrap(seed);
        self.inner.newtype_variant_seed(seed)
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        let visitor = self.wrap(visitor);
        self.inner.tuple_variant(len, visitor)
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        let visitor = self.wrap(visitor);
        self.inner.struct_variant(fields, visitor)
    }
}
