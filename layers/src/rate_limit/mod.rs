//! At most so many operations in a time.
//!
//! A rate limit keeps a burst of work, or a loop that has gone wild, from taking all of a store that others share.
//! [`RateLimit`] lets operations through at a [`Rate`], and refuses what is beyond with
//! [`ErrorKind::RateLimited`](cachex_core::ErrorKind::RateLimited), which says after what time to try again
//! ([`CacheError::retry_after`](cachex_core::CacheError::retry_after)); or has it wait for its turn, up to a limit.
//!
//! # What happens to a call
//!
//! 1. If its class has a limit of its own, that is asked first, then the limit of the whole stack. Each operation takes one
//!    cell of each, however many keys it names.
//! 2. If there is a cell, it runs.
//! 3. Else it is refused at once, or, with [`wait`](RateLimitLayer::wait), when its turn would come too late. When not,
//!    it waits for its turn.
//!
//! Those who wait take their turns in the order in which they came, as exactly as timers go. A call that waits holds
//! nothing: dropped, it takes nothing from the limit, and one that is never polled holds nobody up. When two limits
//! apply and the second refuses, the cell of the first is lost: the class's, never the stack's. This happens only to
//! calls that meet a second limit which filled up since they were let past the first; a stack's limit that is already
//! exhausted costs a class nothing.
//!
//! [`Unlock`](cachex_core::Op::Unlock), [`ExtendLock`](cachex_core::Op::ExtendLock), [`Ping`](cachex_core::Op::Ping) and
//! [`Close`](cachex_core::Op::Close) pass without being counted: refusing them does more harm than letting them through,
//! see [`Op::is_sheddable`](cachex_core::Op::is_sheddable).
//!
//! The algorithm is GCRA, the generic cell rate algorithm, by the `governor` crate. Time is tokio's.
//!
//! # Where it belongs
//!
//! Beneath the near cache and the coalescer, whose hits cost the store nothing, and above everything that works for the
//! store: what is refused took no permit of the bulkhead, and was neither encoded nor tried.
//!
//! ```text
//! right   near, rate limit, bulkhead, serialize, retry, breaker, timeout, store
//! wrong   rate limit, near, …           hits in memory are counted as if the server had served them
//! wrong   bulkhead, rate limit, …       calls hold permits while they wait for their turn
//! wrong   retry, rate limit, …          refusals are tried again; to limit attempts, say so with a second layer
//! ```
//!
//! # Example
//!
//! ```
//! use cachex_core::testing::Leaf;
//! use cachex_core::{CacheRequest, ErrorKind, Key, OpClass};
//! use cachex_layers::RateLimitLayer;
//! use cachex_layers::rate_limit::Rate;
//! use tower::{ServiceBuilder, ServiceExt};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
//! let limit = RateLimitLayer::per_second(20_000).class(OpClass::Write, Rate::per_second(100).burst(2));
//! let handle = limit.handle();
//! let stack = ServiceBuilder::new().layer(limit).service(Leaf::<String>::new());
//!
//! let write = || stack.clone().oneshot(CacheRequest::delete(Key::new("country:FR").expect("valid")));
//! write().await?;
//! write().await?;
//! let refused = write().await.expect_err("two writes at once");
//! assert_eq!(refused.kind(), ErrorKind::RateLimited);
//! assert!(refused.retry_after() >= Some(std::time::Duration::from_millis(10)));
//!
//! assert_eq!(handle.class(OpClass::Write).map(|writes| writes.rejected), Some(1));
//! # Ok::<(), cachex_core::CacheError>(()) }).unwrap();
//! ```
//!
//! # Cost
//!
//! One atomic read-modify-write per limit, on a call that passes, and the shared clock reading: for every call where the
//! burst is below 4,096, else for one in 16, since cells are then taken from governor by the handful. What is taken ahead of
//! need is part of the burst: no more pass than the rate says, and after a pause up to 15 fewer at once. No lock and no
//! allocation; a timer only for a call that waits.

mod future;
mod handle;
mod layer;
mod limit;
mod limits;
mod rate;
mod service;

pub use future::ResponseFuture;
pub use handle::{LimitState, RateLimitHandle};
pub use layer::RateLimitLayer;
pub use rate::Rate;
pub use service::RateLimit;
