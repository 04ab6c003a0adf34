//! The serialize layer: what it stores, what it reads, and what it refuses to read.

#[cfg(all(feature = "bincode", feature = "json", feature = "message-pack", feature = "postcard"))]
pub(crate) mod codecs;
#[cfg(all(feature = "bincode", feature = "json", feature = "message-pack", feature = "postcard"))]
mod schema;
#[cfg(all(feature = "bincode", feature = "json", feature = "message-pack", feature = "postcard"))]
mod service;
