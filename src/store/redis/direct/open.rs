//! How a connection for direct reads is made: a socket, and the words every connection begins with.

use std::io;

use bytes::BytesMut;
use redis::{Cmd, RedisError, RedisResult, ServerError, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Socket;
use super::resp;

/// Says `commands`, in one write, and answers with what the server says to each.
pub(in super::super) async fn say(
    socket: &mut Box<dyn Socket>,
    commands: &[&Cmd],
) -> RedisResult<Vec<Value>> {
    let mut output = Vec::new();
    commands.iter().for_each(|command| command.write_packed_command(&mut output));
    socket.write_all(&output).await?;
    socket.flush().await?;
    let (mut input, mut replies) = (BytesMut::new(), Vec::with_capacity(commands.len()));
    while replies.len() < commands.len() {
        if let Some(end) = whole_reply(&input)? {
            replies.push(redis::parse_redis_value(&input.split_to(end))?);
        } else if socket.read_buf(&mut input).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
    Ok(replies)
}

/// Where the first reply in `input` ends, if all of it is there.
fn whole_reply(input: &BytesMut) -> RedisResult<Option<usize>> {
    let mut rest = input.clone();
    let mut reply = resp::Stale::default();
    reply.add(resp::Reply::ONE);
    let missing = reply.skip(&mut rest).map_err(malformed)?;
    Ok(missing.is_none().then(|| input.len() - rest.len()))
}

/// The refusal that a line is.
pub(super) fn refusal(line: &[u8]) -> RedisResult<ServerError> {
    match redis::parse_redis_value(line)? {
        Value::ServerError(refusal) => Ok(refusal),
        _ => Err(malformed(resp::Malformed)),
    }
}

pub(super) fn malformed(_: resp::Malformed) -> RedisError {
    (redis::ErrorKind::Parse, "not what a server answers to a read").into()
}
