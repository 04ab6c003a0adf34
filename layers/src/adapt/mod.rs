//! Stock tower layers in a cache stack.
//!
//! Every service of a stack fails with [`CacheError`](cachex_core::CacheError). Tower's own layers fail with a boxed error
//! instead, or pass on the error of what is beneath. [`AdaptLayer`] wraps any such layer, so that a `CacheError` comes out
//! again:
//!
//! | what the layer fails with | what comes out |
//! |---|---|
//! | a `CacheError` from beneath | itself |
//! | `tower::timeout::error::Elapsed` | [`Timeout`](cachex_core::ErrorKind::Timeout), with unknown effect |
//! | `tower::load_shed::error::Overloaded` | [`BulkheadFull`](cachex_core::ErrorKind::BulkheadFull), without effect |
//! | what was caused by a `CacheError`, as when a buffer's service fails | that one's kind and advice; the whole is its source |
//! | anything else | [`Foreign`](cachex_core::ErrorKind::Foreign), with unknown effect; the error is its source |
//!
//! Errors of `poll_ready` are translated in the same way.
//!
//! # Where it belongs
//!
//! Around each foreign layer, wherever that stands in the stack. Two foreign layers with nothing of the cache's own in
//! between may share one.
//!
//! ```text
//! AdaptLayer(ConcurrencyLimitLayer) -> retry -> AdaptLayer(tower TimeoutLayer) -> store     right
//! retry -> tower TimeoutLayer -> store     does not compile: retry wants to be told a CacheError
//! ```
//!
//! # What to mind with stock layers
//!
//! - A stack has to be `Clone` to be a [`CacheService`](cachex_core::CacheService). `tower::limit::RateLimit` is not;
//!   put a `tower::buffer::BufferLayer` around it.
//! - A buffer calls in a task of its own, and its caller polls: over a store that works when it is polled, as the memory store
//!   does, a request whose caller goes away in between has not happened.
//! - `tower::limit::ConcurrencyLimit` takes its permit in `poll_ready` and keeps it while a readied service idles.
//! - `tower::load_shed::LoadShed` sheds what is not ready. Layers that are always ready shed nothing that way.
//!
//! Where this crate has a layer of the same purpose (timeout, bulkhead, rate limit), that one knows the operations, and has
//! none of these traps.
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//!
//! use cachex_core::{CacheError, CacheRequest, CacheResponse, CacheService, ErrorKind, Key};
//! use cachex_layers::AdaptLayer;
//! use tower::limit::ConcurrencyLimitLayer;
//! use tower::timeout::TimeoutLayer;
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! fn is_cache_service<S: CacheService<String>>(stack: S) -> S {
//!     stack
//! }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), CacheError> {
//! let stalled = service_fn(|_: CacheRequest<String>| std::future::pending::<Result<CacheResponse<String>, CacheError>>());
//! let mut cache = is_cache_service(
//!     ServiceBuilder::new()
//!         .layer(AdaptLayer::new(ConcurrencyLimitLayer::new(64)))
//!         .layer(AdaptLayer::new(TimeoutLayer::new(Duration::from_millis(250))))
//!         .service(stalled),
//! );
//!
//! let read = cache.ready().await?.call(CacheRequest::get(Key::new("user:42")?)).await;
//! assert_eq!(read.unwrap_err().kind(), ErrorKind::Timeout);
//! # Ok(())
//! # }
//! ```

mod error;
pub mod future;
mod layer;
mod service;

pub use layer::AdaptLayer;
pub use service::Adapt;
