//! The codecs. Each is a unit struct behind a feature of its own name, for every `T: Serialize + DeserializeOwned`.
//!
//! | codec | id | reads fields by | best for |
//! |---|---|---|---|
//! | [`Bincode`], the default | 1 | position | speed and size, Rust on both ends |
//! | [`MessagePack`] | 2 | name | other languages reading the cache |
//! | [`Json`] | 3 | name | people reading the cache |
//! | [`Postcard`] | 4 | position | the smallest values |
//!
//! All of them read bytes from outside: they refuse trailing bytes and values nested more than 128 levels deep, and no
//! length that is claimed in the bytes makes them allocate more than about a thousand elements ahead of what they have read.
//! Of elements that take no bytes ([`Bincode`] and [`Postcard`] write none for `()`), a collection may have about a thousand;
//! above that no more than there are bytes.

#[cfg(feature = "bincode")]
mod bincode;
#[cfg(any(feature = "bincode", feature = "message-pack", feature = "postcard"))]
mod bounded;
#[cfg(feature = "json")]
mod json;
#[cfg(feature = "message-pack")]
mod message_pack;
#[cfg(feature = "postcard")]
mod postcard;

#[cfg(feature = "bincode")]
pub use self::bincode::Bincode;
#[cfg(feature = "json")]
pub use self::json::Json;
#[cfg(feature = "message-pack")]
pub use self::message_pack::MessagePack;
#[cfg(feature = "postcard")]
pub use self::postcard::Postcard;

#[cfg(any(feature = "bincode", feature = "message-pack", feature = "postcard"))]
fn nothing_left(left: usize) -> Result<(), cachex_core::CodecError> {
    if left == 0 { Ok(()) } else { Err(format!("{left} bytes are left over").into()) }
}
