//! The encrypt layer: what it seals, what it opens, and what it does not open.

#[cfg(all(feature = "bincode", feature = "json", feature = "message-pack", feature = "postcard"))]
mod keys;
#[cfg(all(feature = "bincode", feature = "json", feature = "message-pack", feature = "postcard"))]
mod order;
#[cfg(all(feature = "bincode", feature = "json", feature = "message-pack", feature = "postcard"))]
mod sealing;
