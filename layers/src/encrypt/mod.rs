//! Values are encrypted before they leave the process, and authenticated when they come back.
//!
//! [`EncryptLayer`] turns a service of [`Sealed`](cachex_core::Sealed) payloads into one of
//! [`Encoded`](cachex_core::Encoded) ones: it seals what is written and opens what is read, with one of two ciphers. Each key
//! [says](EncryptionKey::with_cipher) which, so that rotating to a new key may change it:
//!
//! - XChaCha20-Poly1305 ([draft-irtf-cfrg-xchacha](https://datatracker.ietf.org/doc/html/draft-irtf-cfrg-xchacha),
//!   [RFC 8439](https://www.rfc-editor.org/rfc/rfc8439)), the default.
//! - AES-256-GCM as [XAES-256-GCM](https://c2sp.org/XAES-256-GCM) uses it, where AES is asked for. Random nonces of plain
//!   AES-256-GCM are so short that a key is spent after 2^32 values; this derives a key for each value from a longer nonce.
//!
//! What holds for both:
//!
//!
//! - Each value has a random nonce of 24 bytes. With that many bits no number of values under one key makes a repetition
//!   likely (2^-32 after 2^80 values), so that a key need not be rotated for counting's sake. They come from a generator per
//!   thread, ChaCha20, which the operating system seeds anew every 64 values. Should a fork or a restored snapshot
//!   duplicate it, the checksum of the value, mixed in, still keeps the nonces of different values apart.
//! - The cache key and the whole clear header are authenticated with the payload. A value that was altered, truncated, or
//!   moved to another key does not open.
//! - A value in the clear is never accepted in place of a sealed one.
//! - What stays readable in the store: the cache key, the length, the codec, the times, the schema fingerprint, the tags and the
//!   number of the encryption key.
//! - What it cannot prevent: someone who can write to the store may delete a value, or put back an older one of the same key.
//!
//! Speed: the package `chacha20poly1305` makes the bytes, or with the feature `encrypt-ring` (in `full`) `ring` makes the same ones.
//! The latter needs a C compiler to build and is several times faster for small values: one of 128 bytes takes 0.5 µs instead
//! of 1.9 µs on x86-64. AES takes 0.8 µs with either. Without it, `-C target-cpu=x86-64-v3` (or `-C target-feature=+avx2`) helps where an
//! application's machines allow it: the vector code of Poly1305 is only inlined when the compiler may assume that it can run.
//!
//! Keys are overwritten when dropped. `ring` gets to see keys of single messages alone, derived by HChaCha20, and does not
//! overwrite those; the key they come from cannot be computed from them.
//!
//! What does not open is by default a counted miss: see [`Unreadable`](crate::envelope::Unreadable).
//!
//! # Where it belongs
//!
//! Right below serialize (and compression: sealed bytes do not compress) and above retries and the store, so that nothing is
//! sealed twice. The types refuse other orders:
//!
//! ```text
//! right:  serialize → encrypt → retry → breaker → timeout → store
//! wrong:  encrypt → serialize → store    (does not compile)
//! ```
//!
//! Declare the store [`SealedOnly`](cachex_core::SealedOnly), and a stack that forgets to encrypt does not compile either:
//!
//! ```compile_fail,E0277
//! # use cachex_core::{BoxCacheService, CacheService, Sealed, SealedOnly};
//! # use cachex_layers::{encrypt::{EncryptLayer, KeyRing}, serialize::{Bincode, SerializeLayer}};
//! # use tower_layer::Layer;
//! # fn serves<V>(_: impl CacheService<V>) {}
//! fn stack(store: SealedOnly<BoxCacheService<Sealed>>, keys: KeyRing) {
//!     serves::<String>(SerializeLayer::new(Bincode).layer(store)); // nothing seals
//! }
//! ```
//!
//! ```compile_fail,E0277
//! # use cachex_core::{BoxCacheService, CacheService, Sealed, SealedOnly};
//! # use cachex_layers::{encrypt::{EncryptLayer, KeyRing}, serialize::{Bincode, SerializeLayer}};
//! # use tower_layer::Layer;
//! # fn serves<V>(_: impl CacheService<V>) {}
//! fn stack(store: SealedOnly<BoxCacheService<Sealed>>, keys: KeyRing) {
//!     serves::<String>(EncryptLayer::new(keys).layer(SerializeLayer::new(Bincode).layer(store))); // the wrong way round
//! }
//! ```
//!
//! ```
//! # #[cfg(feature = "bincode")] mod example {
//! # use cachex_core::{BoxCacheService, CacheService, Sealed, SealedOnly};
//! # use cachex_layers::{encrypt::{EncryptLayer, KeyRing}, serialize::{Bincode, SerializeLayer}};
//! # use tower_layer::Layer;
//! # fn serves<V>(_: impl CacheService<V>) {}
//! fn stack(store: SealedOnly<BoxCacheService<Sealed>>, keys: KeyRing) {
//!     serves::<String>(SerializeLayer::new(Bincode).layer(EncryptLayer::new(keys).layer(store)));
//! }
//! # }
//! ```
//!
//! ```
//! use cachex_layers::encrypt::{EncryptLayer, EncryptionKey, KeyId, KeyRing};
//! use cachex_layers::envelope::Cipher;
//! use tower_layer::Layer;
//! # use cachex_core::{BoxCacheService, Sealed};
//! # fn stack(store: BoxCacheService<Sealed>, text: &str) -> Result<(), Box<dyn std::error::Error>> {
//! // 32 bytes in hex or base64, as `openssl rand -base64 32` makes them.
//! let keys = KeyRing::new(KeyId(1), text.parse::<EncryptionKey>()?);
//! let sealing = EncryptLayer::new(keys.clone()).layer(store);
//!
//! // Later, without a restart: new values are sealed with key 2 (here with AES, too), old ones still open.
//! keys.rotate(KeyId(2), EncryptionKey::generate()?.with_cipher(Cipher::Xaes256Gcm))?;
//! // And once the longest lifetime has passed:
//! keys.retire(KeyId(1))?;
//! # Ok(())
//! # }
//! ```
//!
//! On several nodes, first [`add`](KeyRing::add) the new key on all of them, then [`rotate`](KeyRing::rotate): so no node meets a
//! value whose key it does not have yet. Where that is skipped, such a value is a miss.

mod aead;
mod future;
mod key;
mod layer;
mod nonce;
mod ring;
mod seal;
mod service;

pub use future::ResponseFuture;
pub use key::{EncryptionKey, KeyError, KeyId};
pub use layer::EncryptLayer;
pub use ring::{KeyRing, KeyRingBuilder};
pub use service::Encrypt;
