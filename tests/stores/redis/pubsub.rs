//! Invalidation messages over a real server: who hears what, and what is told of what was not heard.

mod delivery;
mod losses;

use cachex::store::redis::RedisStore;
use cachex_core::{CacheError, CacheRequest, Invalidation, Op, Subscription};
use cachex_test_support::RedisServer;

use super::{PATIENCE, call, key};

pub(super) const CHANNEL: &str = "cachex:invalidations";

pub(super) async fn try_subscribe(store: &RedisStore) -> Result<Subscription, CacheError> {
    call(store, CacheRequest::Subscribe).await?.into_subscription()
}

pub(super) async fn subscribe(store: &RedisStore) -> Subscription {
    try_subscribe(store).await.unwrap()
}

pub(super) async fn publish(store: &RedisStore, names: &[&str]) -> Result<u64, CacheError> {
    let keys: Vec<_> = names.iter().map(key).collect();
    call(store, CacheRequest::publish(keys)).await?.into_count(Op::Publish)
}

/// The next message, which must come in bounded time.
pub(super) async fn next(subscription: &mut Subscription) -> Option<Invalidation> {
    tokio::time::timeout(PATIENCE, subscription.next()).await.expect("something is heard")
}

pub(super) fn keys(names: &[&str]) -> Option<Invalidation> {
    Some(Invalidation::Keys(names.iter().map(key).collect()))
}

pub(super) const MISSED: Option<Invalidation> = Some(Invalidation::Missed);

/// Everything that is heard before `name`, published by `store` now.
pub(super) async fn until(
    subscription: &mut Subscription,
    store: &RedisStore,
    name: &str,
) -> Vec<Invalidation> {
    publish(store, &[name]).await.unwrap();
    let mut before = Vec::new();
    loop {
        match next(subscription).await {
            message if message == keys(&[name]) => return before,
            message => before.extend(message),
        }
    }
}

/// How many connections of the server are subscribed to something.
pub(super) async fn listeners(server: &RedisServer) -> usize {
    let clients = server.command(["CLIENT", "LIST", "TYPE", "pubsub"]).await;
    clients.as_str().unwrap().lines().filter(|line| !line.is_empty()).count()
}
