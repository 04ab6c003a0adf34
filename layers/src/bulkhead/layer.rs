//! The layer and its settings.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cachex_core::OpClass;
use tower_layer::Layer;

use super::compartment::MAX;
use super::handle::BulkheadHandle;
use super::place::Compartments;
use super::service::Bulkhead;

/// Applies [`Bulkhead`]: at most so many calls at once, reads, writes and control operations each in a compartment of
/// their own.
///
/// The compartments live in the layer: every service it makes, all their clones and all clones of the layer share them.
/// Make a new layer for separate ones. Each setting starts afresh with empty compartments, so finish the settings
/// before asking for a [`handle`](Self::handle).
#[derive(Clone)]
pub struct BulkheadLayer {
    compartments: Arc<Compartments>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// By class, in the order of [`OpClass::ALL`].
    pub(super) max: [u32; OpClass::ALL.len()],
    pub(super) queue: u32,
    pub(super) queue_timeout: Duration,
}

impl BulkheadLayer {
    /// How long a call waits in the queue unless told otherwise: 250 ms.
    pub const DEFAULT_QUEUE_TIMEOUT: Duration = Duration::from_millis(250);

    /// At most `max_concurrent` reads and as many writes at once.
    ///
    /// An eighth as many control operations (one at least), a queue as long as `max_concurrent` before each compartment,
    /// and [`DEFAULT_QUEUE_TIMEOUT`](Self::DEFAULT_QUEUE_TIMEOUT) in it, unless set otherwise. Every number of permits is
    /// taken as 1 when it is 0, and is 2³¹ - 1 at most.
    #[must_use]
    pub fn new(max_concurrent: u32) -> Self {
        let max = permits(max_concurrent);
        Self::with(Settings {
            max: [max, max, permits(max / 8)],
            queue: max,
            queue_timeout: Self::DEFAULT_QUEUE_TIMEOUT,
        })
    }

    /// At most so many reads at once.
    #[must_use]
    pub fn read(self, max_concurrent: u32) -> Self {
        self.class(OpClass::Read, max_concurrent)
    }

    /// At most so many writes at once.
    #[must_use]
    pub fn write(self, max_concurrent: u32) -> Self {
        self.class(OpClass::Write, max_concurrent)
    }

    /// At most so many control operations at once, of those that are limited at all (see the [module](super)).
    #[must_use]
    pub fn control(self, max_concurrent: u32) -> Self {
        self.class(OpClass::Control, max_concurrent)
    }

    /// At most so many may wait for each compartment; with 0, whoever finds it full is refused.
    #[must_use]
    pub fn queue(self, len: u32) -> Self {
        Self::with(Settings { queue: len.min(MAX), ..self.compartments.settings })
    }

    /// How long a call may wait in the queue. Zero means no queue, and `Duration::MAX` no limit.
    #[must_use]
    pub fn queue_timeout(self, timeout: Duration) -> Self {
        Self::with(Settings { queue_timeout: timeout, ..self.compartments.settings })
    }

    /// A view of the compartments while they are in use.
    #[must_use]
    pub fn handle(&self) -> BulkheadHandle {
        BulkheadHandle::new(Arc::clone(&self.compartments))
    }

    fn class(self, class: OpClass, max_concurrent: u32) -> Self {
        let mut settings = self.compartments.settings;
        settings.max[class as usize] = permits(max_concurrent);
        Self::with(settings)
    }

    fn with(settings: Settings) -> Self {
        Self { compartments: Arc::new(Compartments::new(settings)) }
    }
}

fn permits(max_concurrent: u32) -> u32 {
    max_concurrent.clamp(1, MAX)
}

impl<S> Layer<S> for BulkheadLayer {
    type Service = Bulkhead<S>;

    fn layer(&self, inner: S) -> Bulkhead<S> {
        Bulkhead::new(inner, Arc::clone(&self.compartments))
    }
}

impl Settings {
    /// The settings as fields of whoever has them.
    pub(super) fn debug<'a, 'b>(
        &self,
        out: &'a mut fmt::DebugStruct<'a, 'b>,
    ) -> &'a mut fmt::DebugStruct<'a, 'b> {
        let [read, write, control] = self.max;
        out.field("read", &read)
            .field("write", &write)
            .field("control", &control)
            .field("queue", &self.queue)
            .field("queue_timeout", &self.queue_timeout)
    }
}

impl fmt::Debug for BulkheadLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.compartments.settings.debug(&mut f.debug_struct("BulkheadLayer")).finish()
    }
}
