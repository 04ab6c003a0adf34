use std::any::TypeId;
use std::cell::Cell;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use cachex_core::{
    CacheError, CacheRequest, CacheResponse, Codec, CodecError, Encoded, Entry, EntryMeta, ErrorKind, Key,
    StaleReason, StoredBytes, Ttl, clock,
};
use tokio::time::Instant;
use tower_service::Service;
use xxhash_rust::xxh3::xxh3_64;

use super::future::ResponseFuture;
use super::layer::Settings;
use crate::envelope::{self, CHECKSUM_LEN, Envelope, EnvelopeError, Header, UnreadableStats};
use crate::observed;

const LAYER: &str = "serialize";

/// A buffer that grew beyond this is not kept for the next value of its thread.
const SCRATCH_KEPT: usize = 1 << 20;

/// For so long a thread counts on from a reading of the system's clock: a clock that is set is noticed after that.
const WALL_KEPT: Duration = Duration::from_millis(50);

thread_local! {
    /// When this thread last read the system's clock, and what it said.
    static WALL: Cell<Option<(Instant, u64)>> = const { Cell::new(None) };

    /// Values are encoded here first, so that each costs one allocation of exactly its size.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Encodes what is written and decodes what is read. See the [module](crate::serialize).
///
/// A clone shares the codec, the settings and the counts, and costs one reference count beside the inner clone.
pub struct Serialize<S, C> {
    inner: S,
    shared: Arc<Shared<C>>,
}

pub(super) struct Shared<C> {
    settings: Settings<C>,
    schemas: Schemas,
}

/// The fingerprints of the types this service serves: one, nearly always.
#[derive(Default)]
struct Schemas {
    first: OnceLock<(TypeId, u64)>,
    others: Mutex<Vec<(TypeId, u64)>>,
}

impl<S, C> Serialize<S, C> {
    pub(super) fn new(inner: S, shared: Arc<Shared<C>>) -> Self {
        Self { inner, shared }
    }

    /// The live counts of values that could not be read.
    #[must_use]
    pub fn unreadable(&self) -> UnreadableStats {
        self.shared.settings.unreadables.stats.clone()
    }

    service_accessors!(S);
}

impl<C> Shared<C> {
    pub(super) fn new(settings: Settings<C>) -> Self {
        Self { settings, schemas: Schemas::default() }
    }

    /// What the envelope holds for `T`: the codec's fingerprint mixed with the application's version number.
    fn fingerprint<T: 'static>(&self) -> u64
    where
        C: Codec<T>,
    {
        let find = || {
            let shape = if self.settings.structural { self.settings.codec.fingerprint() } else { 0 };
            let mut mixed = [0; 12];
            mixed[..8].copy_from_slice(&shape.to_le_bytes());
            mixed[8..].copy_from_slice(&self.settings.schema_version.to_le_bytes());
            xxh3_64(&mixed)
        };
        self.schemas.get(TypeId::of::<T>(), find)
    }

    /// Milliseconds since 1970, at `now`.
    fn wall_clock(&self, now: Instant) -> u64 {
        self.settings.wall_clock.as_ref().map_or_else(|| system_ms(now), |clock| to_ms(clock()))
    }

    fn encode<T: 'static>(
        &self,
        key: &Key,
        value: &T,
        ttl: Ttl,
        fingerprint: u64,
    ) -> Result<Encoded, CacheError>
    where
        C: Codec<T>,
    {
        let created_ms = self.wall_clock(clock::now());
        let header = Header {
            created_ms,
            expires_ms: if let Ttl::After(ttl) = ttl { created_ms.saturating_add(ms(ttl)) } else { 0 },
            fingerprint,
            ..Header::new(self.settings.codec.id())
        };
        // Taken rather than borrowed: a value whose own encoding uses a cache finds an empty buffer, not a panic.
        let mut scratch = SCRATCH.take();
        scratch.clear();
        envelope::begin(&mut scratch, &header, &[]);
        let encoded = match self.settings.codec.encode(value, &mut scratch) {
            Err(error) => {
                Err(CacheError::with_source(ErrorKind::Encode, "value could not be encoded", error))
            }
            Ok(()) if scratch.len() + CHECKSUM_LEN > self.settings.max_bytes => {
                Err(too_large(scratch.len() + CHECKSUM_LEN, self.settings.max_bytes))
            }
            Ok(()) => {
                envelope::finish(&mut scratch, 0, key);
                Ok(Encoded::from_bytes(Bytes::copy_from_slice(&scratch)))
            }
        };
        if scratch.capacity() <= SCRATCH_KEPT {
            SCRATCH.set(scratch);
        }
        if let Ok(encoded) = &encoded {
            observed::stored_bytes(encoded.as_bytes().len());
        }
        encoded
    }

    /// Reads an entry; `None` when it is unreadable and that is to be a miss.
    pub(super) fn read<T: 'static>(
        &self,
        key: &Key,
        entry: &Entry<Encoded>,
    ) -> Result<Option<Entry<T>>, CacheError>
    where
        C: Codec<T>,
    {
        let bytes = entry.value.as_bytes();
        observed::loaded_bytes(bytes.len());
        match self.decode(key, bytes) {
            Ok((value, header)) => {
                let meta = self.meta(entry.meta, &header);
                Ok(Some(Entry::new(value).with_meta(meta)))
            }
            Err(error) => self.settings.unreadables.judge(LAYER, key, error),
        }
    }

    fn decode<T: 'static>(&self, key: &Key, bytes: &[u8]) -> Result<(T, Header), CacheError>
    where
        C: Codec<T>,
    {
        if bytes.len() > self.settings.max_bytes {
            return Err(too_large(bytes.len(), self.settings.max_bytes));
        }
        let envelope = Envelope::parse(bytes, key)?;
        let payload = envelope.clear_payload()?;
        let header = envelope.header;
        if header.compression != 0 {
            return Err(EnvelopeError::UnknownCompression(header.compression).into());
        }
        let codec = self.settings.codec.id();
        if header.codec != codec {
            let message = format!("value was encoded by {}, this stack reads {codec}", header.codec);
            return Err(CacheError::new(ErrorKind::SchemaMismatch, message));
        }
        if header.fingerprint != self.fingerprint::<T>() {
            let message = "value was written for another shape or version of the type";
            return Err(CacheError::new(ErrorKind::SchemaMismatch, message));
        }
        let decoded = self.settings.codec.decode(payload);
        let value = decoded.map_err(|error: CodecError| {
            CacheError::with_source(ErrorKind::Decode, "value could not be decoded", error)
        })?;
        Ok((value, header))
    }

    /// What the layers beneath know, filled up with what the envelope knows, on this process' clock. Clocks of other hosts may be
    /// wrong by any amount: what they say is capped, never trusted.
    fn meta(&self, mut meta: EntryMeta, header: &Header) -> EntryMeta {
        let now = clock::now();
        let now_ms = self.wall_clock(now);
        if meta.created_at.is_none() && header.created_ms != 0 {
            let age = Duration::from_millis(now_ms.saturating_sub(header.created_ms));
            meta.created_at = now.checked_sub(age);
        }
        if meta.expires_at.is_none() && header.expires_ms != 0 {
            if let Some(left) = header.expires_ms.checked_sub(now_ms).filter(|&left| left > 0) {
                meta.expires_at = now.checked_add(Duration::from_millis(left));
            } else {
                meta.expires_at = now.checked_sub(Duration::from_millis(now_ms - header.expires_ms));
                meta.stale = meta.stale.or(Some(StaleReason::Expired));
            }
        }
        meta
    }
}

impl Schemas {
    fn get(&self, id: TypeId, find: impl FnOnce() -> u64) -> u64 {
        if let Some(&(first, fingerprint)) = self.first.get() {
            return if first == id { fingerprint } else { self.get_other(id, find) };
        }
        // Found before it is stored, so that a type whose `Deserialize` uses this very cache does not wait for itself.
        let fingerprint = find();
        if self.first.set((id, fingerprint)).is_err() {
            return self.get_other(id, || fingerprint);
        }
        fingerprint
    }

    #[cold]
    fn get_other(&self, id: TypeId, find: impl FnOnce() -> u64) -> u64 {
        let known = |others: &[(TypeId, u64)]| others.iter().find(|other| other.0 == id).map(|other| other.1);
        let lock = || self.others.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fingerprint) = known(&lock()) {
            return fingerprint;
        }
        let fingerprint = find();
        let mut others = lock();
        if known(&others).is_none() {
            others.push((id, fingerprint));
        }
        fingerprint
    }
}

#[cold]
fn too_large(bytes: usize, max: usize) -> CacheError {
    CacheError::new(ErrorKind::TooLarge, format!("stored value is {bytes} bytes long, {max} at most"))
}

/// What the system's clock says, in milliseconds since 1970. `now` is known already, and telling the one from the other is
/// cheaper than reading a second clock.
fn system_ms(now: Instant) -> u64 {
    if let Some((at, ms)) = WALL.get()
        && let Some(since) = now.checked_duration_since(at)
        && since < WALL_KEPT
    {
        return ms + since.subsec_millis() as u64;
    }
    let ms = to_ms(SystemTime::now());
    WALL.set(Some((now, ms)));
    ms
}

fn to_ms(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, ms).min(envelope::MAX_TIME_MS)
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl<T, S, C> Service<CacheRequest<T>> for Serialize<S, C>
where
    T: 'static,
    S: Service<CacheRequest<Encoded>, Response = CacheResponse<Encoded>, Error = CacheError>,
    C: Codec<T>,
{
    type Response = CacheResponse<T>;
    type Error = CacheError;
    type Future = ResponseFuture<S::Future, T, C>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CacheError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: CacheRequest<T>) -> Self::Future {
        if let Some(keys) = request.read_keys() {
            // A read carries no value; the closure is never run.
            return match request
                .try_map_values(|_, _| Err(CacheError::unexpected_response(cachex_core::Op::Get)))
            {
                Ok(request) => ResponseFuture::read(self.inner.call(request), keys, Arc::clone(&self.shared)),
                Err(error) => ResponseFuture::refused(error),
            };
        }
        let ttl = request.requested_ttl().unwrap_or_default();
        let op = request.op();
        let shared = &self.shared;
        let encode = |key: &Key, value: Arc<T>| {
            shared.encode(key, &*value, ttl, shared.fingerprint::<T>()).map(Arc::new)
        };
        match request.try_map_values(encode) {
            Ok(request) => ResponseFuture::other(self.inner.call(request)),
            Err(error) => ResponseFuture::refused(error.with_op(op)),
        }
    }
}

impl<S: Clone, C> Clone for Serialize<S, C> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), shared: Arc::clone(&self.shared) }
    }
}

impl<S: fmt::Debug, C: fmt::Debug> fmt::Debug for Serialize<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Serialize");
        out.field("inner", &self.inner);
        self.shared.settings.show(out)
    }
}
