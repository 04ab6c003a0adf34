//! What a scripted call or readiness does, and after what wait.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Sleep;

use crate::entry::Entry;
use crate::error::CacheError;
use crate::local::FillToken;
use crate::response::CacheResponse;
use crate::testing::gate::{Gate, Passage};

/// What one call of a [`Leaf`](super::Leaf) does.
///
/// Without a wait it happens in the first poll of the call's future.
#[must_use]
pub struct Outcome<V> {
    pub(super) wait: Wait,
    pub(super) end: End<V>,
}

/// How a call ends.
pub(super) enum End<V> {
    Default,
    Answer(Result<CacheResponse<V>, CacheError>),
    Panic(&'static str),
    PanicInCall(&'static str),
}

impl<V> Outcome<V> {
    fn end(end: End<V>) -> Self {
        Self { wait: Wait::default(), end }
    }

    /// Answers as an empty store would: see [`Leaf`](super::Leaf).
    pub fn default_answer() -> Self {
        Self::end(End::Default)
    }

    /// Answers with this.
    pub fn ok(response: CacheResponse<V>) -> Self {
        Self::end(End::Answer(Ok(response)))
    }

    /// Answers with a hit.
    pub fn hit(value: impl Into<std::sync::Arc<V>>) -> Self {
        Self::ok(CacheResponse::Hit(Entry::new(value)))
    }

    /// Answers with a miss.
    pub fn miss() -> Self {
        Self::ok(CacheResponse::Miss(FillToken::UNFENCED))
    }

    /// Fails with this.
    pub fn err(error: CacheError) -> Self {
        Self::end(End::Answer(Err(error)))
    }

    /// Panics while the future is polled.
    pub fn panic(message: &'static str) -> Self {
        Self::end(End::Panic(message))
    }

    /// Panics inside `call`, before there is a future. Waits do not apply.
    pub fn panic_in_call(message: &'static str) -> Self {
        Self::end(End::PanicInCall(message))
    }

    /// Never ends; only dropping its future ends it.
    pub fn never() -> Self {
        let mut outcome = Self::default_answer();
        outcome.wait.never = true;
        outcome
    }

    /// The same, after `count` polls that are pending and wake at once.
    pub fn after_yields(mut self, count: u32) -> Self {
        self.wait.yields = count;
        self
    }

    /// The same, once the gate is open.
    pub fn after_gate(mut self, gate: &Gate) -> Self {
        self.wait.gate = Some(gate.clone());
        self
    }

    /// The same, after a delay on tokio's clock. With a gate or yields too, the delay begins after those.
    pub fn after(mut self, delay: Duration) -> Self {
        self.wait.delay = Some(delay);
        self
    }
}

impl<V> From<Result<CacheResponse<V>, CacheError>> for Outcome<V> {
    fn from(answer: Result<CacheResponse<V>, CacheError>) -> Self {
        Self::end(End::Answer(answer))
    }
}

impl<V> fmt::Debug for Outcome<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end: &dyn fmt::Debug = match &self.end {
            End::Default => &"default answer",
            End::Answer(Ok(_)) => &"response",
            End::Answer(Err(error)) => error,
            End::Panic(_) => &"panic",
            End::PanicInCall(_) => &"panic in call",
        };
        f.debug_struct("Outcome").field("wait", &self.wait).field("end", end).finish()
    }
}

/// How one clone of a [`Leaf`](super::Leaf) becomes ready for its next call.
#[derive(Debug)]
#[must_use]
pub struct Readiness {
    pub(super) wait: Wait,
    pub(super) end: Result<(), CacheError>,
}

impl Readiness {
    /// Ready when first asked.
    pub fn now() -> Self {
        Self { wait: Wait::default(), end: Ok(()) }
    }

    /// Fails: `poll_ready` answers with this error.
    pub fn err(error: CacheError) -> Self {
        Self { wait: Wait::default(), end: Err(error) }
    }

    /// Never ready.
    pub fn never() -> Self {
        let mut readiness = Self::now();
        readiness.wait.never = true;
        readiness
    }

    /// The same, after `count` polls that are pending and wake at once.
    pub fn after_yields(mut self, count: u32) -> Self {
        self.wait.yields = count;
        self
    }

    /// The same, once the gate is open.
    pub fn after_gate(mut self, gate: &Gate) -> Self {
        self.wait.gate = Some(gate.clone());
        self
    }

    /// The same, after a delay on tokio's clock.
    pub fn after(mut self, delay: Duration) -> Self {
        self.wait.delay = Some(delay);
        self
    }
}

/// What has to pass first: yields, then the gate, then the delay.
#[derive(Debug, Default)]
pub(super) struct Wait {
    yields: u32,
    gate: Option<Gate>,
    delay: Option<Duration>,
    never: bool,
}

/// A wait under way.
pub(super) struct Waiting {
    yields: u32,
    gate: Option<Passage>,
    delay: Option<Duration>,
    sleep: Option<Pin<Box<Sleep>>>,
    never: bool,
}

impl From<Wait> for Waiting {
    fn from(wait: Wait) -> Self {
        let Wait { yields, gate, delay, never } = wait;
        Self { yields, gate: gate.map(Passage::new), delay, sleep: None, never }
    }
}

impl Waiting {
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.yields > 0 {
            self.yields -= 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(passage) = &mut self.gate {
            ready!(passage.poll(cx));
            self.gate = None;
        }
        if let Some(delay) = self.delay.take() {
            self.sleep = Some(Box::pin(tokio::time::sleep(delay)));
        }
        if let Some(sleep) = &mut self.sleep {
            ready!(sleep.as_mut().poll(cx));
            self.sleep = None;
        }
        if self.never { Poll::Pending } else { Poll::Ready(()) }
    }
}

/// A panic without the panic hook: hundreds of planned ones would drown what a failing test has to say.
pub(super) fn planned_panic(message: &'static str) -> ! {
    std::panic::resume_unwind(Box::new(message.to_owned()))
}
