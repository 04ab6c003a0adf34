//! A span and an event per operation, for [`tracing`](https://docs.rs/tracing).
//!
//! Spans are named `cache` and events come at the end of an operation; the target of both is `cachex`.
//!
//! | field | in the span | in the event | |
//! |---|---|---|---|
//! | `component` | yes | yes | `cachex` |
//! | `operation` | yes | yes | [`Op::as_str`](cachex_core::Op::as_str): `get`, `mget`, `set` … |
//! | `key` | yes | yes | the key, of operations that have exactly one |
//! | `key_count` | yes | yes | how many keys there are |
//! | `ttl_ms` | yes | yes | the lifetime asked for, where one was, in milliseconds |
//! | `bytes` | at the end | yes | size of the encoded values, read and written, beneath a stack that serializes |
//! | `attempt` | at the end | yes | how many attempts were made: 1 without a retry |
//! | `duration_ms` | at the end | yes | from the call to the answer, in milliseconds with fractions |
//! | `status` | at the end | yes | `hit`, `miss`, `ok`, `error`, or `cancelled` if the caller dropped the call or it panicked |
//! | `error`, `error.type` | at the end | yes | what went wrong, and its [kind](cachex_core::ErrorKind::as_str) |
//! | `otel.name` | yes | | `cache get` …: the name of the span in OpenTelemetry |
//! | `otel.status_code` | at the end | | `ERROR` when it failed |
//!
//! Values are never shown. A read of several keys is a `hit` when it found every one of them.
//!
//! Spans and the events of what went well are at the layer's [`level`](TraceLayer::level), `DEBUG` by default; the event of
//! a failure is at `WARN`. So a subscriber at `INFO` hears of failures only, with all the fields of the event.
//!
//! The span is entered whenever what is beneath runs, so spans and events from there are inside it.
//!
//! # Redaction
//!
//! Keys are shown as they are unless [`redact_keys`](TraceLayer::redact_keys) is on. Then `key` is a hash, the same for the
//! same key as long as the process lives, and a length; and of errors only the cache's own message is shown, which
//! never contains a key or a value, without the errors that caused it, which may.
//!
//! # Where it belongs
//!
//! Outermost: the span then holds all that happens to an operation, and the duration is what the caller waits.
//!
//! ```text
//! trace -> metrics -> … -> retry -> … -> store     right: one span per operation, which knows its attempts
//! retry -> trace -> store                          a span per attempt, and none of them knows of the others
//! ```
//!
//! # Cost
//!
//! Without a subscriber, one relaxed load. With one that wants neither the span nor failures, a few more. Only when somebody
//! listens is a clock read or a key cloned.
//!
//! # Example
//!
//! ```
//! use cachex_core::{CacheError, CacheRequest, CacheResponse, Key};
//! use cachex_layers::TraceLayer;
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), CacheError> {
//! tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).init();
//!
//! let store = service_fn(async |_: CacheRequest<String>| Ok::<_, CacheError>(CacheResponse::Count(1)));
//! let mut cache = ServiceBuilder::new().layer(TraceLayer::new().redact_keys(true)).service(store);
//! cache.ready().await?.call(CacheRequest::delete(Key::new("session:4711")?)).await?;
//! // DEBUG cache{… operation="del" key=Key(#7a1c…, 12 bytes) …}: cachex: done … status="ok" duration_ms=0.021
//! # Ok(())
//! # }
//! ```

pub mod future;
mod layer;
mod service;
mod watch;

pub use layer::TraceLayer;
pub use service::Trace;

#[cfg(test)]
mod tests;
