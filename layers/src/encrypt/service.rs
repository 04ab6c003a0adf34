use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use cachex_core::{CacheError, CacheRequest, CacheResponse, Encoded, Entry, Key, Op, Sealed, StoredBytes};
use tower_service::Service;

use super::future::ResponseFuture;
use super::ring::{KeyRing, Keys};
use super::{nonce, seal};
use crate::envelope::{UnreadableStats, Unreadables};

/// Seals what is written and opens what is read. See the [module](crate::encrypt).
///
/// A clone shares the keys, the settings and the counts, and costs one reference count beside the inner clone.
#[derive(Clone)]
pub struct Encrypt<S> {
    inner: S,
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) keys: KeyRing,
    pub(super) unreadables: Unreadables,
}

impl<S> Encrypt<S> {
    pub(super) fn new(inner: S, shared: Arc<Shared>) -> Self {
        Self { inner, shared }
    }

    /// The keys, to be read and changed while the service is in use.
    #[must_use]
    pub fn keys(&self) -> KeyRing {
        self.shared.keys.clone()
    }

    /// The live counts of values that did not open.
    #[must_use]
    pub fn unreadable(&self) -> UnreadableStats {
        self.shared.unreadables.stats.clone()
    }

    service_accessors!(S);
}

impl Shared {
    fn seal(keys: &Keys, key: &Key, value: &Encoded) -> Result<Arc<Sealed>, CacheError> {
        let sealed = seal::seal(keys, &nonce::fresh(value.as_bytes())?, key, value.as_bytes())?;
        Ok(Arc::new(Sealed::from_bytes(sealed)))
    }

    /// Opens an entry; `None` when it does not open and that is to be a miss.
    pub(super) fn open(
        &self,
        keys: &Keys,
        key: &Key,
        entry: &Entry<Sealed>,
    ) -> Result<Option<Entry<Encoded>>, CacheError> {
        match seal::open(keys, key, entry.value.as_bytes()) {
            Ok(bytes) => Ok(Some(Entry::new(Encoded::from_bytes(bytes)).with_meta(entry.meta))),
            Err(error) => self.unreadables.judge("encrypt", key, error),
        }
    }
}

impl<S> Service<CacheRequest<Encoded>> for Encrypt<S>
where
    S: Service<CacheRequest<Sealed>, Response = CacheResponse<Sealed>, Error = CacheError>,
{
    type Response = CacheResponse<Encoded>;
    type Error = CacheError;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CacheError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: CacheRequest<Encoded>) -> Self::Future {
        if let Some(names) = request.read_keys() {
            // A read carries no value; the closure is never run.
            return match request.try_map_values(|_, _| Err(CacheError::unexpected_response(Op::Get))) {
                Ok(request) => {
                    ResponseFuture::read(self.inner.call(request), names, Arc::clone(&self.shared))
                }
                Err(error) => ResponseFuture::refused(error),
            };
        }
        let op = request.op();
        let shared = &self.shared;
        // All values of one request are sealed with the same key, whatever is rotated meanwhile.
        let mut keys = None;
        let seal = |key: &Key, value: Arc<Encoded>| {
            Shared::seal(keys.get_or_insert_with(|| shared.keys.keys()), key, &value)
        };
        match request.try_map_values(seal) {
            Ok(request) => ResponseFuture::other(self.inner.call(request)),
            Err(error) => ResponseFuture::refused(error.with_op(op)),
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for Encrypt<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encrypt")
            .field("inner", &self.inner)
            .field("keys", &self.shared.keys)
            .field("on_unreadable", &self.shared.unreadables.policy)
            .field("unreadable", &self.shared.unreadables.stats)
            .finish_non_exhaustive()
    }
}
