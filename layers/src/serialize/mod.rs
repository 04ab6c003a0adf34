//! Values become bytes, and bytes values.
//!
//! [`SerializeLayer`] turns a service of [`Encoded`](cachex_core::Encoded) payloads into one of `T`: it encodes what is written
//! and decodes what is read, each value inside the versioned [`envelope`](crate::envelope) that says when it was written, when
//! its life ends, by which codec it was encoded and which shape its type had.
//!
//! What cannot be read, be it altered, of another version, type or codec, or no envelope at all (a counter written by
//! `INCRBY`), is by default a counted miss: see [`Unreadable`](crate::envelope::Unreadable). It is never a wrong value.
//!
//! # Where it belongs
//!
//! Below every layer that is to see values (a near cache above all) and above encryption, retries and the store. So nothing is
//! encoded or decoded twice, and an L1 hit decodes nothing:
//!
//! ```text
//! right:  near → serialize → encrypt → retry → breaker → timeout → store
//! wrong:  encrypt → serialize → store    (does not compile)
//! wrong:  retry → serialize → store      (encodes again on every attempt)
//! ```
//!
//! A stack over a typed memory store has no serialize layer.
//!
//! ```
//! # #[cfg(feature = "bincode")] mod example {
//! use cachex_layers::serialize::{Bincode, SerializeLayer};
//! use tower_layer::Layer;
//! # use cachex_core::{BoxCacheService, Encoded};
//! # fn stack(byte_store: BoxCacheService<Encoded>) {
//! let layer = SerializeLayer::new(Bincode).schema_version(3);
//! let unreadable = layer.unreadable();
//! let users = layer.layer(byte_store);
//! assert_eq!(unreadable.total(), 0);
//! # drop(users);
//! # }
//! # }
//! ```
//!
//! # Which shape a type had
//!
//! The envelope holds a fingerprint of the type's structure ([`structural_fingerprint`]), mixed with the version number the
//! application may give ([`SerializeLayer::schema_version`]). A deployment that changes a field's type reads the values of the
//! old one as misses. What the fingerprint cannot see is listed at [`structural_fingerprint`]; for such changes raise the
//! version number. A custom [`Codec`](cachex_core::Codec) may bring a fingerprint of its own, or none.

pub mod codec;
mod future;
mod layer;
mod schema;
mod service;

#[cfg(feature = "bincode")]
pub use codec::Bincode;
#[cfg(feature = "json")]
pub use codec::Json;
#[cfg(feature = "message-pack")]
pub use codec::MessagePack;
#[cfg(feature = "postcard")]
pub use codec::Postcard;
pub use future::ResponseFuture;
pub use layer::SerializeLayer;
pub use schema::structural_fingerprint;
pub use service::Serialize;
