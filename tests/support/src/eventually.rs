//! Waiting for a condition.

use std::future::Future;
use std::panic::Location;
use std::time::{Duration, Instant};

/// Pause between two looks at a condition: short beside anything a test waits for, long beside a look.
pub(crate) const POLL: Duration = Duration::from_millis(5);

/// Polls `look` until it finds something, blocking; after `deadline` gives up with its last complaint.
pub(crate) fn poll<T>(deadline: Duration, mut look: impl FnMut() -> Result<T, String>) -> Result<T, String> {
    let start = Instant::now();
    loop {
        match look() {
            Err(complaint) if start.elapsed() > deadline => return Err(complaint),
            Err(_) => std::thread::sleep(POLL),
            found => return found,
        }
    }
}

/// Polls `condition` every 5 ms until it holds.
///
/// The deadline is measured on the machine's clock; a condition that never answers is not interrupted.
///
/// ```
/// # use std::{sync::atomic::{AtomicU32, Ordering}, time::Duration};
/// # use cachex_test_support::eventually;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let looks = AtomicU32::new(0);
/// eventually(Duration::from_secs(5), async || looks.fetch_add(1, Ordering::Relaxed) == 3).await;
/// # }
/// ```
///
/// # Panics
///
/// When the condition does not hold within `deadline`. The message names the caller's line.
#[track_caller]
pub fn eventually(deadline: Duration, mut condition: impl AsyncFnMut() -> bool) -> impl Future<Output = ()> {
    let caller = Location::caller();
    async move {
        let start = Instant::now();
        let mut looks = 0_u64;
        while !condition().await {
            looks += 1;
            assert!(
                start.elapsed() < deadline,
                "the condition at {caller} did not hold within {deadline:?} ({looks} looks)"
            );
            tokio::time::sleep(POLL).await;
        }
    }
}
