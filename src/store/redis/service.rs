//! The store as a service.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use cachex_core::{CacheError, CacheRequest, CacheResponse, ErrorKind, Key, Keys, Op, StoredBytes};
use redis::{Cmd, Pipeline, RedisResult, Value};
use tower_service::Service;

use super::cluster::{self, Cluster};
use super::command::{self, Plan, plan};
use super::connection::{Connections, Lease, Outcome, Way};
use super::reply::{self, Expected};
use super::script::Invocation;
use super::{RedisStore, Topology, error};

/// The future of a [`RedisStore`]'s call.
///
/// Dropping it cancels nothing that was sent: the command may still take effect, its answer is discarded, and the shared
/// connection goes on for everyone else.
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<P>(Kind<P>);

type Answer<P> = Result<CacheResponse<P>, CacheError>;

enum Kind<P> {
    /// Known without asking the server; taken when polled.
    Answered(Option<Answer<P>>),
    /// The one box of a call: the driver's futures have no names.
    Asked(Pin<Box<dyn Future<Output = Answer<P>> + Send>>),
}

impl<P> ResponseFuture<P> {
    fn answered(answer: Answer<P>) -> Self {
        Self(Kind::Answered(Some(answer)))
    }

    fn asked(answer: impl Future<Output = Answer<P>> + Send + 'static) -> Self {
        Self(Kind::Asked(Box::pin(answer)))
    }
}

impl<P> Future for ResponseFuture<P> {
    type Output = Answer<P>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.get_mut().0 {
            Kind::Answered(answer) => Poll::Ready(answer.take().unwrap_or_else(|| {
                Err(CacheError::new(ErrorKind::Internal, "a future was polled after it was ready"))
            })),
            Kind::Asked(future) => future.as_mut().poll(cx),
        }
    }
}

/// Nothing in it is pinned in place.
impl<P> Unpin for ResponseFuture<P> {}

impl<P> fmt::Debug for ResponseFuture<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResponseFuture")
    }
}

/// Always ready: what limits the store is the server, and waiting for that belongs to the call.
impl<P: StoredBytes> Service<CacheRequest<P>> for RedisStore {
    type Response = CacheResponse<P>;
    type Error = CacheError;
    type Future = ResponseFuture<P>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), CacheError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: CacheRequest<P>) -> ResponseFuture<P> {
        match self.topology() {
            Topology::Standalone(connections) => self.ask_server(connections, request),
            Topology::Cluster(cluster) => self.ask_cluster(cluster, request),
        }
    }
}

impl RedisStore {
    fn ask_server<P: StoredBytes>(
        &self,
        connections: &Arc<Connections>,
        request: CacheRequest<P>,
    ) -> ResponseFuture<P> {
        let op = request.op();
        // The connection is chosen by the first key alone. Several keys in one command are served by one server, and what
        // one caller awaits before it asks again is applied, whatever connection either takes.
        let slot = request.keys().next().map_or(0, |key| connections.slot_of(key.hash_code()));
        match request {
            CacheRequest::Get(get) => return self.read(connections, slot, Keys::One(get.key), false),
            CacheRequest::GetMany(get) if !get.keys.is_empty() => {
                return self.read(connections, slot, get.keys, true);
            }
            _ => {}
        }
        let answered = ResponseFuture::answered;
        let (wire, expected) = match plan(request, self.default_ttl()) {
            Ok(Plan::Command(command, expected)) => (Wire::Command(command), expected),
            Ok(Plan::Transaction(pipeline, expected)) => (Wire::Transaction(pipeline), expected),
            Ok(Plan::Publish(keys)) => (Wire::Messages(self.0.publishing.commands(&keys)), Expected::Reached),
            Ok(Plan::Subscribe) => return self.subscribe(),
            Ok(Plan::Script(script, expected)) => (Wire::Script(script), expected),
            Ok(Plan::Close) => {
                self.0.hub.close();
                connections.close();
                return answered(Ok(CacheResponse::Done));
            }
            Ok(Plan::Answer(_)) if connections.is_closed() => {
                return answered(Err(error::closed().with_op(op)));
            }
            Ok(Plan::Answer(answer)) => return answered(Ok(answer)),
            Err(error) => return answered(Err(error.with_op(op))),
        };
        let connections = Arc::clone(connections);
        ResponseFuture::asked(async move {
            let lease = match connections.try_lease(slot) {
                Some(lease) => lease,
                None => connections.lease(slot).await.map_err(|error| error.with_op(op))?,
            };
            let reply = ask(&connections, slot, lease, &wire).await;
            let answer = reply.and_then(|reply| expected.decode(reply));
            answer.map_err(|error| error::from_lone_server(error).with_op(op))
        })
    }

    /// Reads over a connection that nobody else has, else over the shared one.
    fn read<P: StoredBytes>(
        &self,
        connections: &Arc<Connections>,
        slot: usize,
        keys: Keys,
        many: bool,
    ) -> ResponseFuture<P> {
        let (op, connections) = (if many { Op::GetMany } else { Op::Get }, Arc::clone(connections));
        ResponseFuture::asked(async move {
            let hash = keys.as_slice().first().map_or(0, Key::hash_code);
            let mut until = None;
            let answer = match (connections.way(slot, hash, many), keys.as_slice()) {
                (Way::Own(reading), keys) => reading.read(keys, many).await,
                (Way::Pipe(piping), [key]) => match piping.read(key).await {
                    Outcome::Answer(answer) => Some(answer),
                    Outcome::Elsewhere(limit) => {
                        until = Some(limit);
                        None
                    }
                },
                _ => None,
            };
            let answer = match (answer, until) {
                (Some(answer), _) => answer,
                (None, None) => read_shared(&connections, slot, &keys, many).await,
                // It took some of its time already. Boxed, as it is rare.
                (None, Some(until)) => {
                    let shared = Box::pin(read_shared(&connections, slot, &keys, many));
                    tokio::time::timeout_at(until, shared)
                        .await
                        .unwrap_or_else(|_| Err(error::response_timeout()))
                }
            };
            answer.map_err(|error| error::from_lone_server(error).with_op(op))
        })
    }

    fn ask_cluster<P: StoredBytes>(
        &self,
        cluster: &Arc<Cluster>,
        request: CacheRequest<P>,
    ) -> ResponseFuture<P> {
        let op = request.op();
        match request {
            CacheRequest::Publish(publish) if !publish.keys.is_empty() => {
                return self.publish_to_shard(cluster, publish.keys);
            }
            CacheRequest::Subscribe => return self.subscribe(),
            CacheRequest::Close => {
                self.0.hub.close();
                cluster.close();
                return ResponseFuture::answered(Ok(CacheResponse::Done));
            }
            _ => {}
        }
        let (cluster, default_ttl) = (Arc::clone(cluster), self.default_ttl());
        ResponseFuture::asked(async move {
            cluster::serve(&cluster, request, default_ttl).await.map_err(|error| error.with_op(op))
        })
    }
}

impl RedisStore {
    fn publish_to_shard<P: StoredBytes>(&self, cluster: &Arc<Cluster>, keys: Keys) -> ResponseFuture<P> {
        let (cluster, publishing) = (Arc::clone(cluster), Arc::clone(&self.0.publishing));
        ResponseFuture::asked(async move {
            // Over one of the connections: as with one server, by the first key.
            let hash = keys.as_slice().first().map_or(0, Key::hash_code);
            let messages = publishing.commands(&keys);
            let published = cluster::publish(&cluster, publishing.channel(), hash, messages).await;
            published.map_err(|error| error.with_op(Op::Publish))
        })
    }

    fn subscribe<P>(&self) -> ResponseFuture<P> {
        let subscribing = self.0.hub.subscribe();
        ResponseFuture::asked(async move {
            let subscribed = subscribing.await.map_err(|error| error.with_op(Op::Subscribe))?;
            Ok(CacheResponse::Subscribed(subscribed))
        })
    }
}

/// Reads over the connection of a slot that all requests share.
async fn read_shared<P: StoredBytes>(
    connections: &Arc<Connections>,
    slot: usize,
    keys: &Keys,
    many: bool,
) -> Answer<P> {
    let (command, expected) = command::read(keys.as_slice(), many);
    let lease = match connections.try_lease(slot) {
        Some(lease) => lease,
        None => connections.lease(slot).await?,
    };
    let reply = ask(connections, slot, lease, &Wire::Command(command)).await;
    reply.and_then(|reply| expected.decode(reply))
}

/// What goes over the wire.
#[derive(Debug)]
pub(super) enum Wire {
    Command(Cmd),
    Transaction(Pipeline),
    /// Commands that have nothing to do with each other; the reply is an array of theirs.
    Batch(Pipeline),
    /// The same, but the reply is the first refusal if there is one.
    Messages(Pipeline),
    Script(Invocation),
}

impl Wire {
    async fn send(&self, lease: &mut Lease) -> RedisResult<Value> {
        match self {
            Self::Command(command) => lease.connection.send_packed_command(command).await,
            Self::Transaction(pipeline) => {
                let replies = lease.connection.send_packed_commands(pipeline, 0, pipeline.len()).await?;
                Ok(reply::transaction(replies))
            }
            Self::Batch(pipeline) => {
                lease.connection.send_packed_commands(pipeline, 0, pipeline.len()).await.map(Value::Array)
            }
            Self::Messages(pipeline) => {
                let replies = lease.connection.send_packed_commands(pipeline, 0, pipeline.len()).await?;
                let refusal = replies.iter().find(|reply| matches!(reply, Value::ServerError(_))).cloned();
                Ok(refusal.unwrap_or(Value::Array(replies)))
            }
            Self::Script(script) => {
                let reply = lease.connection.send_packed_command(&script.by_hash()).await?;
                if !Invocation::is_unknown(&reply) {
                    return Ok(reply);
                }
                lease.connection.send_packed_command(&script.by_source()).await
            }
        }
    }

    /// The same with ASKING before it, in one write: on a shared connection, nothing of another request may come between.
    /// The server heeds ASKING for one command, or for the whole of a transaction.
    pub(super) fn asking(&self) -> Self {
        let mut asking = Pipeline::new();
        asking.cmd("ASKING");
        match self {
            Self::Command(command) => _ = asking.add_command(command.clone()),
            // With its source: were it not known, the ASKING would be spent.
            Self::Script(script) => _ = asking.add_command(script.by_source()),
            Self::Transaction(commands) | Self::Batch(commands) | Self::Messages(commands) => {
                commands.cmd_iter().for_each(|command| _ = asking.add_command(command.clone()));
            }
        }
        // The first refusal, or the last reply: what is wanted here as well.
        Self::Transaction(asking)
    }
}

/// Sends a request, and tells the slot what became of it: that nobody waited for the answer, too.
pub(super) async fn ask(
    connections: &Arc<Connections>,
    slot: usize,
    lease: Lease,
    wire: &Wire,
) -> Result<Value, CacheError> {
    let mut request = UnderWay { connections, slot, lease, over: false };
    let reply = wire.send(&mut request.lease).await;
    request.over = true;
    match reply {
        Ok(reply) => {
            connections.answered(slot);
            if let Value::ServerError(refusal) = &reply
                && error::leads_astray(refusal)
            {
                connections.replace(slot, request.lease.id);
            }
            Ok(reply)
        }
        Err(failure) => {
            if error::breaks_connection(&failure) {
                connections.broke(slot, &request.lease);
            } else if failure.is_timeout() {
                connections.timed_out(slot, request.lease.id);
            }
            Err(error::from_driver(failure))
        }
    }
}

/// A request that was sent and is not answered yet.
struct UnderWay<'a> {
    connections: &'a Arc<Connections>,
    slot: usize,
    lease: Lease,
    over: bool,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.connections.given_up(self.slot, self.lease.id);
        }
    }
}
