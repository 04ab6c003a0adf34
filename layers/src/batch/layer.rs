//! The layer and its settings.

use std::fmt;
use std::sync::Arc;

use cachex_core::{CacheError, ErrorKind, Key};
use tower_layer::Layer;

use super::counters::Counters;
use super::handle::BatchHandle;
use super::service::Batch;

/// Applies [`Batch`]: reads of one key that meet go out together. See the [module](super).
///
/// Each service the layer makes has lanes of its own, which its clones share: reads of different stores never meet. What
/// a [`handle`](Self::handle) shows is the sum over all of them, and so is the bound of the queue.
///
/// [`Default`] has the default settings; [`builder`](Self::builder) others.
#[derive(Clone)]
pub struct BatchLayer {
    shared: Arc<Shared>,
}

/// What the services of one layer share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) counters: Counters,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) lanes: usize,
    pub(super) max_batch: usize,
    pub(super) max_key_bytes: usize,
    pub(super) queue: usize,
}

impl BatchLayer {
    /// A layer with the default settings.
    #[must_use]
    pub fn new() -> Self {
        Self::with(BatchLayerBuilder::DEFAULTS)
    }

    /// Settings for a layer that is not made yet.
    pub fn builder() -> BatchLayerBuilder {
        BatchLayerBuilder::default()
    }

    /// A view of the lanes while they are in use.
    #[must_use]
    pub fn handle(&self) -> BatchHandle {
        BatchHandle::new(Arc::clone(&self.shared))
    }

    fn with(settings: Settings) -> Self {
        Self { shared: Arc::new(Shared { settings, counters: Counters::new(settings.lanes) }) }
    }
}

impl Default for BatchLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for BatchLayer {
    type Service = Batch<S>;

    fn layer(&self, inner: S) -> Batch<S> {
        Batch::new(inner, Arc::clone(&self.shared))
    }
}

impl fmt::Debug for BatchLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.settings.debug(&mut f.debug_struct("BatchLayer")).finish()
    }
}

impl Settings {
    /// The settings as fields of whoever has them.
    pub(super) fn debug<'a, 'b>(
        &self,
        out: &'a mut fmt::DebugStruct<'a, 'b>,
    ) -> &'a mut fmt::DebugStruct<'a, 'b> {
        out.field("lanes", &self.lanes)
            .field("max_batch", &self.max_batch)
            .field("max_key_bytes", &self.max_key_bytes)
            .field("queue", &self.queue)
    }
}

/// Settings of a [`BatchLayer`].
///
/// | setting | default | range |
/// |---|---|---|
/// | [`lanes`](Self::lanes) | 4 | 1 to 256 |
/// | [`max_batch`](Self::max_batch) | 256 keys | 1 to 16,384 |
/// | [`max_key_bytes`](Self::max_key_bytes) | 64 KiB | 4 KiB (one longest key) to 16 MiB |
/// | [`queue`](Self::queue) | 4,096 callers per lane | 1 to 1,048,576 |
#[derive(Clone, Copy, Debug)]
#[must_use = "a builder makes no layer until `build` is called"]
pub struct BatchLayerBuilder {
    settings: Settings,
}

impl Default for BatchLayerBuilder {
    fn default() -> Self {
        Self { settings: Self::DEFAULTS }
    }
}

impl BatchLayerBuilder {
    const DEFAULTS: Settings = Settings { lanes: 4, max_batch: 256, max_key_bytes: 64 << 10, queue: 4096 };

    /// How many batches may be under way at a time. A key always takes the same lane, and lanes divide the keys as a
    /// `RedisStore` divides them among its connections: with a multiple of those, the keys of a lane share a connection.
    pub fn lanes(mut self, lanes: usize) -> Self {
        self.settings.lanes = lanes;
        self
    }

    /// The most keys of a batch. With 1 nothing is merged, and each lane reads one key after another.
    pub fn max_batch(mut self, keys: usize) -> Self {
        self.settings.max_batch = keys;
        self
    }

    /// The most bytes the keys of a batch have together.
    pub fn max_key_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_key_bytes = bytes;
        self
    }

    /// The most callers that may wait for a lane; who comes later is refused with
    /// [`Overloaded`](cachex_core::ErrorKind::Overloaded).
    pub fn queue(mut self, callers: usize) -> Self {
        self.settings.queue = callers;
        self
    }

    /// Makes the layer.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](cachex_core::ErrorKind::InvalidInput) naming the setting that is out of range, and the range.
    pub fn build(self) -> Result<BatchLayer, CacheError> {
        let Settings { lanes, max_batch, max_key_bytes, queue } = self.settings;
        check("lanes", lanes, 1, 256)?;
        check("max_batch", max_batch, 1, 16 << 10)?;
        check("max_key_bytes", max_key_bytes, Key::MAX_LEN, 16 << 20)?;
        check("queue", queue, 1, 1 << 20)?;
        Ok(BatchLayer::with(self.settings))
    }
}

fn check(setting: &str, value: usize, min: usize, max: usize) -> Result<(), CacheError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(CacheError::new(ErrorKind::InvalidInput, format!("batch: {setting} is {value}, not {min} to {max}")))
}
