//! The standard library, in which an explorer decides who goes first at every lock and every atomic operation.
//!
//! Sources of cachex are compiled against this crate under the name `std`, unchanged. Whatever they use that is not
//! replaced here is the real thing and is one step to the explorer.
#![forbid(unsafe_code)]

pub use std::*;

/// As [`std::sync`].
pub mod sync {
    mod mutex;
    mod once_lock;

    pub use std::sync::*;

    pub use shuttle::sync::{Condvar, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic};

    pub use self::mutex::{Mutex, MutexGuard};
    pub use self::once_lock::OnceLock;
}

/// As [`std::thread`].
pub mod thread {
    pub use std::thread::*;

    pub use shuttle::thread::{JoinHandle, current, park, sleep, spawn, yield_now};
}
