//! Real servers for the tests of cachex: started on free ports, stopped whatever happens.
//!
//! These live here:
//!
//! - [`RedisServer`]: a `redis-server` process of its own, with a temporary directory, that a test can kill,
//!   freeze, restart on the same port and question behind the back of the code under test;
//! - [`Cluster`]: three masters and three replicas, with failovers and slots on the move at will;
//! - [`Sentinel`]: a primary and a replica that three sentinels watch over;
//! - [`FaultProxy`]: a TCP proxy that refuses, delays, slices, swallows, cuts and resets on demand;
//! - [`eventually`]: waiting for a condition with a deadline, the only place where a test may sleep.
//!
//! ```no_run
//! # async fn example() {
//! use cachex_test_support::{Fault, FaultProxy, RedisServer, Reply};
//!
//! let server = RedisServer::builder().password("s3cret").start().await;
//! let proxy = FaultProxy::start(server.addr()).await;
//! let url = server.url_through(proxy.addr());
//! // … connect the code under test to `url` …
//!
//! proxy.set(Fault::DropReplies);
//! server.kill().await;
//! server.restart().await;
//! assert_eq!(server.command(["DBSIZE"]).await, Reply::Int(0));
//! # }
//! ```
//!
//! The helpers panic instead of returning errors, with a message that says what to do: a test that cannot have
//! its server has nothing to decide. Where a failure can be the point of the test there is a `try_` form.
//!
//! Servers are waited for with the clock of the machine, never with tokio's, so a paused runtime does not make
//! them time out early. The crate needs a Unix system with a POSIX `sh`.

#![cfg(unix)]

mod cluster;
mod error;
mod eventually;
mod port;
mod proxy;
mod redis;
mod resp;
mod sentinel;

pub use crate::cluster::{Cluster, ClusterBuilder};
pub use crate::error::StartError;
pub use crate::eventually::eventually;
pub use crate::proxy::{Fault, FaultProxy};
pub use crate::redis::{RedisServer, RedisServerBuilder, TlsFiles};
pub use crate::resp::Reply;
pub use crate::sentinel::{Sentinel, SentinelBuilder};
