//! The table of errors (docs/redis.md), row by row against real servers: what is told, whether to try again, and what the
//! request may have done.
//!
//! Rows that come with more of a story are elsewhere, and held to the table there: LOADING in `recovery`; READONLY, BUSY,
//! NOREPLICAS, resets and late answers in `failures`; refusals of a connection in `connecting`. NOSCRIPT is never told:
//! whoever uses scripts sends them again.

mod cluster;
mod requests;
mod server;
