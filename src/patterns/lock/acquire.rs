//! Taking a lock, once or until it is free.

use std::sync::Arc;
use std::time::Duration;

use cachex_core::{CacheError, Effect, ErrorKind, Op, Retry, clock};
use tokio::runtime::Handle;
use tokio::time::{sleep_until, timeout, timeout_at};

use super::guard::Held;
use super::holder::{Contender, Holder, checked, validity};

/// Bounds of the pause between two attempts of one who waits. Each is a random time between half of the bound and all of it,
/// so that those who wait do not ask in step (M. Brooker, "Exponential Backoff And Jitter", AWS, 2015, "equal jitter").
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const MAX_PAUSE: Duration = Duration::from_millis(50);

/// Longer than anyone waits, and short enough to be added to a clock.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Someone's claim to a lock. Dropping it gives up in the background what it may have got.
struct Claim<C: Contender> {
    contender: Arc<C>,
    ttl: Duration,
    runtime: Handle,
    /// Whether the store may hold the lock for this contender.
    in_doubt: bool,
}

/// Takes the lock if it is free.
pub(super) async fn once<C: Contender>(
    contender: C,
    ttl: Duration,
) -> Result<Option<(Held, C::Token)>, CacheError> {
    Claim::new(contender, ttl)?.attempt().await
}

/// Takes the lock, asking again and again for as long as `wait`.
pub(super) async fn waiting<C: Contender>(
    contender: C,
    ttl: Duration,
    wait: Duration,
) -> Result<(Held, C::Token), CacheError> {
    let mut claim = Claim::new(contender, ttl)?;
    let deadline = clock::fresh() + wait.min(FOR_EVER);
    let mut bound = FIRST_PAUSE;
    loop {
        let (failure, at_least) = match claim.attempt().await {
            Ok(Some(held)) => return Ok(held),
            Ok(None) => (held_by_another(), Duration::ZERO),
            Err(error) if is_worth_waiting(&error) => match error.retry() {
                Retry::After(delay) => (error, delay),
                _ => (error, Duration::ZERO),
            },
            Err(error) => return Err(error),
        };
        let now = clock::fresh();
        if now >= deadline {
            return Err(failure);
        }
        let pause = bound.mul_f64(0.5 + fastrand::f64() / 2.0).max(at_least);
        sleep_until((now + pause).min(deadline)).await;
        bound = (bound * 2).min(MAX_PAUSE);
    }
}

impl<C: Contender> Claim<C> {
    fn new(contender: C, ttl: Duration) -> Result<Self, CacheError> {
        let ttl = checked(ttl)?;
        let runtime = Handle::try_current().map_err(|error| {
            let message = "locks need a tokio runtime to be extended in";
            CacheError::with_source(ErrorKind::Unsupported, message, error).with_op(Op::Lock)
        })?;
        Ok(Self { contender: Arc::new(contender), ttl, runtime, in_doubt: false })
    }

    async fn attempt(&mut self) -> Result<Option<(Held, C::Token)>, CacheError> {
        // Not fresh: a store in this process may count from the reading that everyone in this poll shares.
        let asked = clock::now();
        let until = asked + validity(self.ttl);
        let doubted_before = std::mem::replace(&mut self.in_doubt, true);
        let answer = timeout_at(until, self.contender.acquire(self.ttl)).await;
        let answer = answer.unwrap_or_else(|_| Err(too_late()));
        if let Ok(Some(token)) = answer {
            if clock::fresh() >= until {
                return Err(too_late());
            }
            self.in_doubt = false;
            let holder = Arc::clone(&self.contender) as Arc<dyn Holder>;
            return Ok(Some((Held::new(holder, &self.runtime, self.ttl, asked, until), token)));
        }
        if let Some(fresh) = self.contender.afresh() {
            self.clear();
            self.contender = Arc::new(fresh);
        } else {
            let in_doubt = matches!(&answer, Err(error) if error.effect() == Effect::Unknown);
            self.in_doubt = doubted_before || in_doubt;
        }
        answer.map(|_| None)
    }

    /// Gives up in the background what the store may hold for this contender.
    fn clear(&mut self) {
        if std::mem::take(&mut self.in_doubt) {
            let (holder, ttl) = (Arc::clone(&self.contender), self.ttl);
            // After its lifetime it is over by itself; so it is if this fails, or the runtime is shutting down.
            self.runtime.spawn(async move { timeout(ttl, holder.release()).await });
        }
    }
}

impl<C: Contender> Drop for Claim<C> {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Whether the next attempt may fare better.
fn is_worth_waiting(error: &CacheError) -> bool {
    let kind = error.kind();
    error.retry() != Retry::Never || kind.is_store_failure() || kind.is_rejection()
}

fn held_by_another() -> CacheError {
    CacheError::new(ErrorKind::LockHeld, "someone else held the lock for as long as the caller would wait")
        .with_op(Op::Lock)
}

fn too_late() -> CacheError {
    CacheError::new(ErrorKind::Timeout, "the store did not grant the lock within the lock's own lifetime")
        .with_op(Op::Lock)
}
