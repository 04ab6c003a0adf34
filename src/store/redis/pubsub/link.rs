//! The task that keeps the subscription's connection.

use std::sync::{Arc, Weak};
use std::time::Duration;

use cachex_core::{CacheError, Effect};
use redis::aio::MultiplexedConnection;
use redis::{PushInfo, PushKind, Value};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::hub::{Guard, Shared};
use crate::store::redis::connection::{FIRST_BACKOFF, MAX_BACKOFF};
use crate::store::redis::error;

/// How often the server is asked whether it is still there. A connection that lost its other side is noticed after this
/// and the response timeout at the latest.
pub(super) const PING_EVERY: Duration = Duration::from_secs(3);

/// Subscribes, and again whenever the subscription is lost, until the task is aborted.
pub(super) async fn run(guard: Guard) {
    let shared = guard.shared();
    let mut backoff = FIRST_BACKOFF;
    while let Some(connection) = guard.attempt() {
        let gone = Arc::new(Notify::new());
        match connect(shared, connection, &gone).await {
            Ok((driver, moves)) => {
                let since = Instant::now();
                // What is published at the primary is not heard at the one it replaced.
                stay(driver, &gone, || shared.source.moves() == moves).await;
                shared.lose(connection);
                // What held for a while may be had again at once. What did not is asked for less and less often.
                if since.elapsed() >= MAX_BACKOFF {
                    backoff = FIRST_BACKOFF;
                    continue;
                }
            }
            // Nothing is left of an attempt that failed.
            Err(error) => shared.fail(connection, error.with_effect(Effect::None)),
        }
        tokio::time::sleep(backoff.mul_f64(fastrand::f64())).await;
        backoff = (backoff * 2).min(MAX_BACKOFF);
    }
}

/// A connection on which the server has confirmed the subscription, and how often the primary had moved by then.
async fn connect(
    shared: &Arc<Shared>,
    connection: u64,
    gone: &Arc<Notify>,
) -> Result<(MultiplexedConnection, u64), CacheError> {
    let pushes = pushes(Arc::downgrade(shared), connection, Arc::clone(gone));
    let opening = tokio::time::timeout(shared.connect_timeout, shared.source.dedicated(pushes));
    let (mut driver, moves) = match opening.await {
        Ok(opened) => opened?,
        Err(_) => return Err(error::connect_timeout()),
    };
    match driver.send_packed_command(&shared.publishing.subscribe()).await {
        Ok(Value::Push { kind: PushKind::Subscribe, .. }) => Ok((driver, moves)),
        Ok(Value::ServerError(refusal)) => Err(error::from_server(&refusal)),
        Ok(_) => Err(error::unexpected_reply()),
        Err(failure) => Err(error::from_driver(failure)),
    }
}

/// Returns when the connection is lost, or does not answer, or leads to a server that is no longer the right one.
async fn stay(mut driver: MultiplexedConnection, gone: &Notify, leads_right: impl Fn() -> bool) {
    let ping = redis::cmd("PING");
    loop {
        if tokio::time::timeout(PING_EVERY, gone.notified()).await.is_ok() {
            return;
        }
        if !leads_right() {
            return;
        }
        // Any answer will do, an error as well: the server is there. The driver keeps the response timeout.
        if driver.send_packed_command(&ping).await.is_err() {
            return;
        }
    }
}

/// What the driver calls with whatever the server says unasked, in the order in which it came: so that those who hear again
/// are told of the gap before they are told what came after it.
fn pushes(
    shared: Weak<Shared>,
    connection: u64,
    gone: Arc<Notify>,
) -> impl Fn(PushInfo) -> Result<(), ()> + Send + Sync + 'static {
    move |push| {
        let shared = shared.upgrade().ok_or(())?;
        match push.kind {
            PushKind::Subscribe => shared.confirm(connection),
            PushKind::Message => {
                if let Some(Value::BulkString(message)) = push.data.last() {
                    shared.receive(connection, message);
                }
            }
            PushKind::Disconnection | PushKind::Unsubscribe => {
                shared.lose(connection);
                gone.notify_one();
            }
            _ => {}
        }
        Ok(())
    }
}
