use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use tower_layer::Layer;

use super::service::{Serialize, Shared};
use crate::envelope::{Unreadable, UnreadableStats, Unreadables};

/// Encodes what is written and decodes what is read. See the [module](crate::serialize).
///
/// The services one layer value makes count unreadable values together; a new layer value counts for itself.
#[derive(Clone)]
pub struct SerializeLayer<C> {
    pub(super) settings: Settings<C>,
}

#[derive(Clone)]
pub(super) struct Settings<C> {
    pub(super) codec: C,
    pub(super) schema_version: u32,
    pub(super) structural: bool,
    pub(super) max_bytes: usize,
    pub(super) unreadables: Unreadables,
    pub(super) wall_clock: Option<Arc<dyn Fn() -> SystemTime + Send + Sync>>,
}

impl<C> SerializeLayer<C> {
    /// The largest stored value unless told otherwise: 64 MiB.
    pub const DEFAULT_MAX_BYTES: usize = 64 << 20;

    /// Encodes with `codec`. Values of up to 64 MiB, an unreadable one is a counted miss, schema version 0.
    #[must_use]
    pub fn new(codec: C) -> Self {
        Self {
            settings: Settings {
                codec,
                schema_version: 0,
                structural: true,
                max_bytes: Self::DEFAULT_MAX_BYTES,
                unreadables: Unreadables::default(),
                wall_clock: None,
            },
        }
    }

    /// The application's own version of its types (default 0): values written under another number are not read.
    ///
    /// Raise it when a change cannot be seen in the structure of a type, as when a field's unit changes.
    #[must_use]
    pub fn schema_version(mut self, version: u32) -> Self {
        self.settings.schema_version = version;
        self
    }

    /// Whether values that were written for another structure of the type are refused before they are decoded (default true).
    ///
    /// Without it only the codec and [`schema_version`](Self::schema_version) are compared, and two versions of a type read each
    /// other as far as the codec allows. Then changes have to be compatible, or be given a new version number: `Bincode` and
    /// `Postcard` know fields by position and may misread a changed type; `Json` and `MessagePack` know them by name.
    #[must_use]
    pub fn structural(mut self, structural: bool) -> Self {
        self.settings.structural = structural;
        self
    }

    /// The largest stored value, envelope included, in bytes (default 64 MiB). Larger ones are refused with `TooLarge` when
    /// written and are unreadable when read.
    #[must_use]
    pub fn max_bytes(mut self, max: usize) -> Self {
        self.settings.max_bytes = max;
        self
    }

    /// What a read answers when it finds a value it cannot read (default [`Unreadable::Miss`]).
    #[must_use]
    pub fn on_unreadable(mut self, policy: Unreadable) -> Self {
        self.settings.unreadables.policy = policy;
        self
    }

    /// Where the time of day comes from (default [`SystemTime::now`]): for tests.
    #[must_use]
    pub fn wall_clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.settings.wall_clock = Some(Arc::new(clock));
        self
    }

    /// The live counts of values that could not be read.
    #[must_use]
    pub fn unreadable(&self) -> UnreadableStats {
        self.settings.unreadables.stats.clone()
    }
}

/// [`SerializeLayer::new`] with [`Bincode`](super::Bincode).
#[cfg(feature = "bincode")]
impl Default for SerializeLayer<super::Bincode> {
    fn default() -> Self {
        Self::new(super::Bincode)
    }
}

impl<S, C: Clone> Layer<S> for SerializeLayer<C> {
    type Service = Serialize<S, C>;

    fn layer(&self, inner: S) -> Serialize<S, C> {
        Serialize::new(inner, Arc::new(Shared::new(self.settings.clone())))
    }
}

impl<C: fmt::Debug> fmt::Debug for SerializeLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.show(f.debug_struct("SerializeLayer"))
    }
}

impl<C: fmt::Debug> Settings<C> {
    pub(super) fn show(&self, mut out: fmt::DebugStruct<'_, '_>) -> fmt::Result {
        out.field("codec", &self.codec)
            .field("schema_version", &self.schema_version)
            .field("structural", &self.structural)
            .field("max_bytes", &self.max_bytes)
            .field("on_unreadable", &self.unreadables.policy)
            .field("unreadable", &self.unreadables.stats)
            .finish_non_exhaustive()
    }
}
