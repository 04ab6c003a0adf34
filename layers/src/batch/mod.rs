//! Reads that meet go out together.
//!
//! A command for one key and a command for a hundred cost a server, a socket and two processes nearly the same. [`Batch`]
//! gathers the [`Get`](cachex_core::CacheRequest::Get)s of many callers into one
//! [`GetMany`](cachex_core::CacheRequest::GetMany), and hands each caller the answer to its own.
//!
//! It is natural batching (M. Thompson, "Smart Batching", 2011): no timer, and nobody waits for others to come. A read that
//! finds its lane idle passes at once, as it is. The next one to come has a task send it, and who comes before that task runs
//! joins it; what comes while a batch is under way waits for it to end and then goes out as one. So batches are as large as
//! the load makes them, and a lone caller pays a few atomic operations.
//!
//! # Lanes
//!
//! A key always takes the same of a few lanes; each lane has one batch under way at a time. When a batch comes back
//! and the next one has gathered half as many callers as it answered, and 16 at least, the next leaves before the answered are
//! woken; else it waits until they have run. Batches are bounded in keys and in bytes of keys, and the number of those who
//! wait for a lane is: whoever comes when it is full is refused with
//! [`ErrorKind::Overloaded`](cachex_core::ErrorKind::Overloaded). A `RedisStore` sends a batch over the connection of its first
//! key and divides keys among connections as this layer divides them among lanes: with a multiple of the store's connections
//! as lanes, a key is read over one connection, in a batch or not.
//!
//! # What a caller can rely on
//!
//! - **It reads what was written.** A read joins a batch only before the batch is handed to the inner service. What was
//!   written and answered before the read began is there for it, whatever connection either takes.
//! - **A batch belongs to no caller.** Dropping one future, or all but one, changes nothing for the rest. A batch that
//!   nobody waits for any more is dropped.
//! - **One bad key fails alone.** When a batch fails as a whole with an error that may be due to one of its keys, or to the
//!   node that serves it (`TooLarge`, `PermissionDenied`, `WrongType`, `Moved`, `ClusterDown`, `Server` …), every caller asks
//!   again for itself. What befalls all alike (a lost connection, a timeout, a refusal, a busy server, a closed store) is told
//!   to all at once, and costs the server nothing more.
//! - **A panic** of the inner service is an `Internal` error to its batch; a runtime that is shut down, a `Closed` error to
//!   those whose batch it was to send. The lane goes on.
//! - **A key that several ask for** is sent once, and they share the value.
//!
//! A `RedisStore` says `WrongType` when a single read meets a key that holds no string, and finds nothing when a read of many
//! does. So whether reading such a key is an error or a miss depends on whether the read met others.
//!
//! In a cluster, a batch over several nodes fails with `Connection` or `Timeout` when one of them is lost, although the other
//! nodes would have served their keys: until the failover is over, more reads fail than would alone.
//!
//! # What passes as it is
//!
//! Everything but `Get`. Merging would have to be invisible, and for no other request it is. `Exists` and `Delete` of many
//! answer one number for all, from which nobody's own can be told. There is no `Ttl` of many. A `SetMany` is all or nothing:
//! one value that the server refuses would fail the others. None of them needs it: what several callers send over a shared
//! connection at a time is written with one system call, which is what a pipeline is.
//!
//! # Where it belongs
//!
//! Directly above a remote store, beneath everything that minds a single call.
//!
//! ```text
//! right   …, serialize, encrypt, retry, circuit breaker, timeout, batch, store
//! wrong   …, batch, timeout, store        one limit for all: who came last waits for two round trips in one limit's time
//! wrong   …, batch, retry, store          a batch is tried again for keys nobody wants any more
//! wrong   …, batch, serialize, …          all values of a batch are decoded in one task, and one that is damaged fails all;
//!                                         bytes and attempts count for no caller's span
//! ```
//!
//! Without a time limit above it, a batch that never ends holds up its lane for good.
//!
//! # Who holds up whom
//!
//! No caller another. A read that passes alone has no claim on its lane: a task may poll it once, put it aside, and await another
//! read of the same lane before it polls the first again, as a `select!` in a loop does. What a task sends is polled by that
//! task, whatever its callers do.
//!
//! Over a store that answers at once, such as `MemoryStore`, nothing ever meets, and the layer is of no use. It is safe there:
//! the misses of such a store hand out fences ([`FillToken`](cachex_core::FillToken)), which answers to many keys cannot
//! carry. The layer does not pass on a miss from a batch until a single read has shown that the store's misses carry none;
//! the callers ask again, alone. Once it has seen a fence, it merges no more.
//!
//! A service merges the reads of one type of value, the one it was asked for first. Reads of another pass as they are.
//!
//! # A server on this machine
//!
//! A store that hands a batch to a process on this machine notes it ([`handover`](cachex_core::handover)). Once those whose batch came back
//! before are woken, the task that sent it gives up its thread's core, if anybody waits for it: the server, with luck. Where it
//! turns out to be a thread that computes, it does so seldom. [`BatchState::gave_way`] counts. `RedisStore` notes what it sends
//! over its read connections, unless it is told not to (`yield_to_local_server`).
//!
//! # Runtimes
//!
//! A task sends the batches of a lane from when it becomes busy until nobody waits. It runs on the runtime of the first caller who
//! waited, and serves callers of other runtimes too. So a runtime that reads through the layer has to be driven as long as
//! others do: one that is shut down is noticed, one that stands still, as a current-thread runtime does between two
//! `block_on`, holds up the lane. Outside of a tokio runtime every read passes alone.
//!
//! # Cost
//!
//! A read that passes alone: one allocation-free lock of its lane, a clone of the inner service, and five reference counts or
//! counters. A read that waits: the lock of its lane twice, a waker, and no allocation of its own. A batch: one allocation for
//! its keys. A task is spawned when a lane becomes busy, and serves it until nobody waits.
//!
//! # Example
//!
//! ```
//! use cachex_core::testing::{Gate, Leaf, Outcome};
//! use cachex_core::{CacheRequest, Key, Op};
//! use cachex_layers::BatchLayer;
//! use tower::{ServiceBuilder, ServiceExt};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let store = Leaf::<String>::new();
//! let (gate, batch) = (Gate::new(), BatchLayer::builder().lanes(1).build()?);
//! let handle = batch.handle();
//! let stack = ServiceBuilder::new().layer(batch).service(store.clone());
//! store.push(Outcome::hit("Paris".to_owned()).after_gate(&gate));
//!
//! let ask = |key| Ok::<_, cachex_core::CacheError>(tokio::spawn(stack.clone().oneshot(CacheRequest::get(Key::new(key)?))));
//! let calls = [ask("capital:FR")?, ask("capital:IT")?, ask("capital:ES")?];
//! store.wait_for_calls(1).await; // The first passes; the others wait.
//! gate.open();
//! for call in calls {
//!     call.await.expect("no panic")?;
//! }
//! assert_eq!(store.requests()[1].op(), Op::GetMany);
//! assert_eq!((handle.state().requests, handle.state().batches, handle.state().batched_keys), (3, 1, 2));
//! # Ok::<(), cachex_core::CacheError>(()) }).unwrap();
//! ```

mod counters;
mod future;
mod group;
mod handle;
mod lane;
mod lanes;
mod layer;
mod sender;
mod service;

pub use future::ResponseFuture;
pub use handle::{BatchHandle, BatchState};
pub use layer::{BatchLayer, BatchLayerBuilder};
pub use service::Batch;
