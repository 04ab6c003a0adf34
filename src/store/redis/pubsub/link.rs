//! The task that keeps the subscription's connection.

use std::sync::{Arc, Weak};
use std::time::Duration;

use cachex_core::{CacheError, Effect};
use redis::aio::MultiplexedConnection;
use redis::{PushInfo, PushKind, Value};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::hub::{Guard, Shared};
use super::server::Place;
use crate::store::redis::connection::{FIRST_BACKOFF, MAX_BACKOFF};
use crate::store::redis::error;

/// How often the server is asked whether it is still there. A connection that lost its other side is noticed after this
/// and the response timeout at the latest.
pub(super) const PING_EVERY: Duration = Duration::from_secs(3);

/// How often one attempt is sent on to another node. In a cluster that agrees with itself, once.
const MAX_REDIRECTS: u32 = 5;
/// From the second time on there is a pause before: nodes that send it to and fro are about to agree.
const REDIRECT_PAUSE: Duration = Duration::from_millis(10);

/// Subscribes, and again whenever the subscription is lost, until the task is aborted.
pub(super) async fn run(guard: Guard) {
    let shared = guard.shared();
    let mut backoff = FIRST_BACKOFF;
    let mut redirects = 0;
    while let Some(connection) = guard.attempt() {
        let gone = Arc::new(Notify::new());
        let mut pause = true;
        match connect(shared, connection, &gone).await {
            Ok((driver, place)) => {
                let since = Instant::now();
                stay(driver, &gone, || shared.server.is_at(&place)).await;
                shared.lose(connection);
                // What held for a while may be had again at once. What did not is asked for less and less often.
                if since.elapsed() >= MAX_BACKOFF {
                    backoff = FIRST_BACKOFF;
                    pause = false;
                }
            }
            // Nothing is lost and nothing has failed yet: the same attempt goes on elsewhere.
            Err(Refused::Elsewhere(_)) if redirects < MAX_REDIRECTS => {
                redirects += 1;
                if redirects > 1 {
                    tokio::time::sleep(REDIRECT_PAUSE).await;
                }
                continue;
            }
            // Nothing is left of an attempt that failed.
            Err(Refused::Elsewhere(error) | Refused::Failed(error)) => {
                shared.fail(connection, error.with_effect(Effect::None));
            }
        }
        redirects = 0;
        if pause {
            tokio::time::sleep(backoff.mul_f64(fastrand::f64())).await;
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
        // It ends by itself sooner. This is so that nothing keeps the link from trying.
        let _ = tokio::time::timeout(shared.connect_timeout, shared.server.look_again()).await;
    }
}

/// Why an attempt came to nothing.
enum Refused {
    /// Another server is the right one, which is known now.
    Elsewhere(CacheError),
    Failed(CacheError),
}

/// A connection on which the server has confirmed the subscription, and where it leads.
async fn connect(
    shared: &Arc<Shared>,
    connection: u64,
    gone: &Arc<Notify>,
) -> Result<(MultiplexedConnection, Place), Refused> {
    let pushes = pushes(Arc::downgrade(shared), connection, Arc::clone(gone));
    let opening = tokio::time::timeout(shared.connect_timeout, shared.server.open(pushes)).await;
    let opened = opening.unwrap_or_else(|_| Err(error::connect_timeout()));
    let (mut driver, place) = opened.map_err(Refused::Failed)?;
    let reply = driver.send_packed_command(&shared.publishing.subscribe()).await;
    let reply = reply.map_err(error::from_driver);
    let elsewhere = shared.server.redirects(&place, &reply);
    match reply.map_err(Refused::Failed)? {
        Value::Push { kind: PushKind::Subscribe | PushKind::SSubscribe, .. } => Ok((driver, place)),
        Value::ServerError(refusal) if elsewhere => Err(Refused::Elsewhere(error::from_server(&refusal))),
        Value::ServerError(refusal) => Err(Refused::Failed(error::from_server(&refusal))),
        _ => Err(Refused::Failed(error::unexpected_reply())),
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
            PushKind::Subscribe | PushKind::SSubscribe => shared.confirm(connection),
            PushKind::Message | PushKind::SMessage => {
                if let Some(Value::BulkString(message)) = push.data.last() {
                    shared.receive(connection, message);
                }
            }
            // Of a shard channel, a server says so when its slot is served elsewhere from now on.
            PushKind::Disconnection | PushKind::Unsubscribe | PushKind::SUnsubscribe => {
                shared.lose(connection);
                gone.notify_one();
            }
            _ => {}
        }
        Ok(())
    }
}
