#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod cache;
pub mod keys;
pub mod patterns;
#[cfg(feature = "recommended")]
pub mod preset;
pub mod store;

pub use cache::Cache;
pub use cachex_core as core;
pub use cachex_core::{
    BoxCacheService, CacheError, CacheRequest, CacheResponse, CacheService, Codec, Condition, Effect,
    Encoded, Entry, EntryMeta, ErrorKind, FencingToken, FillToken, Intent, IntoKey, IntoTags, Invalidation,
    Key, KeyHashBuilder, KeyTtl, Keys, LocalStore, Op, OpClass, Origin, Publisher, Retry, Sealed, SealedOnly,
    StaleReason, Subscription, Tag, Tags, Ttl,
};
pub use cachex_layers as layers;
pub use keys::KeyBuilder;
pub use patterns::LockGuard;
