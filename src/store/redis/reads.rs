//! Reads of one server, alone and together.
//!
//! A read of one key that comes while others are under way is not sent on its own: those that meet go out as one write of
//! `GET`s on a read connection, and are answered as if each had gone alone. They meet in the lanes of the [batch
//! layer](cachex_layers::batch), one for each read connection.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use cachex_core::{CacheError, CacheRequest, CacheResponse, Key, Keys, Op, Sealed, StoredBytes};
use cachex_layers::batch::{Batch, BatchHandle, BatchLayer, BatchState};
use tower_layer::Layer;
use tower_service::Service;

use super::command::{self, STORE};
use super::connection::Connections;
use super::direct::Read;
use super::error;
use super::service::ask;

/// How long reads wait for those under way before they go on the shared connection, as they would have without any.
const MAX_WAIT: Duration = Duration::from_millis(50);

/// As many as a lane can take: nobody is refused, as nobody is on a shared connection.
const MOST_WAITING: usize = 1 << 20;

type Answer<P> = Result<CacheResponse<P>, CacheError>;

/// Asks for keys over a connection that nobody else has, else over the shared one.
pub(super) async fn read<P: StoredBytes>(connections: Arc<Connections>, keys: Keys, how: Read) -> Answer<P> {
    let op = if how == Read::Many { Op::GetMany } else { Op::Get };
    // The connection is chosen by the first key alone.
    let hash = keys.as_slice().first().map_or(0, Key::hash_code);
    let slot = connections.slot_of(hash);
    let mut answer: Option<Answer<P>> = None;
    if let Some(reading) = connections.reading(slot, hash, how) {
        answer = reading.read(keys.as_slice(), how).await;
    }
    let answer: Answer<P> = match answer {
        Some(answer) => answer,
        None => {
            let (wire, expected) = command::read(keys.as_slice(), how);
            let lease = match connections.try_lease(slot) {
                Some(lease) => lease,
                None => connections.lease(slot).await.map_err(|error| error.with_op(op))?,
            };
            let reply = ask(&connections, slot, lease, &wire).await;
            reply.and_then(|reply| expected.decode(reply))
        }
    };
    match &answer {
        Ok(CacheResponse::Hit(entry)) => connections.value_size.note(entry.value.as_bytes().len(), 1),
        Ok(CacheResponse::Many(entries)) => {
            let sizes = entries.iter().flatten().map(|entry| entry.value.as_bytes().len());
            connections.value_size.note(sizes.clone().sum(), sizes.count());
        }
        _ => {}
    }
    answer.map_err(|error| error::from_lone_server(error).with_op(op))
}

/// How large values have been of late.
#[derive(Debug, Default)]
pub(super) struct ValueSize(AtomicUsize);

impl ValueSize {
    /// In bytes. From here on a value's way takes longer than what merging saves, and those that meet would wait for each
    /// other's.
    const LARGE: usize = 8 * 1024;

    /// So many values were read, of so many bytes together.
    #[inline]
    fn note(&self, bytes: usize, values: usize) {
        let Some(mean) = bytes.checked_div(values) else { return };
        let old = self.0.load(Relaxed);
        // An eighth of the way. Two at a time may count as one.
        let new = old - old / 8 + mean / 8;
        if new != old {
            self.0.store(new, Relaxed);
        }
    }

    #[inline]
    pub(super) fn is_large(&self) -> bool {
        self.0.load(Relaxed) >= Self::LARGE
    }
}

/// The reads of one key, as a service for the lanes: alone, or those that met.
#[derive(Clone)]
pub(super) struct Reads(Arc<Connections>);

impl<P: StoredBytes> Service<CacheRequest<P>> for Reads {
    type Response = CacheResponse<P>;
    type Error = CacheError;
    type Future = Pin<Box<dyn Future<Output = Answer<P>> + Send>>;

    #[inline]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), CacheError>> {
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, request: CacheRequest<P>) -> Self::Future {
        let (keys, how) = match request {
            CacheRequest::Get(get) => (Keys::One(get.key), Read::One),
            CacheRequest::GetMany(get) => (get.keys, Read::Each),
            other => {
                let error = CacheError::unsupported(other.op(), STORE);
                return Box::pin(std::future::ready(Err(error)));
            }
        };
        Box::pin(read(Arc::clone(&self.0), keys, how))
    }
}

/// Where the reads of a store meet.
pub(super) struct Meeting {
    /// Lanes are for one type of value.
    encoded: Batch<Reads>,
    sealed: Batch<Reads>,
    handle: BatchHandle,
}

impl Meeting {
    /// One lane for each read connection; `None` where there are none.
    pub(super) fn new(connections: &Arc<Connections>) -> Result<Option<Self>, CacheError> {
        let lanes = connections.read_places();
        if lanes == 0 {
            return Ok(None);
        }
        let layer = BatchLayer::builder()
            .lanes(lanes)
            .queue(MOST_WAITING)
            .max_wait(MAX_WAIT)
            .multi_thread_only(true)
            .build()?;
        let lanes = || layer.layer(Reads(Arc::clone(connections)));
        Ok(Some(Self { encoded: lanes(), sealed: lanes(), handle: layer.handle() }))
    }

    /// The lanes for payloads of this type.
    #[inline]
    pub(super) fn of<P: StoredBytes>(&self) -> Batch<Reads> {
        let sealed = std::any::TypeId::of::<P>() == std::any::TypeId::of::<Sealed>();
        if sealed { self.sealed.clone() } else { self.encoded.clone() }
    }

    pub(super) fn state(&self) -> BatchState {
        self.handle.state()
    }
}

impl fmt::Debug for Meeting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meeting").field("state", &self.state()).finish_non_exhaustive()
    }
}
