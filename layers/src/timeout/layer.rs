use std::time::Duration;

use cachex_core::OpClass;
use tower_layer::Layer;

use super::service::Timeout;

/// Limits how long one attempt may take; see the [module documentation](crate::timeout).
///
/// Defaults to 250 ms for every class of operations. It holds no state: a clone, or a second layer with the same
/// settings, is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeoutLayer {
    limits: Limits,
}

/// A limit per class; `None` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    read: Option<Duration>,
    write: Option<Duration>,
    control: Option<Duration>,
}

impl Limits {
    #[inline]
    pub(super) fn of(&self, class: OpClass) -> Option<Duration> {
        match class {
            OpClass::Read => self.read,
            OpClass::Write => self.write,
            OpClass::Control => self.control,
        }
    }
}

impl TimeoutLayer {
    /// The limit of [`TimeoutLayer::default`], for every class: 250 ms.
    pub const DEFAULT_LIMIT: Duration = Duration::from_millis(250);

    /// One limit for every class of operations.
    ///
    /// Zero lets through only what is answered when it is first polled, as a store in memory does. A limit too large to
    /// be added to the current time is no limit.
    #[must_use]
    pub const fn new(limit: Duration) -> Self {
        Self { limits: Limits { read: Some(limit), write: Some(limit), control: Some(limit) } }
    }

    /// Another limit for one class of operations; `None` for no limit.
    #[must_use]
    pub fn class(mut self, class: OpClass, limit: impl Into<Option<Duration>>) -> Self {
        let slot = match class {
            OpClass::Read => &mut self.limits.read,
            OpClass::Write => &mut self.limits.write,
            OpClass::Control => &mut self.limits.control,
        };
        *slot = limit.into();
        self
    }

    /// Another limit for reads; `None` for no limit.
    #[must_use]
    pub fn read(self, limit: impl Into<Option<Duration>>) -> Self {
        self.class(OpClass::Read, limit)
    }

    /// Another limit for writes; `None` for no limit.
    #[must_use]
    pub fn write(self, limit: impl Into<Option<Duration>>) -> Self {
        self.class(OpClass::Write, limit)
    }

    /// Another limit for control operations: locks, invalidation messages, ping and close; `None` for no limit.
    ///
    /// Of a subscription only the subscribing is limited, never the stream of messages.
    #[must_use]
    pub fn control(self, limit: impl Into<Option<Duration>>) -> Self {
        self.class(OpClass::Control, limit)
    }
}

impl Default for TimeoutLayer {
    fn default() -> Self {
        Self::new(Self::DEFAULT_LIMIT)
    }
}

impl<S> Layer<S> for TimeoutLayer {
    type Service = Timeout<S>;

    fn layer(&self, inner: S) -> Timeout<S> {
        Timeout::new(inner, self.limits)
    }
}
