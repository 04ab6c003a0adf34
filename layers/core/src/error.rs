//! The one error every service in a stack uses.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use crate::request::Op;

/// What went wrong, as one word. More kinds may come: match with a wildcard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    // What the caller got wrong.
    /// A key is empty, too long, or holds a control character.
    InvalidKey,
    /// A tag is empty, too long, or one of too many.
    InvalidTag,
    /// A time to live is zero or out of range.
    InvalidTtl,
    /// Another argument or setting is out of range.
    InvalidInput,
    /// A value, batch or stored payload is larger than allowed.
    TooLarge,
    /// The store or stack cannot serve this operation at all.
    Unsupported,
    /// The handle or store was closed.
    Closed,

    // What a layer refused.
    /// A rate limit had no permit left.
    RateLimited,
    /// A bulkhead's compartment and its queue were full, or the queue deadline passed.
    BulkheadFull,
    /// A circuit breaker is open.
    CircuitOpen,
    /// A queue within the stack was full: more was asked for than goes through.
    Overloaded,
    /// A time limit passed.
    Timeout,

    // The way to the server, and the server's state.
    /// The connection could not be made, or was lost.
    Connection,
    /// The server is loading its data set.
    Loading,
    /// The server is busy with a script.
    Busy,
    /// The server is out of memory and refuses writes.
    OutOfMemory,
    /// The server is a read-only replica.
    ReadOnly,
    /// A replica lost its master and may not serve stale data.
    MasterDown,
    /// A write has too few replicas, or persistence failed, and the server refuses it.
    WriteRefused,
    /// Credentials are missing or wrong.
    Auth,
    /// The user may not run this command or touch this key.
    PermissionDenied,
    /// The server accepts no more clients.
    TooManyClients,
    /// The slot lives on another node.
    Moved,
    /// The slot is being moved, and some keys are here, some there.
    TryAgain,
    /// The cluster does not serve all slots.
    ClusterDown,
    /// The keys of one command live in different slots.
    CrossSlot,
    /// A script is not in the server's cache.
    NoScript,
    /// The key holds another type of value.
    WrongType,
    /// An increment would leave the range of `i64`.
    Overflow,
    /// Any other error the server answered with.
    Server,

    // What is stored, and how it is read.
    /// A value could not be encoded.
    Encode,
    /// Stored bytes could not be decoded.
    Decode,
    /// Stored bytes are of a format version this build does not read.
    UnknownVersion,
    /// Stored bytes were written for another shape of the type, or by another codec.
    SchemaMismatch,
    /// Stored bytes failed authentication: altered, moved to another key, or sealed with an unknown key.
    Decrypt,

    // The caller's own code, run by the cache.
    /// A loader or writer returned an error; it is the source.
    Loader,
    /// A loader or writer panicked.
    LoaderPanicked,

    /// Someone else held a lock for as long as the caller would wait.
    LockHeld,
    /// A lock is not held, or no longer.
    LockLost,
    /// A layer from outside cachex failed; its error is the source.
    Foreign,
    /// A broken invariant: a bug in cachex or in a custom service.
    Internal,
}

impl ErrorKind {
    /// The kind as a metric label: `snake_case`, stable.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidKey => "invalid_key",
            Self::InvalidTag => "invalid_tag",
            Self::InvalidTtl => "invalid_ttl",
            Self::InvalidInput => "invalid_input",
            Self::TooLarge => "too_large",
            Self::Unsupported => "unsupported",
            Self::Closed => "closed",
            Self::RateLimited => "rate_limited",
            Self::BulkheadFull => "bulkhead_full",
            Self::CircuitOpen => "circuit_open",
            Self::Overloaded => "overloaded",
            Self::Timeout => "timeout",
            Self::Connection => "connection",
            Self::Loading => "loading",
            Self::Busy => "busy",
            Self::OutOfMemory => "out_of_memory",
            Self::ReadOnly => "read_only",
            Self::MasterDown => "master_down",
            Self::WriteRefused => "write_refused",
            Self::Auth => "auth",
            Self::PermissionDenied => "permission_denied",
            Self::TooManyClients => "too_many_clients",
            Self::Moved => "moved",
            Self::TryAgain => "try_again",
            Self::ClusterDown => "cluster_down",
            Self::CrossSlot => "cross_slot",
            Self::NoScript => "no_script",
            Self::WrongType => "wrong_type",
            Self::Overflow => "overflow",
            Self::Server => "server",
            Self::Encode => "encode",
            Self::Decode => "decode",
            Self::UnknownVersion => "unknown_version",
            Self::SchemaMismatch => "schema_mismatch",
            Self::Decrypt => "decrypt",
            Self::Loader => "loader",
            Self::LoaderPanicked => "loader_panicked",
            Self::LockHeld => "lock_held",
            Self::LockLost => "lock_lost",
            Self::Foreign => "foreign",
            Self::Internal => "internal",
        }
    }

    /// Whether a layer refused the request before it reached a store.
    #[must_use]
    pub fn is_rejection(self) -> bool {
        matches!(self, Self::RateLimited | Self::BulkheadFull | Self::CircuitOpen | Self::Overloaded)
    }

    /// Whether the store (or the way to it) is at fault, rather than the request, a refusal or what was stored.
    /// A circuit breaker counts these.
    #[must_use]
    pub fn is_store_failure(self) -> bool {
        matches!(
            self,
            Self::Timeout
                | Self::Connection
                | Self::Loading
                | Self::Busy
                | Self::OutOfMemory
                | Self::ReadOnly
                | Self::MasterDown
                | Self::WriteRefused
                | Self::Auth
                | Self::TooManyClients
                | Self::ClusterDown
                | Self::Server
                | Self::Foreign
        )
    }

    /// What a retry is worth where the source of the error said nothing of its own.
    fn default_retry(self) -> Retry {
        match self {
            Self::Timeout | Self::Connection | Self::Moved | Self::NoScript | Self::ReadOnly => Retry::Now,
            Self::Busy | Self::TryAgain => Retry::After(Duration::from_millis(10)),
            Self::Loading
            | Self::MasterDown
            | Self::ClusterDown
            | Self::TooManyClients
            | Self::BulkheadFull
            | Self::Overloaded => Retry::After(Duration::from_millis(100)),
            Self::RateLimited => Retry::After(Duration::from_secs(1)),
            _ => Retry::Never,
        }
    }

    /// Whether the operation may have taken effect although it failed.
    fn default_effect(self) -> Effect {
        match self {
            Self::Timeout
            | Self::Connection
            | Self::Foreign
            | Self::Internal
            | Self::Server
            | Self::LoaderPanicked => Effect::Unknown,
            _ => Effect::None,
        }
    }

    fn describe(self) -> &'static str {
        match self {
            Self::RateLimited => "rate limit exceeded",
            Self::BulkheadFull => "bulkhead is full",
            Self::CircuitOpen => "circuit breaker is open",
            Self::Overloaded => "too many wait for the store",
            Self::Timeout => "timed out",
            Self::Closed => "the cache is closed",
            other => other.as_str(),
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether trying the same request again may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It will not, or someone has tried enough already.
    Never,
    /// It may, as soon as the caller's backoff allows.
    Now,
    /// It may, but not before this much time has passed.
    After(Duration),
}

/// What a failed request has done to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: it was refused, or never sent.
    None,
    /// Possibly everything: its bytes may have been sent and the answer is not known.
    Unknown,
}

/// Why a cache operation failed.
///
/// One word wide and cheap to clone. Refusals ([`CacheError::rejection`]) allocate nothing. [`Error::source`] leads to
/// the underlying error where there is one. Messages never contain keys' text or values.
#[derive(Clone)]
pub struct CacheError(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    retry: Retry,
    effect: Effect,
    retry_after: Option<Duration>,
    attempts: Option<u32>,
    op: Option<Op>,
    message: Cow<'static, str>,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl CacheError {
    /// An error of this kind with a message, which must not contain a key's text or a value.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Arc::new(Inner::new(kind, message.into())))
    }

    /// An error of this kind that was caused by another.
    pub fn with_source(
        kind: ErrorKind,
        message: impl Into<Cow<'static, str>>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        let mut inner = Inner::new(kind, message.into());
        inner.source = Some(Arc::from(source.into()));
        Self(Arc::new(inner))
    }

    /// A refusal by a layer, without allocating: a shared error per kind and delay.
    ///
    /// `retry_after` is rounded up to the next of about forty steps between 1 ms and 17 minutes. An open breaker says
    /// [`Retry::Never`], since retrying is what it is there to stop; [`CacheError::retry_after`] still tells when it may
    /// close.
    #[must_use]
    pub fn rejection(kind: ErrorKind, retry_after: Option<Duration>) -> Self {
        static STEPS: LazyLock<[Vec<CacheError>; SHARED_KINDS.len()]> = LazyLock::new(|| {
            SHARED_KINDS.map(|kind| {
                let none = CacheError::new(kind, kind.describe());
                let steps = (0..STEP_COUNT).map(|step| {
                    let delay = step_delay(step);
                    let mut inner = Inner::new(kind, kind.describe().into());
                    inner.retry_after = Some(delay);
                    if inner.retry != Retry::Never {
                        inner.retry = Retry::After(delay);
                    }
                    CacheError(Arc::new(inner))
                });
                std::iter::once(none).chain(steps).collect()
            })
        });
        let Some(row) = SHARED_KINDS.iter().position(|&shared| shared == kind) else {
            return Self::new(kind, kind.describe());
        };
        let column = retry_after.map_or(0, |delay| 1 + step_of(delay));
        STEPS[row][column].clone()
    }

    /// The store cannot serve this operation.
    #[must_use]
    pub fn unsupported(op: Op, store: &'static str) -> Self {
        Self::new(ErrorKind::Unsupported, format!("{store} does not support {op}")).with_op(op)
    }

    /// A service answered with a response that does not belong to the request.
    #[must_use]
    pub fn unexpected_response(op: Op) -> Self {
        Self::new(ErrorKind::Internal, format!("a service answered {op} with another operation's response"))
            .with_op(op)
    }

    /// The same error, naming the operation it befell.
    #[must_use]
    pub fn with_op(self, op: Op) -> Self {
        self.change(|inner| inner.op = Some(op))
    }

    /// The same error, with another advice on retrying.
    #[must_use]
    pub fn with_retry(self, retry: Retry) -> Self {
        self.change(|inner| {
            inner.retry = retry;
            if let Retry::After(delay) = retry {
                inner.retry_after = Some(delay);
            }
        })
    }

    /// The same error, with what is known of its effect on the store.
    #[must_use]
    pub fn with_effect(self, effect: Effect) -> Self {
        self.change(|inner| inner.effect = effect)
    }

    /// The same error after `attempts` attempts: [`CacheError::retry`] is `Never` from here on, so that an outer retry
    /// does not multiply the attempts.
    #[must_use]
    pub fn exhausted(self, attempts: u32) -> Self {
        self.change(|inner| {
            inner.attempts = Some(attempts);
            inner.retry = Retry::Never;
        })
    }

    fn change(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether trying again may help.
    #[must_use]
    pub fn retry(&self) -> Retry {
        self.0.retry
    }

    /// When the refusing side expects to accept requests again, if it said so.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// What the request may have done to the store in spite of the error.
    #[must_use]
    pub fn effect(&self) -> Effect {
        self.0.effect
    }

    /// How many attempts were made, when a retry layer gave up on the request.
    #[must_use]
    pub fn attempts(&self) -> Option<u32> {
        self.0.attempts
    }

    /// The operation that failed, if known.
    #[must_use]
    pub fn op(&self) -> Option<Op> {
        self.0.op
    }

    /// What happened, in words, without the source and without any key or value.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }
}

impl Inner {
    fn new(kind: ErrorKind, message: Cow<'static, str>) -> Self {
        let retry = kind.default_retry();
        let effect = kind.default_effect();
        Self { kind, retry, effect, retry_after: None, attempts: None, op: None, message, source: None }
    }
}

impl fmt::Display for CacheError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        if let Some(op) = inner.op {
            write!(f, "{op}: ")?;
        }
        f.write_str(&inner.message)?;
        if let Some(attempts) = inner.attempts {
            write!(f, " (after {attempts} attempts)")?;
        }
        Ok(())
    }
}

impl fmt::Debug for CacheError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        let mut out = f.debug_struct("CacheError");
        out.field("kind", &inner.kind).field("message", &inner.message);
        if let Some(op) = inner.op {
            out.field("op", &op);
        }
        if let Some(source) = &inner.source {
            out.field("source", source);
        }
        out.field("retry", &inner.retry).field("effect", &inner.effect).finish()
    }
}

impl Error for CacheError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

/// The kinds of which rejections are made once and shared.
const SHARED_KINDS: [ErrorKind; 5] = [
    ErrorKind::RateLimited,
    ErrorKind::BulkheadFull,
    ErrorKind::CircuitOpen,
    ErrorKind::Overloaded,
    ErrorKind::Timeout,
];

const STEP_COUNT: usize = 41;

/// Steps of the square root of two: 1 ms, 1.41 ms, 2 ms … 17.5 minutes.
fn step_delay(step: usize) -> Duration {
    let whole = Duration::from_micros(1000 << (step / 2));
    if step.is_multiple_of(2) { whole } else { whole.mul_f64(std::f64::consts::SQRT_2) }
}

fn step_of(delay: Duration) -> usize {
    let millis = delay.as_secs_f64() * 1000.0;
    if millis <= 1.0 {
        return 0;
    }
    let step = (millis.log2() * 2.0).ceil();
    // Rounding of the logarithm may fall one short of the delay.
    let step = (step as usize).min(STEP_COUNT - 1);
    if step_delay(step) < delay { (step + 1).min(STEP_COUNT - 1) } else { step }
}

#[cfg(test)]
mod tests;
