//! Layers that keep the contract.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::Semaphore;
use tower_layer::Layer;
use tower_service::Service;

use crate::entry::Entry;
use crate::error::CacheError;
use crate::request::CacheRequest;
use crate::response::CacheResponse;
use crate::testing::Leaf;

pub(super) type Answer = Pin<Box<dyn Future<Output = Result<CacheResponse<String>, CacheError>> + Send>>;

/// Does nothing.
#[derive(Debug)]
pub(super) struct Identity;

impl<S> Layer<S> for Identity {
    type Service = S;

    fn layer(&self, inner: S) -> S {
        inner
    }
}

/// Lets so many calls through at once.
#[derive(Debug)]
pub(super) struct Limit(pub(super) usize);

impl Layer<Leaf<String>> for Limit {
    type Service = Limited;

    fn layer(&self, inner: Leaf<String>) -> Limited {
        Limited { inner, permits: Arc::new(Semaphore::new(self.0)) }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Limited {
    inner: Leaf<String>,
    permits: Arc<Semaphore>,
}

impl Service<CacheRequest<String>> for Limited {
    type Response = CacheResponse<String>;
    type Error = CacheError;
    type Future = Answer;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CacheError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: CacheRequest<String>) -> Answer {
        let clone = self.inner.clone();
        let mut readied = std::mem::replace(&mut self.inner, clone);
        let permits = Arc::clone(&self.permits);
        Box::pin(async move {
            let _permit = permits.acquire_owned().await;
            readied.call(request).await
        })
    }
}

/// Stores texts backwards.
#[derive(Debug)]
pub(super) struct Reverse;

impl Layer<Leaf<Vec<char>>> for Reverse {
    type Service = Reversed;

    fn layer(&self, inner: Leaf<Vec<char>>) -> Reversed {
        Reversed(inner)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Reversed(Leaf<Vec<char>>);

impl Service<CacheRequest<String>> for Reversed {
    type Response = CacheResponse<String>;
    type Error = CacheError;
    type Future = Answer;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CacheError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: CacheRequest<String>) -> Answer {
        let keys = request.read_keys();
        let mapped =
            request.try_map_values::<_, CacheError>(|_, text| Ok(Arc::new(text.chars().rev().collect())));
        let future = self.0.call(mapped.expect("reversing never fails"));
        Box::pin(async move {
            let keys = keys.as_ref().map_or(&[][..], |keys| keys.as_slice());
            future.await?.try_map_entries(keys, |_, entry| {
                Ok(Some(Entry::new(entry.value.iter().rev().collect::<String>()).with_meta(entry.meta)))
            })
        })
    }
}
