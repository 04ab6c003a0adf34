//! Counts and times every operation, over the [`metrics`](https://docs.rs/metrics) facade.
//!
//! | series | kind | labels |
//! |---|---|---|
//! | [`cache_operations_total`](names::OPERATIONS) | counter | `operation`, `status` |
//! | [`cache_operation_duration_seconds`](names::DURATION) | histogram, seconds | `operation` |
//! | [`cache_errors_total`](names::ERRORS) | counter | `type` |
//! | [`cache_bytes_in_total`](names::BYTES_IN) | counter, bytes | |
//! | [`cache_bytes_out_total`](names::BYTES_OUT) | counter, bytes | |
//!
//! - `operation` is [`Op::as_str`](cachex_core::Op::as_str): `get`, `mget`, `set` …
//! - `status` is `hit` or `miss` for `get` and `mget`, `error` for what failed, `cancelled` for what its caller dropped
//!   before there was an answer (or what panicked), and `ok` for everything else, a refused conditional write included.
//!   An operation counts once: an `mget` is a `hit` when it found every key and a `miss` when one of them is missing, for
//!   then somebody has to go and load it.
//! - `type` is [`ErrorKind::as_str`](cachex_core::ErrorKind::as_str). An error is counted once, by what came out of the
//!   layers beneath: failures that a retry made good do not show here.
//! - The duration runs from the call to its answer, failed or not, without the wait for readiness. A cancelled call has
//!   none: nobody knows how long it would have taken.
//! - A read that is answered without waiting, as by a store in memory, is over before two readings of the clock are. So after
//!   the first 16 of such reads of an operation one in 16 is timed, and recorded for those before it as well: the histogram's
//!   count lags by 15 at most, and by one more for each call that ends at the same moment on another thread. Writes, and reads that wait, are timed each; the latter from the moment that
//!   [`clock::now`](cachex_core::clock::now) tells in the poll that first finds them waiting.
//! - Bytes are counted by the serialize layer beneath, before compression and encryption: in for values on their way to
//!   the store, out for values read from it. A stack that does not serialize has none.
//! - A layer with a [`name`](MetricsLayer::name) adds the label `cache` to all of these.
//!
//! # Install the recorder first
//!
//! A series is looked up in the recorder when it is first used, and kept. What is measured before a recorder is installed
//! goes nowhere, and **a series that was used before stays there**. So install the exporter, then serve. Call
//! [`describe_metrics`] once after that, for exporters that show units and help texts.
//!
//! # Where it belongs
//!
//! Near the outside, beneath trace. Above a near cache and a limit it sees what callers see: hits in the near cache are
//! hits, refusals are errors.
//!
//! ```text
//! trace -> metrics -> rate limit -> … -> serialize -> … -> store     right
//! rate limit -> serialize -> metrics -> store                        refusals are not counted, nor bytes
//! ```
//!
//! # Cost
//!
//! One clone of an `Arc` and one counter; one shared and one fresh clock reading and one histogram for what is timed. No
//! allocation after the first use of a series.
//!
//! # Example
//!
//! ```
//! use cachex_core::{CacheError, CacheRequest, CacheResponse, Key};
//! use cachex_layers::metrics::{MetricsLayer, describe_metrics};
//! use metrics_util::debugging::DebuggingRecorder;
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), CacheError> {
//! let recorder = DebuggingRecorder::new(); // an exporter, in an application
//! let seen = recorder.snapshotter();
//! recorder.install().expect("the first recorder");
//! describe_metrics();
//!
//! let store = service_fn(async |_: CacheRequest<String>| Ok::<_, CacheError>(CacheResponse::Done));
//! let mut cache = ServiceBuilder::new().layer(MetricsLayer::new().name("users")).service(store);
//! cache.ready().await?.call(CacheRequest::Ping).await?;
//!
//! let names: Vec<_> = seen.snapshot().into_vec().iter().map(|(key, ..)| key.key().name().to_owned()).collect();
//! assert!(names.contains(&"cache_operations_total".to_owned()));
//! # Ok(())
//! # }
//! ```

pub mod future;
mod layer;
pub mod names;
mod service;
mod table;

pub use layer::MetricsLayer;
pub use names::describe_metrics;
pub use service::Metrics;

#[cfg(all(test, feature = "serialize"))]
mod tests;
