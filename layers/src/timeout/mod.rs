//! A time limit per attempt.
//!
//! A call that is not answered within its limit fails with [`ErrorKind::Timeout`](cachex_core::ErrorKind::Timeout), and
//! what it was waiting for is dropped. Reads, writes and control operations can have limits of their own, since a read
//! that comes late is worth less than the database query it should save, while a write is often worth the wait.
//!
//! A timeout says nothing about what the store did: its [`effect`](cachex_core::CacheError::effect) is
//! [`Unknown`](cachex_core::Effect::Unknown). The write may have happened, or may still happen.
//!
//! # Where it belongs
//!
//! Beneath retry and the circuit breaker, above the store. Each attempt then has the whole limit, and the breaker sees
//! every attempt that ran out of time.
//!
//! ```text
//! retry -> circuit breaker -> timeout -> store     right: 3 attempts of 250 ms
//! timeout -> retry -> circuit breaker -> store     3 attempts share 250 ms, and a stalled first one uses it all up;
//!                                                  the breaker never learns of the stall
//! ```
//!
//! A second `TimeoutLayer` above retry is a fine way to bound the whole call as well.
//!
//! # Cost
//!
//! A call that is answered when it is first polled costs next to nothing: no clock reading, no allocation, no atomic
//! operation. One that has to wait makes a timer, which is one allocation.
//!
//! The limit counts from the poll that first finds the call waiting, by the clock reading that poll shares: a future that nobody polls
//! does not age, and what the first poll does without waiting may not count.
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//!
//! use cachex_core::{CacheError, CacheRequest, CacheResponse, ErrorKind, Key};
//! use cachex_layers::TimeoutLayer;
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), CacheError> {
//! let stalled = service_fn(|_: CacheRequest<String>| std::future::pending::<Result<CacheResponse<String>, CacheError>>());
//! let mut cache = ServiceBuilder::new()
//!     .layer(TimeoutLayer::new(Duration::from_millis(250)).write(Duration::from_secs(1)))
//!     .service(stalled);
//!
//! let read = cache.ready().await?.call(CacheRequest::get(Key::new("user:42")?)).await;
//! assert_eq!(read.unwrap_err().kind(), ErrorKind::Timeout);
//! # Ok(())
//! # }
//! ```

pub mod future;
mod layer;
mod service;

pub use layer::TimeoutLayer;
pub use service::Timeout;
