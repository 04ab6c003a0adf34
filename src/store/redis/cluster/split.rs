//! Requests with several keys: a command may name keys of one slot only, so each is taken apart and put together again.

use std::sync::Arc;
use std::time::Duration;

use cachex_core::{CacheError, CacheRequest, CacheResponse, Effect, Key, OpClass, StoredBytes};
use futures_util::future::join_all;
use redis::{Pipeline, Value};

use super::layout::Redirect;
use super::map::Node;
use super::route::{Planned, follow, planned};
use super::slot::slot_of;
use super::{Cluster, Place};
use crate::store::redis::error;
use crate::store::redis::reply::{self, Expected};
use crate::store::redis::service::Wire;

type Answer<P> = Result<CacheResponse<P>, CacheError>;

/// Serves a request with several keys: a command per slot, a write per node, all nodes side by side.
pub(super) async fn serve<P: StoredBytes>(
    cluster: &Arc<Cluster>,
    request: CacheRequest<P>,
    default_ttl: Option<Duration>,
) -> Answer<P> {
    let keys: Vec<Key> = request.keys().cloned().collect();
    let parts = by_slot(&request, &keys);
    let answers = send(cluster, &parts, default_ttl).await?;
    merge(&request, keys.len(), parts.into_iter().zip(answers))
}

/// Whether a request for several keys can be served a few keys at a time.
pub(super) fn comes_apart<P>(request: &CacheRequest<P>) -> bool {
    matches!(
        request,
        CacheRequest::GetMany(_)
            | CacheRequest::SetMany(_)
            | CacheRequest::Delete(_)
            | CacheRequest::Exists(_)
    )
}

/// What is asked of one slot.
struct Part<P> {
    place: Place,
    request: CacheRequest<P>,
    /// Where its keys stand in the whole.
    positions: Vec<usize>,
}

/// A part per slot.
fn by_slot<P: StoredBytes>(request: &CacheRequest<P>, keys: &[Key]) -> Vec<Part<P>> {
    let mut order: Vec<(u16, usize)> =
        keys.iter().enumerate().map(|(position, key)| (slot_of(key.as_str()), position)).collect();
    // By slot, and within a slot as they came.
    order.sort_unstable();
    let slots = order.chunk_by(|(one, _), (other, _)| one == other);
    let positions = slots.map(|slot| slot.iter().map(|(_, position)| *position).collect());
    positions.filter_map(|positions| part(request, keys, positions)).collect()
}

/// A part per key. Of several values for one key, the last.
fn by_key<P: StoredBytes>(request: &CacheRequest<P>, keys: &[Key]) -> Vec<Part<P>> {
    let overwritten = |position: usize| {
        matches!(request, CacheRequest::SetMany(_)) && keys[position + 1..].contains(&keys[position])
    };
    let positions = (0..keys.len()).filter(|position| !overwritten(*position));
    positions.filter_map(|position| part(request, keys, vec![position])).collect()
}

fn part<P: StoredBytes>(request: &CacheRequest<P>, keys: &[Key], positions: Vec<usize>) -> Option<Part<P>> {
    let place = Place::of(&keys[*positions.first()?]);
    let chosen = || positions.iter().map(|position| keys[*position].clone()).collect::<Vec<_>>();
    let request = match request {
        CacheRequest::GetMany(_) => CacheRequest::get_many(chosen()),
        CacheRequest::Delete(_) => CacheRequest::delete(chosen()),
        CacheRequest::Exists(_) => CacheRequest::exists(chosen()),
        CacheRequest::SetMany(whole) => {
            let mut set = whole.as_ref().clone();
            set.entries = positions.iter().map(|position| whole.entries[*position].clone()).collect();
            CacheRequest::SetMany(Arc::new(set))
        }
        _ => return None,
    };
    Some(Part { place, request, positions })
}

/// A part on its way: what of it was sent, and how many replies there will be.
struct Sent {
    part: usize,
    place: Place,
    expected: Expected,
    replies: usize,
}

/// What goes to one node in one write.
struct Batch {
    node: Arc<Node>,
    pipeline: Pipeline,
    sent: Vec<Sent>,
}

impl Batch {
    fn add(&mut self, part: usize, place: Place, wire: Wire, expected: Expected) {
        let before = self.pipeline.len();
        match wire {
            Wire::Command(command) => _ = self.pipeline.add_command(command),
            Wire::Script(script) => _ = self.pipeline.add_command(script.by_source()),
            Wire::Transaction(commands) | Wire::Batch(commands) | Wire::Messages(commands) => {
                commands.cmd_iter().for_each(|command| _ = self.pipeline.add_command(command.clone()));
            }
        }
        self.sent.push(Sent { part, place, expected, replies: self.pipeline.len() - before });
    }
}

/// Sends all parts, and answers each.
///
/// # Errors
///
/// When a part cannot be served at all; nothing was sent then.
async fn send<P: StoredBytes>(
    cluster: &Arc<Cluster>,
    parts: &[Part<P>],
    default_ttl: Option<Duration>,
) -> Result<Vec<Answer<P>>, CacheError> {
    let mut plans = Vec::with_capacity(parts.len());
    for part in parts {
        plans.push(planned(part.request.clone(), default_ttl)?);
    }
    cluster.known().await?;
    let mut answers: Vec<Option<Answer<P>>> = parts.iter().map(|_| None).collect();
    let mut batches: Vec<Batch> = Vec::new();
    for (index, (part, plan)) in parts.iter().zip(plans).enumerate() {
        let (wire, expected) = match plan {
            Planned::Send(wire, expected) => (wire, expected),
            Planned::Answer(answer) => {
                answers[index] = Some(Ok(answer));
                continue;
            }
        };
        let Some(node) = cluster.owner(part.place.slot) else {
            answers[index] = Some(Err(cluster.uncovered()));
            continue;
        };
        let batch = match batches.iter().position(|batch| Arc::ptr_eq(&batch.node, &node)) {
            Some(batch) => &mut batches[batch],
            None => {
                batches.push(Batch { node, pipeline: Pipeline::new(), sent: Vec::new() });
                batches.last_mut().ok_or_else(error::unexpected_reply)?
            }
        };
        batch.add(index, part.place, wire, expected);
    }
    let replies =
        join_all(batches.into_iter().map(|batch| deliver(cluster, batch, parts, default_ttl))).await;
    for (part, answer) in replies.into_iter().flatten() {
        answers[part] = Some(answer);
    }
    Ok(answers.into_iter().map(|answer| answer.unwrap_or_else(|| Err(error::unexpected_reply()))).collect())
}

/// Sends a batch, and its parts on to wherever the node sends them.
async fn deliver<P: StoredBytes>(
    cluster: &Arc<Cluster>,
    batch: Batch,
    parts: &[Part<P>],
    default_ttl: Option<Duration>,
) -> Vec<(usize, Answer<P>)> {
    let Batch { node, pipeline, sent } = batch;
    let hash = sent.first().map_or(0, |first| first.place.hash);
    let reply = cluster.send(&node, hash, &Wire::Batch(pipeline)).await;
    cluster.judge(&node, &reply);
    let mut replies = match reply {
        Ok(Value::Array(replies)) => Ok(replies.into_iter()),
        Ok(_) => Err(error::unexpected_reply()),
        Err(error) => Err(error),
    };
    let settled = sent.into_iter().map(|sent| {
        let reply = match &mut replies {
            Ok(replies) => Ok(reply::transaction(replies.by_ref().take(sent.replies).collect())),
            Err(error) => Err(error.clone()),
        };
        settle(cluster, &node, sent, reply, parts, default_ttl)
    });
    // Collected before the first is polled: their replies lie one behind the other.
    let settled: Vec<_> = settled.collect();
    join_all(settled).await
}

async fn settle<P: StoredBytes>(
    cluster: &Arc<Cluster>,
    node: &Node,
    sent: Sent,
    reply: Result<Value, CacheError>,
    parts: &[Part<P>],
    default_ttl: Option<Duration>,
) -> (usize, Answer<P>) {
    let part = &parts[sent.part];
    let answer = match cluster.judge(node, &reply) {
        Some(redirect) => follow_part(cluster, part, redirect, default_ttl).await,
        None if is_torn(&reply) => one_by_one(cluster, part, default_ttl).await,
        None => reply.and_then(|reply| sent.expected.decode(reply)),
    };
    (sent.part, answer)
}

async fn follow_part<P: StoredBytes>(
    cluster: &Arc<Cluster>,
    part: &Part<P>,
    redirect: Redirect,
    default_ttl: Option<Duration>,
) -> Answer<P> {
    match planned(part.request.clone(), default_ttl)? {
        Planned::Answer(answer) => Ok(answer),
        Planned::Send(wire, expected) => {
            let reply = follow(cluster, part.place, &wire, Some(redirect)).await;
            if is_torn(&reply) {
                return one_by_one(cluster, part, default_ttl).await;
            }
            expected.decode(reply?)
        }
    }
}

/// Whether the slot is on its way to another node, with some of the keys here and some there.
fn is_torn(reply: &Result<Value, CacheError>) -> bool {
    matches!(reply, Ok(Value::ServerError(refusal)) if refusal.code() == "TRYAGAIN")
}

/// Each key is at one node or the other, and asked for where it is.
async fn one_by_one<P: StoredBytes>(
    cluster: &Arc<Cluster>,
    whole: &Part<P>,
    default_ttl: Option<Duration>,
) -> Answer<P> {
    let keys: Vec<Key> = whole.request.keys().cloned().collect();
    let parts = by_key(&whole.request, &keys);
    let answers =
        join_all(parts.iter().map(async |part| match planned(part.request.clone(), default_ttl)? {
            Planned::Answer(answer) => Ok(answer),
            Planned::Send(wire, expected) => expected.decode(follow(cluster, part.place, &wire, None).await?),
        }))
        .await;
    merge(&whole.request, keys.len(), parts.into_iter().zip(answers))
}

/// The answer to a request from those to its parts.
fn merge<P: StoredBytes>(
    request: &CacheRequest<P>,
    keys: usize,
    parts: impl Iterator<Item = (Part<P>, Answer<P>)>,
) -> Answer<P> {
    let mut failure: Option<CacheError> = None;
    let (mut applied, mut count) = (false, 0);
    let mut values: Vec<_> = std::iter::repeat_with(|| None).take(keys).collect();
    for (part, answer) in parts {
        match answer {
            Ok(CacheResponse::Many(found)) if found.len() == part.positions.len() => {
                for (position, entry) in part.positions.into_iter().zip(found) {
                    values[position] = entry;
                }
            }
            Ok(CacheResponse::Count(some)) => (applied, count) = (true, count + some),
            Ok(CacheResponse::Done) => applied = true,
            Ok(_) => failure = failure.or_else(|| Some(error::unexpected_reply())),
            Err(error) => {
                applied |= error.effect() == Effect::Unknown;
                failure = failure.or(Some(error));
            }
        }
    }
    match (failure, request) {
        // A part of the write may have been carried out.
        (Some(error), _) if applied && request.class() == OpClass::Write => {
            Err(error.with_effect(Effect::Unknown))
        }
        (Some(error), _) => Err(error),
        (None, CacheRequest::GetMany(_)) => Ok(CacheResponse::Many(values)),
        (None, CacheRequest::Delete(_) | CacheRequest::Exists(_)) => Ok(CacheResponse::Count(count)),
        (None, _) => Ok(CacheResponse::Done),
    }
}
