//! Tries again what failed and may succeed, with backoff, under a budget.
//!
//! A request is tried again when all of these hold:
//!
//! 1. its error says so: [`CacheError::retry`](cachex_core::CacheError::retry) is not `Never`;
//! 2. it cannot be done twice by that: it [is idempotent](cachex_core::CacheRequest::is_idempotent), or the error
//!    [tells](cachex_core::CacheError::effect) that nothing reached the store;
//! 3. attempts are left ([`attempts`](RetryLayer::attempts)), and time ([`max_elapsed`](RetryLayer::max_elapsed));
//! 4. the budget has a retry left.
//!
//! When the third or fourth fails, the error is marked as [exhausted](cachex_core::CacheError::exhausted), so that a retry
//! further out does not multiply the attempts; so is every error that ends more than one attempt. Its
//! [effect](cachex_core::CacheError::effect) is that of all attempts together: a breaker that refuses the second one does not
//! undo what the first may have done.
//!
//! # Backoff
//!
//! Exponential with *full jitter*: before the n-th retry a random time between zero and `base * 2^(n-1)`, at most
//! `max_backoff`. See Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015. Where the error names a
//! delay, it is the least that is waited; if it is above `max_backoff`, waiting is left to the caller.
//!
//! # The budget
//!
//! A retry that helps against a lost packet multiplies an outage. So retries are paid for: every request earns a fifth of a
//! retry, up to a hundred saved, and ten retries a second are free, so that a quiet service can retry at all. It is the
//! retry budget of Finagle, as is that of `tower`. One budget serves all services that one layer value makes, and all their
//! clones.
//!
//! # Where it belongs
//!
//! ```text
//! serialize -> encrypt -> retry -> circuit breaker -> timeout -> store      right
//! retry -> serialize -> encrypt -> …       every attempt encodes and seals anew
//! circuit breaker -> retry -> …            the breaker sees one failure where the store saw three
//! timeout -> retry -> …                    one time limit for all attempts together
//! ```
//!
//! ```
//! use std::time::Duration;
//! use cachex_core::testing::{Leaf, Outcome};
//! use cachex_core::{CacheError, CacheRequest, ErrorKind, Key};
//! use cachex_layers::RetryLayer;
//! use tower::{Layer, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), CacheError> {
//! let store = Leaf::<String>::new();
//! store.push(Outcome::err(CacheError::new(ErrorKind::Connection, "reset")));
//!
//! let layer = RetryLayer::default().attempts(3).base(Duration::from_millis(5));
//! let answer = layer.layer(store.clone()).oneshot(CacheRequest::get(Key::new("user:1")?)).await?;
//! assert_eq!(answer.is_hit(), Some(false));
//! assert_eq!((store.calls(), layer.handle().retries()), (2, 1));
//! # Ok(())
//! # }
//! ```

mod budget;
mod future;
mod layer;
mod service;

pub use future::ResponseFuture;
pub use layer::{RetryHandle, RetryLayer};
pub use service::Retry;
