//! A small store of bytes whose contents a test may look at and damage, and helpers to ask it at once.

use std::collections::HashMap;
use std::future::{Future, Ready, ready};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use cachex_core::{
    CacheError, CacheRequest, CacheResponse, Entry, EntryMeta, FillToken, Key, Op, StoredBytes,
};
use tower_service::Service;

#[derive(Clone, Debug, Default)]
pub(crate) struct Shelf(Arc<Mutex<HashMap<Key, (Bytes, EntryMeta)>>>);

impl Shelf {
    pub(crate) fn bytes(&self, key: &Key) -> Vec<u8> {
        self.0.lock().unwrap().get(key).expect("nothing is stored").0.to_vec()
    }

    pub(crate) fn put(&self, key: &Key, bytes: impl Into<Bytes>) {
        self.put_with(key, bytes, EntryMeta::default());
    }

    pub(crate) fn put_with(&self, key: &Key, bytes: impl Into<Bytes>, meta: EntryMeta) {
        self.0.lock().unwrap().insert(key.clone(), (bytes.into(), meta));
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    fn get<W: StoredBytes>(&self, key: &Key) -> Option<Entry<W>> {
        let (bytes, meta) = self.0.lock().unwrap().get(key).cloned()?;
        Some(Entry::new(W::from_bytes(bytes)).with_meta(meta))
    }
}

impl<W: StoredBytes> Service<CacheRequest<W>> for Shelf {
    type Response = CacheResponse<W>;
    type Error = CacheError;
    type Future = Ready<Result<CacheResponse<W>, CacheError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), CacheError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: CacheRequest<W>) -> Self::Future {
        for (key, value) in request.values() {
            self.put(key, value.as_bytes().clone());
        }
        ready(Ok(match (request.op(), request.read_keys()) {
            (Op::Get, Some(keys)) => self
                .get(&keys.as_slice()[0])
                .map_or(CacheResponse::Miss(FillToken::UNFENCED), CacheResponse::Hit),
            (_, Some(keys)) => CacheResponse::Many(keys.as_slice().iter().map(|key| self.get(key)).collect()),
            (Op::Set, _) => CacheResponse::Applied(true),
            _ => CacheResponse::Done,
        }))
    }
}

/// Asks a service that is ready and answers at once.
pub(crate) fn ask<V, S>(service: &S, request: CacheRequest<V>) -> Result<CacheResponse<V>, CacheError>
where
    S: Service<CacheRequest<V>, Response = CacheResponse<V>, Error = CacheError> + Clone,
{
    let mut service = service.clone();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut cx).is_ready());
    let Poll::Ready(answer) = pin!(service.call(request)).poll(&mut cx) else { panic!("no answer at once") };
    answer
}

/// Reads one key: the entry, or nothing.
pub(crate) fn get<V, S>(service: &S, key: &Key) -> Result<Option<Entry<V>>, CacheError>
where
    S: Service<CacheRequest<V>, Response = CacheResponse<V>, Error = CacheError> + Clone,
{
    ask(service, CacheRequest::get(key.clone()))?.into_get().map(Result::ok)
}
