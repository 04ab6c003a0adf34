//! The tower layers of cachex.
//!
//! Each layer is a plain [`tower_layer::Layer`] over any [`CacheService`](cachex_core::CacheService), behind a feature of its
//! own name, and documents where in a stack it belongs. Outermost first, the recommended order is: trace, metrics, rate
//! limit, bulkhead, serialize, encrypt, retry, circuit breaker, timeout, batch, store.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[macro_use]
mod macros;

#[cfg(feature = "adapt")]
pub mod adapt;
#[cfg(feature = "batch")]
pub mod batch;
#[cfg(feature = "bulkhead")]
pub mod bulkhead;
#[cfg(feature = "circuit-breaker")]
pub mod circuit_breaker;
#[cfg(feature = "encrypt")]
pub mod encrypt;
#[cfg(any(feature = "serialize", feature = "encrypt"))]
pub mod envelope;
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(any(feature = "metrics", feature = "retry", feature = "serialize", feature = "trace"))]
mod observed;
#[cfg(feature = "rate-limit")]
pub mod rate_limit;
#[cfg(feature = "retry")]
pub mod retry;
#[cfg(feature = "serialize")]
pub mod serialize;
#[cfg(feature = "timeout")]
pub mod timeout;
#[cfg(feature = "trace")]
pub mod trace;

#[cfg(feature = "adapt")]
pub use adapt::{Adapt, AdaptLayer};
#[cfg(feature = "batch")]
pub use batch::{Batch, BatchHandle, BatchLayer, BatchLayerBuilder, BatchState};
#[cfg(feature = "bulkhead")]
pub use bulkhead::{Bulkhead, BulkheadHandle, BulkheadLayer, CompartmentState};
#[cfg(feature = "circuit-breaker")]
pub use circuit_breaker::{CircuitBreaker, CircuitBreakerHandle, CircuitBreakerLayer, CircuitState};
#[cfg(feature = "encrypt")]
pub use encrypt::{Encrypt, EncryptLayer, EncryptionKey, KeyId, KeyRing};
#[cfg(any(feature = "serialize", feature = "encrypt"))]
pub use envelope::{Cipher, Unreadable};
#[cfg(feature = "metrics")]
pub use metrics::{Metrics, MetricsLayer, describe_metrics};
#[cfg(feature = "rate-limit")]
pub use rate_limit::{LimitState, Rate, RateLimit, RateLimitHandle, RateLimitLayer};
#[cfg(feature = "retry")]
pub use retry::{Retry, RetryHandle, RetryLayer};
#[cfg(feature = "bincode")]
pub use serialize::Bincode;
#[cfg(feature = "json")]
pub use serialize::Json;
#[cfg(feature = "message-pack")]
pub use serialize::MessagePack;
#[cfg(feature = "postcard")]
pub use serialize::Postcard;
#[cfg(feature = "serialize")]
pub use serialize::{Serialize, SerializeLayer};
#[cfg(feature = "timeout")]
pub use timeout::{Timeout, TimeoutLayer};
#[cfg(feature = "trace")]
pub use trace::{Trace, TraceLayer};
