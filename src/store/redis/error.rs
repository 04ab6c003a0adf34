//! What the driver and the server say, as a [`CacheError`].
//!
//! Messages are this module's own words: a server may repeat parts of a command in its errors, keys included. What it
//! said is kept as the source.

use cachex_core::{CacheError, Effect, ErrorKind, Retry};
use deadpool_redis::{HookError, PoolError};
use redis::{RedisError, ServerError};

/// A request failed on an established connection.
pub(super) fn from_driver(error: RedisError) -> CacheError {
    if let Some(errors) = error.clone().into_server_errors()
        && let Some((_, first)) = errors.first()
    {
        return from_server(first);
    }
    match error.kind() {
        // The driver does not tell whether the bytes went out; it starts the clock before it queues them.
        redis::ErrorKind::Io if error.is_timeout() => CacheError::with_source(
            ErrorKind::Timeout,
            "the server did not answer within the response timeout",
            error,
        ),
        redis::ErrorKind::Io => {
            CacheError::with_source(ErrorKind::Connection, "the connection to the server was lost", error)
        }
        redis::ErrorKind::AuthenticationFailed => {
            CacheError::with_source(ErrorKind::Auth, "the server refused the credentials", error)
        }
        redis::ErrorKind::Parse => CacheError::with_source(
            ErrorKind::Connection,
            "the server sent what is not the Redis protocol",
            error,
        ),
        redis::ErrorKind::Client | redis::ErrorKind::InvalidClientConfig => {
            CacheError::with_source(ErrorKind::InvalidInput, "the driver refused the command", error)
                .with_effect(Effect::None)
        }
        _ => CacheError::with_source(ErrorKind::Server, "the driver failed", error),
    }
}

/// The server answered with an error.
pub(super) fn from_server(error: &ServerError) -> CacheError {
    let (kind, message) = classify(error.code(), error.details().unwrap_or_default());
    CacheError::with_source(kind, message, error.clone())
}

/// The server answered with something no documented reply of the command looks like.
pub(super) fn unexpected_reply() -> CacheError {
    CacheError::new(ErrorKind::Server, "the server answered with an unexpected type of reply")
}

/// No connection could be made: nothing of the request was sent.
pub(super) fn from_connecting(error: PoolError) -> CacheError {
    let error = match error {
        PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => {
            if error.is_connection_refusal() {
                CacheError::with_source(ErrorKind::Connection, "the server refused the connection", error)
            } else if error.is_timeout() {
                connect_timeout()
            } else if error.is_io_error() || is_tls(&error) {
                CacheError::with_source(ErrorKind::Connection, "the connection could not be made", error)
            } else if is_no_address(&error) {
                CacheError::with_source(ErrorKind::Connection, "the server's name has no address", error)
            } else {
                from_driver(error)
            }
        }
        PoolError::Timeout(_) => connect_timeout(),
        PoolError::Closed => closed(),
        other => CacheError::with_source(ErrorKind::Internal, "the connection pool failed", other),
    };
    error.with_effect(Effect::None)
}

/// As [`from_connecting`], for a connection that is not the pool's.
pub(super) fn from_opening(error: RedisError) -> CacheError {
    from_connecting(PoolError::Backend(error))
}

/// The answer to a request did not come in time.
pub(super) fn response_timeout() -> CacheError {
    from_driver(std::io::Error::from(std::io::ErrorKind::TimedOut).into())
}

/// The task that served a connection went down with its runtime.
pub(super) fn driver_gone() -> CacheError {
    CacheError::new(ErrorKind::Connection, "the runtime that served the connection was shut down")
}

/// The task that keeps a subscription went down with its runtime.
pub(super) fn link_gone() -> CacheError {
    CacheError::new(ErrorKind::Connection, "the runtime that kept the subscription was shut down")
        .with_effect(Effect::None)
}

pub(super) fn connect_timeout() -> CacheError {
    CacheError::new(ErrorKind::Timeout, "no connection to the server within the connect timeout")
        .with_effect(Effect::None)
}

pub(super) fn closed() -> CacheError {
    CacheError::new(ErrorKind::Closed, "the store is closed")
}

/// The answer of a server that turned out to be a node of a cluster, to a store that knows nothing of the others: what it
/// would take, and no advice to ask the same server for a slot that is not there.
pub(super) fn from_lone_server(error: CacheError) -> CacheError {
    let (retry, message) = match error.kind() {
        ErrorKind::Moved => (
            Retry::Never,
            "the key is on another node: this server is part of a cluster, use builder().cluster",
        ),
        ErrorKind::CrossSlot => (
            Retry::Never,
            "the keys are in different slots: this server is part of a cluster, use builder().cluster",
        ),
        ErrorKind::TryAgain => (
            error.retry(),
            "the keys are on the move to another node: this server is part of a cluster, use builder().cluster",
        ),
        ErrorKind::ClusterDown => (
            error.retry(),
            "the cluster does not serve all slots; this server is part of one, use builder().cluster",
        ),
        _ => return error,
    };
    CacheError::with_source(error.kind(), message, error).with_retry(retry)
}

/// Whether the connection itself is past use, whatever the command was.
pub(super) fn breaks_connection(error: &RedisError) -> bool {
    match error.kind() {
        redis::ErrorKind::Io => !error.is_timeout(),
        _ => error.is_unrecoverable_error(),
    }
}

/// Whether the connection works, but leads to a server that is no longer the right one.
pub(super) fn leads_astray(error: &ServerError) -> bool {
    matches!(error.code(), "READONLY" | "MASTERDOWN")
}

/// Whether a client that was answered this when it logged in is connected all the same: each request hears for itself,
/// and the first one after that is served.
pub(super) fn leaves_connected(refusal: &ServerError) -> bool {
    matches!(
        from_server(refusal).kind(),
        ErrorKind::Loading | ErrorKind::Busy | ErrorKind::MasterDown | ErrorKind::PermissionDenied
    )
}

/// Whether the user may not run the command.
pub(super) fn is_denied(refusal: &ServerError) -> bool {
    refusal.code() == "NOPERM"
}

/// rustls reports certificates it does not trust as an error of the client.
fn is_tls(error: &RedisError) -> bool {
    error.kind() == redis::ErrorKind::Client && std::error::Error::source(error).is_some()
}

fn is_no_address(error: &RedisError) -> bool {
    error.kind() == redis::ErrorKind::InvalidClientConfig
}

/// The table of server errors. The driver names only some of the codes, so all are matched as text.
fn classify(code: &str, detail: &str) -> (ErrorKind, &'static str) {
    match code {
        "LOADING" => (ErrorKind::Loading, "the server is loading its data set"),
        "BUSY" => (ErrorKind::Busy, "the server is busy with a script"),
        "OOM" => (ErrorKind::OutOfMemory, "the server is out of memory and refuses writes"),
        "READONLY" => (ErrorKind::ReadOnly, "the server is a read-only replica"),
        "MASTERDOWN" => (ErrorKind::MasterDown, "the replica lost its master and may not serve stale data"),
        "NOREPLICAS" => (ErrorKind::WriteRefused, "the server has too few replicas and refuses writes"),
        "MISCONF" => (ErrorKind::WriteRefused, "the server cannot persist its data and refuses writes"),
        "NOAUTH" => (ErrorKind::Auth, "the server asks for credentials and none were given"),
        "WRONGPASS" => (ErrorKind::Auth, "the server refused the user name or the password"),
        "NOPERM" => (
            ErrorKind::PermissionDenied,
            "the user may not run this command, or not with this key or channel",
        ),
        "MOVED" => (ErrorKind::Moved, "the slot lives on another node"),
        "ASK" => (ErrorKind::Moved, "the slot is on its way to another node"),
        "TRYAGAIN" => (ErrorKind::TryAgain, "the slot is being moved, and the keys are split over two nodes"),
        "CLUSTERDOWN" => (ErrorKind::ClusterDown, "the cluster does not serve all slots"),
        "CROSSSLOT" => (ErrorKind::CrossSlot, "the keys of one command live in different slots"),
        "NOSCRIPT" => (ErrorKind::NoScript, "the script is not in the server's cache"),
        "WRONGTYPE" => (ErrorKind::WrongType, "the key holds another type of value"),
        "ERR" => classify_generic(detail),
        _ => (ErrorKind::Server, "the server answered with an error"),
    }
}

/// `ERR` is the code of everything without one: only the text tells.
fn classify_generic(detail: &str) -> (ErrorKind, &'static str) {
    const TEXTS: [(&str, ErrorKind, &str); 6] = [
        ("max number of clients", ErrorKind::TooManyClients, "the server accepts no more clients"),
        ("value is not an integer", ErrorKind::WrongType, "the key does not hold a counter"),
        ("would overflow", ErrorKind::Overflow, "the counter would leave the range of 64 bits"),
        ("DB index is out of range", ErrorKind::InvalidInput, "the server has no such database"),
        ("invalid expire time", ErrorKind::InvalidTtl, "the server refused the ttl"),
        ("AUTH", ErrorKind::Auth, "the server refused the credentials"),
    ];
    TEXTS
        .iter()
        .find(|(text, ..)| detail.contains(text))
        .map_or((ErrorKind::Server, "the server answered with an error"), |&(_, kind, message)| {
            (kind, message)
        })
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use redis::{Value, parse_redis_value};

    use super::*;

    fn of(line: &str) -> CacheError {
        match parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap() {
            Value::ServerError(error) => from_server(&error),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_row_of_the_table() {
        let rows = [
            ("LOADING Redis is loading the dataset in memory", ErrorKind::Loading),
            ("BUSY Redis is busy running a script", ErrorKind::Busy),
            ("OOM command not allowed when used memory > 'maxmemory'.", ErrorKind::OutOfMemory),
            ("READONLY You can't write against a read only replica.", ErrorKind::ReadOnly),
            ("MASTERDOWN Link with MASTER is down", ErrorKind::MasterDown),
            ("NOREPLICAS Not enough good replicas to write.", ErrorKind::WriteRefused),
            ("MISCONF Redis is configured to save RDB snapshots", ErrorKind::WriteRefused),
            ("NOAUTH Authentication required.", ErrorKind::Auth),
            ("WRONGPASS invalid username-password pair or user is disabled.", ErrorKind::Auth),
            ("ERR AUTH <password> called without any password configured", ErrorKind::Auth),
            ("NOPERM this user has no permissions to run the 'get' command", ErrorKind::PermissionDenied),
            ("MOVED 3999 127.0.0.1:6381", ErrorKind::Moved),
            ("ASK 3999 127.0.0.1:6381", ErrorKind::Moved),
            ("TRYAGAIN Multiple keys request during rehashing of slot", ErrorKind::TryAgain),
            ("CLUSTERDOWN Hash slot not served", ErrorKind::ClusterDown),
            ("CROSSSLOT Keys in request don't hash to the same slot", ErrorKind::CrossSlot),
            ("NOSCRIPT No matching script. Please use EVAL.", ErrorKind::NoScript),
            ("WRONGTYPE Operation against a key holding the wrong kind of value", ErrorKind::WrongType),
            ("ERR value is not an integer or out of range", ErrorKind::WrongType),
            ("ERR increment or decrement would overflow", ErrorKind::Overflow),
            ("ERR max number of clients reached", ErrorKind::TooManyClients),
            ("ERR DB index is out of range", ErrorKind::InvalidInput),
            ("ERR something new", ErrorKind::Server),
            ("EXTENSION of a module", ErrorKind::Server),
        ];
        for (line, kind) in rows {
            let error = of(line);
            assert_eq!(error.kind(), kind, "{line}");
            assert!(error.source().is_some(), "{line}");
        }
    }

    #[test]
    fn a_message_repeats_nothing_the_server_said() {
        let error = of("ERR unknown command 'FOO', with args beginning with: 'user:42'");
        assert!(!error.to_string().contains("user:42"), "{error}");
        assert!(error.source().unwrap().to_string().contains("user:42"));
    }

    #[test]
    fn timeouts_and_losses_may_have_taken_effect() {
        for (io, kind) in [
            (std::io::ErrorKind::TimedOut, ErrorKind::Timeout),
            (std::io::ErrorKind::BrokenPipe, ErrorKind::Connection),
            (std::io::ErrorKind::ConnectionReset, ErrorKind::Connection),
            (std::io::ErrorKind::UnexpectedEof, ErrorKind::Connection),
        ] {
            let error = from_driver(std::io::Error::from(io).into());
            assert_eq!((error.kind(), error.effect()), (kind, Effect::Unknown));
            assert_eq!(error.retry(), Retry::Now);
        }
    }

    #[test]
    fn what_failed_before_a_connection_had_no_effect() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let error = from_connecting(PoolError::Backend(refused.into()));
        assert_eq!((error.kind(), error.effect()), (ErrorKind::Connection, Effect::None));
        assert_eq!(connect_timeout().effect(), Effect::None);
    }
}
