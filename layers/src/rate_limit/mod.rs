//! Lets only so many requests through per time, over [`governor`](https://docs.rs/governor).
//!
//! The algorithm is GCRA (generic cell rate algorithm, ITU-T I.371): a token bucket kept in one atomic number. Tokens come
//! evenly, one every `period / count`, and up to [`burst`](RateLimitLayer::burst) of them can be taken at once.
//!
//! A request that finds no token is refused at once with [`RateLimited`](cachex_core::ErrorKind::RateLimited) and told when
//! to come back; or, with [`wait`](RateLimitLayer::wait), it waits as long as the next token comes before its deadline, and
//! is refused at once where it does not.
//!
//! # What is counted
//!
//! A request is one token, whatever it carries: a read of a hundred keys is one request. Reads and writes are limited;
//! control requests (locks and their release, invalidation messages, ping, close) are not, unless a
//! [limit of their own](RateLimitLayer::class) is set: refusing to release a lock relieves nobody.
//!
//! A class with a limit of its own takes a token there first, and one from the stack's limit after. When the second is
//! refused the first is spent: it errs to the strict side, within the class.
//!
//! # Where it belongs
//!
//! ```text
//! trace -> metrics -> rate limit -> bulkhead -> …    right: refused before anything is spent, and the refusal is seen
//! bulkhead -> rate limit (waiting) -> …              those who wait for a token hold places that others could use
//! retry -> rate limit -> …                           refusals are retried against the limit that refused them
//! ```
//!
//! ```
//! use cachex_core::testing::Leaf;
//! use cachex_core::{CacheRequest, ErrorKind, Key};
//! use cachex_layers::RateLimitLayer;
//! use tower::{Layer, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), cachex_core::CacheError> {
//! let stack = RateLimitLayer::per_second(100).burst(1).layer(Leaf::<String>::new());
//! stack.clone().oneshot(CacheRequest::get(Key::new("a")?)).await?;
//!
//! let error = stack.oneshot(CacheRequest::get(Key::new("b")?)).await.unwrap_err();
//! assert_eq!(error.kind(), ErrorKind::RateLimited);
//! assert!(error.retry_after().is_some());
//! # Ok(())
//! # }
//! ```

mod future;
mod layer;
mod limits;
mod service;

pub use future::ResponseFuture;
pub use layer::{RateLimitHandle, RateLimitLayer};
pub use service::RateLimit;
