//! Whether a server is a primary, in its own words.

use cachex_core::{CacheError, Effect, ErrorKind};
use redis::aio::MultiplexedConnection;
use redis::{Cmd, FromRedisValue, ServerError, Value};

use crate::store::redis::error;

/// # Errors
///
/// When it is none, or does not say. Nothing of any request was sent.
pub(super) async fn check_primary(connection: &mut MultiplexedConnection) -> Result<(), CacheError> {
    let role = match ask(connection, &redis::cmd("ROLE")).await? {
        Ok(role) => first_text(role),
        // ROLE counts as dangerous, and users are often denied what does. HELLO tells the role by the way.
        Err(refusal) if error::is_denied(&refusal) => match ask(connection, &redis::cmd("HELLO")).await? {
            Ok(greeting) => text_after("role", greeting),
            Err(refusal) => return Err(error::from_server(&refusal).with_effect(Effect::None)),
        },
        Err(refusal) => return Err(error::from_server(&refusal).with_effect(Effect::None)),
    };
    if role.as_deref() == Some("master") {
        return Ok(());
    }
    let message = "the server that the sentinels name is not a primary";
    Err(CacheError::new(ErrorKind::Connection, message).with_effect(Effect::None))
}

/// Whether this reply to ROLE is a primary's.
pub(super) fn is_primary(role: Value) -> bool {
    first_text(role).as_deref() == Some("master")
}

async fn ask(
    connection: &mut MultiplexedConnection,
    command: &Cmd,
) -> Result<Result<Value, ServerError>, CacheError> {
    match connection.send_packed_command(command).await {
        Ok(Value::ServerError(refusal)) => Ok(Err(refusal)),
        Ok(reply) => Ok(Ok(reply)),
        Err(failure) => Err(error::from_driver(failure).with_effect(Effect::None)),
    }
}

fn first_text(reply: Value) -> Option<String> {
    match reply {
        Value::Array(items) => items.into_iter().next().and_then(text),
        _ => None,
    }
}

/// The value of a field in a reply that has names and values by turns.
fn text_after(name: &str, reply: Value) -> Option<String> {
    let Value::Array(items) = reply else { return None };
    let mut items = items.into_iter();
    while let (Some(field), Some(value)) = (items.next(), items.next()) {
        if text(field).as_deref() == Some(name) {
            return text(value);
        }
    }
    None
}

fn text(value: Value) -> Option<String> {
    String::from_redis_value(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn roles_are_read() {
        let role = Value::Array(vec![bulk("slave"), bulk("127.0.0.1"), Value::Int(1)]);
        assert_eq!(first_text(role).as_deref(), Some("slave"));
        let hello =
            Value::Array(vec![bulk("proto"), Value::Int(2), bulk("role"), bulk("master"), bulk("odd")]);
        assert_eq!(text_after("role", hello).as_deref(), Some("master"));
        assert_eq!(text_after("role", Value::Okay), None);
        assert_eq!(first_text(Value::Array(Vec::new())), None);
    }
}
