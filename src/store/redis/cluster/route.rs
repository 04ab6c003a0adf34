//! A request's way to the nodes that serve its keys.

use std::sync::Arc;
use std::time::Duration;

use cachex_core::{CacheError, CacheRequest, CacheResponse, Effect, ErrorKind, StoredBytes};
use futures_util::future::try_join_all;
use redis::Value;
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::layout::Redirect;
use super::map::Node;
use super::{Cluster, Place, split};
use crate::store::redis::command::{Plan, STORE, plan};
use crate::store::redis::connection::Connections;
use crate::store::redis::error;
use crate::store::redis::reply::Expected;
use crate::store::redis::service::{self, Wire};

/// How often one request is sent on. In a cluster that agrees with itself, once.
const MAX_REDIRECTS: u32 = 5;

/// From the second time on there is a pause before: nodes that send a request to and fro are about to agree.
const REDIRECT_PAUSE: Duration = Duration::from_millis(10);

/// Serves a request, but for `Close`.
pub(in crate::store::redis) async fn serve<P: StoredBytes>(
    cluster: &Arc<Cluster>,
    request: CacheRequest<P>,
    default_ttl: Option<Duration>,
) -> Result<CacheResponse<P>, CacheError> {
    if cluster.is_closed() {
        return Err(error::closed());
    }
    let mut keys = request.keys();
    let place = keys.next().map(Place::of);
    let alone = keys.len() == 0;
    drop(keys);
    match place {
        Some(place) if alone || !split::comes_apart(&request) => match planned(request, default_ttl)? {
            Planned::Send(wire, expected) => {
                expected.decode(one(cluster, place.for_wire(&wire), &wire).await?)
            }
            Planned::Answer(answer) => Ok(answer),
        },
        Some(_) => {
            let deadline = Instant::now() + cluster.patience();
            in_time(deadline, split::serve(cluster, request, default_ttl)).await
        }
        None => match planned(request, default_ttl)? {
            Planned::Send(wire, expected) => {
                let deadline = Instant::now() + cluster.patience();
                in_time(deadline, everywhere(cluster, &wire, expected)).await
            }
            Planned::Answer(answer) => Ok(answer),
        },
    }
}

/// What a request with one place asks of its node.
pub(super) enum Planned<P> {
    Send(Wire, Expected),
    Answer(CacheResponse<P>),
}

pub(super) fn planned<P: StoredBytes>(
    request: CacheRequest<P>,
    default_ttl: Option<Duration>,
) -> Result<Planned<P>, CacheError> {
    let op = request.op();
    Ok(match plan(request, default_ttl)? {
        Plan::Command(command, expected) => Planned::Send(Wire::Command(command), expected),
        Plan::Transaction(pipeline, expected) => Planned::Send(Wire::Transaction(pipeline), expected),
        Plan::Script(script, expected) => Planned::Send(Wire::Script(script), expected),
        Plan::Answer(answer) => Planned::Answer(answer),
        Plan::Publish(_) | Plan::Subscribe | Plan::Close => return Err(CacheError::unsupported(op, STORE)),
    })
}

/// Sends a command or a transaction to the node that serves its keys. Sets no timer as long as all is as it should be: the
/// driver's own then suffices.
pub(super) async fn one(cluster: &Arc<Cluster>, place: Place, wire: &Wire) -> Result<Value, CacheError> {
    let start = Instant::now();
    let mut redirect = None;
    if let Some(node) = cluster.owner(place.slot) {
        let slot = node.connections.slot_of(place.hash);
        if let Some(lease) = node.connections.try_lease(slot) {
            let reply =
                watched(cluster, &node, slot, service::ask(&node.connections, slot, lease, wire)).await;
            redirect = cluster.judge(&node, &reply);
            if redirect.is_none() {
                return reply;
            }
        }
    }
    in_time(start + cluster.patience(), follow(cluster, place, wire, redirect)).await
}

/// Sends a request to where it was sent on to, and on from there. Whoever redirects a request has done nothing of it, so any
/// operation may follow; one whose fate is not known goes nowhere else.
pub(super) async fn follow(
    cluster: &Arc<Cluster>,
    place: Place,
    wire: &Wire,
    mut redirect: Option<Redirect>,
) -> Result<Value, CacheError> {
    let mut redirects = 0;
    loop {
        redirects += u32::from(redirect.is_some());
        if redirects > 1 {
            tokio::time::sleep(REDIRECT_PAUSE).await;
        }
        let asking = matches!(redirect, Some(Redirect::Ask(_)));
        let node = match redirect {
            None => cluster.node_of(place.slot).await?,
            Some(Redirect::Moved(endpoint)) => cluster.moved(place.slot, &endpoint)?,
            Some(Redirect::Ask(endpoint)) => cluster.at(&endpoint)?,
        };
        let reply = if asking {
            cluster.send(&node, place.hash, &wire.asking()).await
        } else {
            cluster.send(&node, place.hash, wire).await
        };
        redirect = cluster.judge(&node, &reply);
        if redirect.is_none() || redirects == MAX_REDIRECTS {
            return reply;
        }
    }
}

/// Asks all masters at once, and answers as the first of them if all agree to.
async fn everywhere<P: StoredBytes>(
    cluster: &Arc<Cluster>,
    wire: &Wire,
    expected: Expected,
) -> Result<CacheResponse<P>, CacheError> {
    let masters = cluster.masters().await?;
    let asked = masters.iter().map(async |node| {
        let reply = cluster.send(node, fastrand::u64(..), wire).await;
        cluster.judge(node, &reply);
        expected.decode(reply?)
    });
    let mut answers = try_join_all(asked).await?;
    Ok(answers.swap_remove(0))
}

/// # Errors
///
/// `Timeout` when the future takes longer: the request may have been sent.
async fn in_time<T>(
    deadline: Instant,
    future: impl Future<Output = Result<T, CacheError>>,
) -> Result<T, CacheError> {
    tokio::time::timeout_at(deadline, future).await.unwrap_or_else(|_| {
        let message = "the cluster did not answer within the connect and the response timeout";
        Err(CacheError::new(ErrorKind::Timeout, message).with_effect(Effect::Unknown))
    })
}

impl Node {
    /// Sends something to this node, over the connection for this hash.
    pub(super) async fn ask(&self, hash: u64, wire: &Wire) -> Result<Value, CacheError> {
        let slot = self.connections.slot_of(hash);
        let lease = match self.connections.try_lease(slot) {
            Some(lease) => lease,
            None => self.connections.lease(slot).await?,
        };
        service::ask(&self.connections, slot, lease, wire).await
    }
}

/// Waits for a node's reply, and has the map read again if the caller does not wait any longer and the node has been silent
/// for some time: its slots may be another's by now, and no error will ever tell.
async fn watched<T>(cluster: &Arc<Cluster>, node: &Node, slot: usize, reply: impl Future<Output = T>) -> T {
    let mut watch = Watch { cluster, connections: &node.connections, slot, over: false };
    // Dropped before the watch, it has told the slot by then.
    let reply = reply.await;
    watch.over = true;
    reply
}

struct Watch<'a> {
    cluster: &'a Arc<Cluster>,
    connections: &'a Connections,
    slot: usize,
    over: bool,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        // A future may be dropped anywhere.
        if !self.over && self.connections.is_silent(self.slot) && Handle::try_current().is_ok() {
            self.cluster.refresh();
        }
    }
}

impl Cluster {
    /// Sends something to a node, over the connection for this hash.
    pub(super) async fn send(
        self: &Arc<Self>,
        node: &Node,
        hash: u64,
        wire: &Wire,
    ) -> Result<Value, CacheError> {
        watched(self, node, node.connections.slot_of(hash), node.ask(hash, wire)).await
    }

    /// What a node's reply means for the map, and where it sends the request.
    pub(super) fn judge(
        self: &Arc<Self>,
        node: &Node,
        reply: &Result<Value, CacheError>,
    ) -> Option<Redirect> {
        match reply {
            Ok(Value::ServerError(refusal)) => {
                let redirect = Redirect::parse(refusal, &node.endpoint);
                // The slots of a node that loads its data, or lost its master, may be another's by now.
                if matches!(refusal.code(), "MOVED" | "CLUSTERDOWN" | "MASTERDOWN" | "LOADING" | "READONLY") {
                    self.refresh();
                }
                redirect
            }
            Ok(_) => None,
            Err(error) => {
                if matches!(error.kind(), ErrorKind::Connection | ErrorKind::Timeout) {
                    self.refresh();
                }
                None
            }
        }
    }
}
