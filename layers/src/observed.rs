//! What inner layers tell the observing layers above them: sizes and attempts, which those cannot see by themselves.
//!
//! Running totals per thread, which only grow. A layer beneath adds to them; the trace and metrics layers read them
//! before and after each poll of what is beneath them and keep the difference. So nobody has to know who listens, layers
//! nest, nothing is left behind by a panic, and it costs a few plain loads and stores.
#![allow(dead_code, reason = "who tells and who listens depends on the features")]

use std::cell::Cell;

#[cfg(any(feature = "metrics", feature = "trace"))]
use cachex_core::{CacheError, CacheResponse};

struct Here {
    stored_bytes: Cell<u64>,
    loaded_bytes: Cell<u64>,
    retries: Cell<u64>,
}

thread_local! {
    static HERE: Here =
        const { Here { stored_bytes: Cell::new(0), loaded_bytes: Cell::new(0), retries: Cell::new(0) } };
}

/// A value of this many bytes is on its way into the store. Additive: call it once per value or once with the sum.
#[cfg(feature = "serialize")]
#[inline]
pub(crate) fn stored_bytes(bytes: usize) {
    HERE.with(|here| here.stored_bytes.set(here.stored_bytes.get().wrapping_add(bytes as u64)));
}

/// A value of this many bytes came out of the store. Additive: call it once per value or once with the sum.
#[cfg(feature = "serialize")]
#[inline]
pub(crate) fn loaded_bytes(bytes: usize) {
    HERE.with(|here| here.loaded_bytes.set(here.loaded_bytes.get().wrapping_add(bytes as u64)));
}

/// The `number`th attempt of a request begins; the first is 1 and need not be told.
#[cfg(feature = "retry")]
#[inline]
pub(crate) fn attempt(number: u32) {
    if number > 1 {
        HERE.with(|here| here.retries.set(here.retries.get().wrapping_add(1)));
    }
}

/// What was told on this thread, in total or between two readings.
#[cfg(any(feature = "metrics", feature = "trace"))]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Told {
    pub(crate) stored_bytes: u64,
    pub(crate) loaded_bytes: u64,
    pub(crate) retries: u64,
}

#[cfg(any(feature = "metrics", feature = "trace"))]
impl Told {
    /// Runs `poll` and adds what was told meanwhile.
    #[inline]
    pub(crate) fn during<R>(&mut self, poll: impl FnOnce() -> R) -> R {
        let before = Self::so_far();
        let result = poll();
        let told = before.until_now();
        self.stored_bytes += told.stored_bytes;
        self.loaded_bytes += told.loaded_bytes;
        self.retries += told.retries;
        result
    }

    /// What was told since `self` was [`so_far`](Self::so_far).
    #[inline]
    pub(crate) fn until_now(self) -> Self {
        let now = Self::so_far();
        Self {
            stored_bytes: now.stored_bytes.wrapping_sub(self.stored_bytes),
            loaded_bytes: now.loaded_bytes.wrapping_sub(self.loaded_bytes),
            retries: now.retries.wrapping_sub(self.retries),
        }
    }

    /// All that was ever told on this thread.
    #[inline]
    pub(crate) fn so_far() -> Self {
        HERE.with(|here| Self {
            stored_bytes: here.stored_bytes.get(),
            loaded_bytes: here.loaded_bytes.get(),
            retries: here.retries.get(),
        })
    }
}

/// How a call ended, as a label.
#[cfg(any(feature = "metrics", feature = "trace"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Status {
    Hit,
    Miss,
    Ok,
    Error,
    Cancelled,
}

#[cfg(any(feature = "metrics", feature = "trace"))]
impl Status {
    /// How many there are.
    pub(crate) const COUNT: usize = 5;

    /// A read of several values is a hit when it found them all: when nobody has to go and load one.
    #[inline]
    pub(crate) fn of<V>(answer: &Result<CacheResponse<V>, CacheError>) -> Self {
        let hit = match answer {
            Ok(CacheResponse::Many(entries)) => entries.iter().all(Option::is_some),
            Ok(answer) => match answer.is_hit() {
                Some(hit) => hit,
                None => return Self::Ok,
            },
            Err(_) => return Self::Error,
        };
        if hit { Self::Hit } else { Self::Miss }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Cancelled => "cancelled",
        }
    }
}

#[cfg(all(test, feature = "serialize", feature = "retry", any(feature = "metrics", feature = "trace")))]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_told_meanwhile_counts_and_layers_nest() {
        stored_bytes(1000);
        let (mut outer, mut inner) = (Told::default(), Told::default());
        outer.during(|| {
            stored_bytes(1);
            inner.during(|| {
                loaded_bytes(20);
                attempt(1);
                attempt(2);
            });
        });
        loaded_bytes(4000);
        outer.during(|| attempt(3));
        assert_eq!((outer.stored_bytes, outer.loaded_bytes, outer.retries), (1, 20, 2));
        assert_eq!((inner.stored_bytes, inner.loaded_bytes, inner.retries), (0, 20, 1));
    }
}
