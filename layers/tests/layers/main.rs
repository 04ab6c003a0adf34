//! The tests of the layers, one module each, under tokio's paused clock.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

#[cfg(feature = "adapt")]
mod adapt;
#[cfg(feature = "batch")]
mod batch;
#[cfg(feature = "bulkhead")]
mod bulkhead;
#[cfg(feature = "circuit-breaker")]
mod circuit_breaker;
#[cfg(feature = "full")]
mod contract;
#[cfg(feature = "encrypt")]
mod encrypt;
#[cfg(any(feature = "serialize", feature = "encrypt"))]
mod envelope;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(feature = "rate-limit")]
mod rate_limit;
#[cfg(feature = "retry")]
mod retry;
#[cfg(feature = "serialize")]
mod serialize;
#[cfg(feature = "timeout")]
mod timeout;
#[cfg(feature = "trace")]
mod trace;
