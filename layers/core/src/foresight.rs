//! What a call will read, told while its stack is being readied.
//!
//! Who readies a stack and calls it in one go ([`SharedCall`](crate::SharedCall)) knows at the time of `poll_ready` what it will ask, and
//! says so ([`announce`]). A store in memory hears of it ([`next_read`]) hundreds of instructions before the request comes
//! down to it, and can have the processor fetch the entry meanwhile: its caches miss the entry while they miss what the
//! handle touches, and not afterwards.
//!
//! A hint, and nothing else: what was announced need not be asked, and what is asked need not have been announced. Both ends
//! need the same version of this crate, and the same thread. A layer that is ready without asking what is beneath it hides
//! the hint; one that renames keys makes it vain.
//!
//! ```
//! use cachex_core::{CacheRequest, Key, foresight};
//!
//! let key = Key::new("user:42")?;
//! let request = CacheRequest::<String>::get(key.clone());
//! let heard = foresight::announce(&request, || foresight::next_read()); // A store, in `poll_ready`.
//! assert_eq!(heard, Some(key.hash_code()));
//! assert_eq!(foresight::next_read(), None);
//! # Ok::<(), cachex_core::CacheError>(())
//! ```

use std::cell::Cell;

use crate::request::CacheRequest;

thread_local! {
    static NEXT: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Runs `ready`, which readies a stack for `request`. Costs next to nothing, whether anybody listens or not.
#[inline]
pub fn announce<V, R>(request: &CacheRequest<V>, ready: impl FnOnce() -> R) -> R {
    struct Restore(Option<u64>);
    impl Drop for Restore {
        fn drop(&mut self) {
            NEXT.set(self.0);
        }
    }
    let next = match request {
        CacheRequest::Get(get) => Some(get.key.hash_code()),
        _ => None,
    };
    let _before = Restore(NEXT.replace(next));
    ready()
}

/// The hash code of the key that will be read, if the stack is being readied for the read of one key. A stack that another one
/// readies, as a part of its own, and that announces nothing itself hears of the other one's.
#[inline]
#[must_use]
pub fn next_read() -> Option<u64> {
    NEXT.get()
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;
    use std::thread;

    use super::*;
    use crate::key::Key;

    fn get(name: &str) -> (CacheRequest<u32>, Option<u64>) {
        let key = Key::new(name).unwrap();
        let hash = key.hash_code();
        (CacheRequest::get(key), Some(hash))
    }

    #[test]
    fn what_is_announced_is_heard_meanwhile_on_this_thread() {
        let ((outer, outer_hash), (inner, inner_hash)) = (get("outer"), get("inner"));
        announce(&outer, || {
            assert_eq!(next_read(), outer_hash);
            announce(&inner, || assert_eq!(next_read(), inner_hash));
            announce(&CacheRequest::<u32>::Ping, || assert_eq!(next_read(), None));
            assert_eq!(next_read(), outer_hash);
            assert_eq!(thread::spawn(next_read).join().unwrap(), None);
        });
        assert_eq!(next_read(), None);
    }

    #[test]
    fn a_panic_ends_it() {
        let (request, _) = get("k");
        assert!(catch_unwind(|| announce(&request, || panic!("planted"))).is_err());
        assert_eq!(next_read(), None);
    }
}
