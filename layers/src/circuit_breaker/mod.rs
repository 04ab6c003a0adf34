//! Stops asking a store that is failing, and finds out when it has recovered.
//!
//! While calls go well the circuit is **closed**: it watches, and costs one atomic load to pass. When too many of the
//! recent calls fail, or are slow, it **opens**: requests are refused at once with
//! [`CircuitOpen`](cachex_core::ErrorKind::CircuitOpen), so callers fall back instead of queueing behind timeouts, and
//! the store is left alone. After a wait the circuit is **half-open**: a few probes are let through, and what becomes
//! of them decides. The pattern is Michael Nygard's (*Release It!*, 2007, "Circuit Breaker").
//!
//! ```text
//!            too many failures or slow calls, or too many in a row
//!   Closed ----------------------------------------------------------> Open
//!     ^                                                                | ^
//!     | every probe succeeded                      the wait is over,   | | a probe failed
//!     |                                            a call came         v |
//!     +------------------------------------------------------------ HalfOpen
//! ```
//!
//! Nothing runs in the background: an open circuit turns half-open when the first call after the wait arrives.
//!
//! # Three circuits
//!
//! A server that is out of memory refuses writes and serves reads, so one state for all would make a bad moment
//! worse. Each kind of work has a circuit of its own, unless [`CircuitBreakerLayer::one_circuit`] is set:
//!
//! | circuit | operations |
//! |---|---|
//! | [`Read`](cachex_core::OpClass::Read) | those of that class |
//! | [`Write`](cachex_core::OpClass::Write) | those of that class that take memory on the server, and taking a lock |
//! | [`Control`](cachex_core::OpClass::Control) | those that release or announce: delete, expire, extending and releasing locks, publish, subscribe |
//! | none | ping, which is there to ask the store itself, and close: never refused, never counted |
//!
//! # What counts
//!
//! Errors whose kind [`is_store_failure`](cachex_core::ErrorKind::is_store_failure) are failures, and so is a panic
//! beneath; [`CircuitBreakerLayer::failure_when`] decides otherwise. Refusals by layers beneath and errors in the
//! request itself say nothing about the store and count neither way; so do calls that are cancelled. Every other error
//! is an answer of a store that is alive.
//!
//! A result counts for the state its call was admitted in: one that comes in after the circuit has changed is ignored.
//! A call that is ready at once, without suspending, is never slow.
//!
//! # Where it belongs
//!
//! Inside the retry, so that every attempt counts and an open circuit ends the attempts; outside the timeout, so that a
//! hanging store is seen as a failing one.
//!
//! ```text
//! right: retry -> circuit breaker -> timeout -> store
//! wrong: circuit breaker -> retry -> …      three failures look like one, and retries hammer a dead store
//! wrong: timeout -> circuit breaker -> …    a call that hangs is cancelled from outside, and counts neither way
//! ```
//!
//! ```
//! use std::time::Duration;
//!
//! use cachex_core::{CacheError, CacheRequest, CacheResponse, ErrorKind, Key, OpClass};
//! use cachex_layers::circuit_breaker::{CircuitBreakerLayer, CircuitState};
//! use tower::{Service, ServiceBuilder, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), CacheError> {
//! let breaker = CircuitBreakerLayer::default().consecutive_failures(2).open_duration(Duration::from_secs(5));
//! let handle = breaker.handle();
//! let mut cache = ServiceBuilder::new().layer(breaker).service_fn(async |_: CacheRequest<String>| {
//!     Err::<CacheResponse<String>, _>(CacheError::new(ErrorKind::Connection, "connection refused"))
//! });
//!
//! let get = || Ok::<_, CacheError>(CacheRequest::get(Key::new("user:42")?));
//! for _ in 0..2 {
//!     let error = cache.ready().await?.call(get()?).await.unwrap_err();
//!     assert_eq!(error.kind(), ErrorKind::Connection);
//! }
//! let error = cache.ready().await?.call(get()?).await.unwrap_err();
//! assert_eq!(error.kind(), ErrorKind::CircuitOpen);
//! assert_eq!(handle.circuit(OpClass::Read).state(), CircuitState::Open);
//! assert_eq!(handle.circuit(OpClass::Write).state(), CircuitState::Closed);
//! # Ok(())
//! # }
//! ```

mod circuit;
mod event;
pub mod future;
mod guard;
mod handle;
mod layer;
mod service;
mod settings;
mod shared;
mod window;

pub use circuit::CircuitState;
pub use event::{ChangeCause, StateChange};
pub use handle::{CircuitBreakerHandle, CircuitHandle, CircuitSnapshot};
pub use layer::CircuitBreakerLayer;
pub use service::CircuitBreaker;
