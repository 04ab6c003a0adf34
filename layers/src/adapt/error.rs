use std::error::Error;

use cachex_core::{CacheError, ErrorKind};
use tower::BoxError;
use tower::load_shed::error::Overloaded;
use tower::timeout::error::Elapsed;

/// What a foreign layer failed with, in the words of the cache.
#[cold]
pub(super) fn translate(error: impl Into<BoxError>) -> CacheError {
    let error = match error.into().downcast::<CacheError>() {
        Ok(error) => return *error,
        Err(error) => error,
    };
    if error.is::<Elapsed>() {
        return CacheError::rejection(ErrorKind::Timeout, None);
    }
    if error.is::<Overloaded>() {
        return CacheError::rejection(ErrorKind::BulkheadFull, None);
    }
    let Some(cause) = caused_by(&*error) else {
        return CacheError::with_source(ErrorKind::Foreign, "a foreign layer failed", error);
    };
    let (kind, retry, effect, op) = (cause.kind(), cause.retry(), cause.effect(), cause.op());
    let message = cause.message().to_owned();
    let outer = CacheError::with_source(kind, message, error).with_retry(retry).with_effect(effect);
    match op {
        Some(op) => outer.with_op(op),
        None => outer,
    }
}

/// A foreign error that is about an error of ours: a buffer's, when the service it runs has failed.
fn caused_by<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a CacheError> {
    std::iter::successors(error.source(), |&error: &&'a (dyn Error + 'static)| error.source())
        .find_map(|error| error.downcast_ref())
}
