//! The helpers the other tests rely on, tested themselves.

mod cluster;
mod eventually;
mod proxy;
mod sentinel;
mod server;
mod survival;
mod tls;

use std::time::Duration;

/// For everything that ought to happen at once.
const SOON: Duration = Duration::from_secs(20);
