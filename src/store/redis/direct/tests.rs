//! Replies, readers and places, without a server.

mod pipe;
mod pipes;
mod places;
mod reader;
mod resp;

use bytes::BytesMut;
use cachex_core::Key;
use redis::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::resp::{Reply, Stale};

fn key(name: impl AsRef<str>) -> Key {
    Key::new(name).unwrap()
}

/// A value or nothing, as the server writes it.
fn bulk(value: Option<&[u8]>) -> Vec<u8> {
    match value {
        Some(bytes) => [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat(),
        None => b"$-1\r\n".to_vec(),
    }
}

fn array<T: AsRef<[u8]>>(elements: &[T]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", elements.len()).into_bytes();
    elements.iter().for_each(|element| bytes.extend_from_slice(element.as_ref()));
    bytes
}

/// What [`answering`] has under a key.
fn value_of(key: &str) -> Option<Vec<u8>> {
    match key.split_once(':') {
        Some(("none", _)) => None,
        Some(("empty", _)) => Some(Vec::new()),
        Some(("large", _)) => Some(key.as_bytes().repeat(60_000 / key.len())),
        Some(("huge", size)) => Some(vec![b'h'; 100_000 * size.parse::<usize>().unwrap()]),
        _ => Some(format!("the value of {key}").into_bytes()),
    }
}

/// Answers reads of [`value_of`] keys, in order, until the other side closes.
async fn answering(mut stream: DuplexStream) {
    let mut input = BytesMut::new();
    loop {
        let mut rest = input.clone();
        let mut request = Stale::default();
        request.add(Reply::ONE);
        if request.skip(&mut rest).unwrap().is_none() {
            let whole = input.split_to(input.len() - rest.len());
            let Value::Array(words) = redis::parse_redis_value(&whole).unwrap() else { panic!("{whole:?}") };
            let words: Vec<String> =
                words.into_iter().map(|word| redis::from_redis_value(word).unwrap()).collect();
            let values: Vec<_> = words[1..].iter().map(|key| bulk(value_of(key).as_deref())).collect();
            let answer = match words[0].as_str() {
                "GET" => values.concat(),
                "MGET" => array(&values),
                other => panic!("{other}"),
            };
            if stream.write_all(&answer).await.is_err() {
                return;
            }
        } else if !matches!(stream.read_buf(&mut input).await, Ok(1..)) {
            return;
        }
    }
}
