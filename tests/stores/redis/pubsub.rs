//! Invalidation messages over a real server: who hears what, and what is told of what was not heard.

mod delivery;
mod losses;

use cachex::store::redis::RedisStore;
use cachex_core::{CacheError, CacheRequest, Invalidation, Op, Subscription};
use cachex_test_support::RedisServer;

use super::{PATIENCE, call, key};

const CHANNEL: &str = "cachex:invalidations";

async fn try_subscribe(store: &RedisStore) -> Result<Subscription, CacheError> {
    call(store, CacheRequest::Subscribe).await?.into_subscription()
}

async fn subscribe(store: &RedisStore) -> Subscription {
    try_subscribe(store).await.unwrap()
}

async fn publish(store: &RedisStore, names: &[&str]) -> Result<u64, CacheError> {
    let keys: Vec<_> = names.iter().map(key).collect();
    call(store, CacheRequest::publish(keys)).await?.into_count(Op::Publish)
}

/// The next message, which must come in bounded time.
async fn next(subscription: &mut Subscription) -> Option<Invalidation> {
    tokio::time::timeout(PATIENCE, subscription.next()).await.expect("something is heard")
}

fn keys(names: &[&str]) -> Option<Invalidation> {
    Some(Invalidation::Keys(names.iter().map(key).collect()))
}

const MISSED: Option<Invalidation> = Some(Invalidation::Missed);

/// How many connections of the server are subscribed to something.
async fn listeners(server: &RedisServer) -> usize {
    let clients = server.command(["CLIENT", "LIST", "TYPE", "pubsub"]).await;
    clients.as_str().unwrap().lines().filter(|line| !line.is_empty()).count()
}
