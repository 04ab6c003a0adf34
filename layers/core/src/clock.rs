//! One clock for a whole stack, read once per poll.
//!
//! Time is tokio's, so a test under `tokio::time::pause` moves every layer and store at once.
//!
//! Reading a clock costs about as much as a hash lookup, and a deep stack asks for the time in half of its layers. So
//! the outermost future of a call (the handle's) opens a [`scope`] around each of its polls, and everything beneath
//! shares one reading: event loops do the same with the time of an iteration. A poll is a short synchronous burst;
//! whoever waits is polled again later, in a new scope, with a new reading.
//!
//! Without a scope, as when a bare stack is driven by hand, [`now`] simply reads the clock.

use std::cell::Cell;

use tokio::time::Instant;

#[derive(Clone, Copy)]
enum Tick {
    /// No scope is open on this thread.
    Unscoped,
    /// A scope is open and nobody asked for the time yet.
    Unread,
    /// The reading everyone in this scope shares.
    Read(Instant),
}

thread_local! {
    static TICK: Cell<Tick> = const { Cell::new(Tick::Unscoped) };
}

/// The current time, shared by everyone within one [`scope`].
///
/// Inside a scope it may lag the true time by as long as the current poll has been running. To measure a duration
/// within a poll, end with [`fresh`].
#[must_use]
#[inline]
pub fn now() -> Instant {
    match TICK.get() {
        Tick::Read(at) => at,
        Tick::Unscoped => Instant::now(),
        Tick::Unread => {
            let at = Instant::now();
            TICK.set(Tick::Read(at));
            at
        }
    }
}

/// The current time, read from the clock now, whatever scope is open.
#[must_use]
#[inline]
pub fn fresh() -> Instant {
    Instant::now()
}

/// Runs `poll` with one shared clock reading, taken when it is first asked for.
///
/// Meant for the body of a `Future::poll`. A nested scope shares the outer one's reading. The scope closes when `poll`
/// returns or unwinds.
#[inline(always)]
pub fn scope<R>(poll: impl FnOnce() -> R) -> R {
    struct Close;
    impl Drop for Close {
        fn drop(&mut self) {
            TICK.set(Tick::Unscoped);
        }
    }
    let _close = matches!(TICK.get(), Tick::Unscoped).then(|| {
        TICK.set(Tick::Unread);
        Close
    });
    // Called in one place, so that the compiler puts it there instead of behind a call.
    poll()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn follows_tokio_time() {
        let start = now();
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(now() - start, Duration::from_secs(5));
    }

    #[test]
    fn a_scope_reads_once_and_closes() {
        let (first, second) = scope(|| {
            let first = now();
            while fresh() == first {}
            (first, scope(now))
        });
        assert_eq!(first, second);
        assert!(now() > first);
    }

    #[test]
    fn a_panic_closes_the_scope() {
        let panicked = std::panic::catch_unwind(|| {
            scope(|| {
                let _ = now();
                panic!("planted")
            })
        });
        assert!(panicked.is_err());
        assert!(matches!(TICK.get(), Tick::Unscoped));
    }
}
