//! At most so many calls at once, reads and writes in separate compartments.
//!
//! A ship's bulkheads keep one leak from flooding every hold. When the store slows down, calls pile up; [`Bulkhead`]
//! bounds how many are under way and how many wait, and refuses the rest at once with
//! [`ErrorKind::BulkheadFull`](cachex_core::ErrorKind::BulkheadFull), so that the process keeps its memory and its callers
//! get an answer. Reads, writes and control operations have permits of their own: a flood of slow writes leaves reads
//! alone, and the other way round.
//!
//! # What happens to a call
//!
//! 1. A permit is free and nobody waits: it runs.
//! 2. Else it queues, if there is room. Permits go to those who wait in the order of their calls; whoever comes later
//!    cannot overtake them.
//! 3. It is refused when the queue is full, and when it has waited for longer than the queue's deadline.
//!
//! The permit is given back when the inner call is over, has failed, has panicked, or is dropped. A call that is dropped
//! while it waits leaves the queue; if it had been given a permit without having noticed, the next in line gets that.
//!
//! [`Unlock`](cachex_core::Op::Unlock), [`ExtendLock`](cachex_core::Op::ExtendLock), [`Ping`](cachex_core::Op::Ping) and
//! [`Close`](cachex_core::Op::Close) pass without a permit: refusing them does more harm than letting them through, see
//! [`Op::is_sheddable`](cachex_core::Op::is_sheddable). The control compartment is for the others: taking locks,
//! publishing and subscribing.
//!
//! # Where it belongs
//!
//! Beneath the near cache and the coalescer, whose hits need no protection, and beneath the rate limit, which is cheaper
//! to ask; above serialization, so that what is refused was never encoded, and above retry, so that one permit covers
//! all attempts of a call.
//!
//! ```text
//! right   near, rate limit, bulkhead, serialize, retry, breaker, timeout, store
//! wrong   bulkhead, near, …             hits in memory queue behind misses that wait for the server
//! wrong   retry, bulkhead, …            what was refused is tried again, and a retry waits in the queue anew
//! wrong   timeout, bulkhead, …          time in the queue counts as the store's, and opens breakers
//! ```
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//!
//! use cachex_core::testing::Leaf;
//! use cachex_core::{CacheRequest, Key, OpClass};
//! use cachex_layers::BulkheadLayer;
//! use tower::{ServiceBuilder, ServiceExt};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let bulkhead = BulkheadLayer::new(256).write(64).queue(128).queue_timeout(Duration::from_millis(50));
//! let handle = bulkhead.handle();
//! let stack = ServiceBuilder::new().layer(bulkhead).service(Leaf::<String>::new());
//!
//! stack.oneshot(CacheRequest::get(Key::new("country:FR")?)).await?;
//!
//! let writes = handle.compartment(OpClass::Write);
//! assert_eq!((writes.in_flight, writes.queued, writes.available, writes.rejected), (0, 0, 64, 0));
//! # Ok::<(), cachex_core::CacheError>(()) }).unwrap();
//! ```
//!
//! # Cost
//!
//! Four atomic read-modify-writes on an uncontended call: one to enter, one to leave, and two for the reference count of
//! the compartments, which the call's future shares. No lock, no clock reading and no allocation, unless a call has to
//! wait. The deadline of the queue needs a tokio runtime with its timer enabled.

mod compartment;
mod future;
mod handle;
mod layer;
mod place;
mod queue;
mod service;

pub use future::ResponseFuture;
pub use handle::{BulkheadHandle, CompartmentState};
pub use layer::BulkheadLayer;
pub use service::Bulkhead;
