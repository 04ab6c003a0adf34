//! The vocabulary of cachex.
//!
//! Every cache operation is a [`CacheRequest`] that flows through a chain of tower services and ends in a store. This
//! crate names the nouns of that sentence and nothing else: layers, stores and applications depend on it, and it
//! depends on none of them. A third-party layer needs this crate alone.
//!
//! | what | here |
//! |---|---|
//! | what is asked | [`CacheRequest`], [`Op`], [`OpClass`], [`Key`], [`Tag`], [`Ttl`], [`Intent`] |
//! | what is answered | [`CacheResponse`], [`Entry`], [`EntryMeta`], [`Subscription`] |
//! | what went wrong | [`CacheError`], [`ErrorKind`], [`Retry`], [`Effect`] |
//! | who answers | [`CacheService`], [`BoxCacheService`], [`LocalStore`] |
//! | what travels as bytes | [`Encoded`], [`Sealed`], [`Codec`] |
//! | what time it is | [`clock`] |
//! | what will be read, and whether work went to a process on this machine | [`foresight`], [`handover`] |
//!
//! Values are shared, never copied: a request, a response and an entry hold an `Arc<V>`, so `V` needs no `Clone` and
//! cloning a request is a few reference counts.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod clock;
mod codec;
mod entry;
mod error;
pub mod foresight;
pub mod handover;
mod key;
mod local;
mod payload;
mod request;
mod response;
mod service;
mod shared;
mod subscription;
mod tag;
#[cfg(feature = "testing")]
pub mod testing;
mod ttl;

pub use codec::{Codec, CodecError, CodecId};
pub use entry::{Entry, EntryMeta, Origin, StaleReason};
pub use error::{CacheError, Effect, ErrorKind, Retry};
pub use key::{IntoKey, Key, KeyHashBuilder, Keys};
pub use local::{FillToken, LocalStore};
pub use payload::{Encoded, Sealed, SealedOnly, StoredBytes};
pub use request::{
    AddTags, CacheRequest, Condition, Delete, Exists, Expire, ExtendLock, Get, GetMany, Increment, Intent,
    InvalidateTags, Lock, LockOwner, Op, OpClass, Publish, ReadTtl, Set, SetMany, Unlock,
};
pub use response::{CacheResponse, FencingToken, KeyTtl};
pub use service::{BoxCacheService, BoxFuture, CacheService};
pub use shared::{SharedCall, SharedStack};
pub use subscription::{Invalidation, Publisher, Subscription};
pub use tag::{IntoTags, Tag, Tags};
pub use ttl::Ttl;
