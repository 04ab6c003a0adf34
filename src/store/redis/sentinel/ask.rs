//! A conversation with one sentinel.

use std::collections::HashMap;
use std::time::Duration;

use cachex_core::{CacheError, Effect, ErrorKind};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, FromRedisValue, Pipeline, PushInfo, Value};
use tokio::sync::mpsc::UnboundedSender;

use super::{Answer, Sentinels};
use crate::store::redis::address::Endpoint;
use crate::store::redis::credentials::hello;
use crate::store::redis::error;

impl Sentinels {
    /// Connects to a sentinel and asks it.
    pub(super) async fn ask_once(&self, node: &Endpoint, limit: Duration) -> Result<Answer, CacheError> {
        let asked = async {
            let mut connection = self.dial(node, limit, None).await?;
            self.ask(&mut connection).await
        };
        tokio::time::timeout(limit, asked).await.unwrap_or_else(|_| Err(silent()))
    }

    /// Connects to a sentinel, whose messages go to `pushes`.
    pub(super) async fn dial(
        &self,
        node: &Endpoint,
        limit: Duration,
        pushes: Option<UnboundedSender<PushInfo>>,
    ) -> Result<MultiplexedConnection, CacheError> {
        // RESP3: messages and answers on one connection.
        let login = hello(self.credentials.as_ref());
        let mut config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(limit))
            .set_response_timeout(Some(limit));
        if let Some(pushes) = pushes {
            config = config.set_push_sender(pushes);
        }
        let client =
            Client::open(self.transport.info(node)?.set_redis_settings(login)).map_err(error::from_driver)?;
        client.get_multiplexed_async_connection_with_config(&config).await.map_err(|failure| {
            let error = error::from_driver(failure);
            match error.kind() {
                ErrorKind::Auth => refused(error),
                kind => CacheError::with_source(kind, "a sentinel could not be reached", error),
            }
        })
    }

    /// Who the primary is, and since when.
    pub(super) async fn ask(&self, connection: &mut MultiplexedConnection) -> Result<Answer, CacheError> {
        let mut questions = Pipeline::with_capacity(2);
        // During a failover this names the new primary first, ...
        questions.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(&self.master);
        // ... and this alone knows the epoch.
        questions.cmd("SENTINEL").arg("MASTER").arg(&self.master);
        let replies = connection.send_packed_commands(&questions, 0, 2).await.map_err(|failure| {
            let error = error::from_driver(failure);
            CacheError::with_source(error.kind(), "a sentinel did not answer", error)
        })?;
        let mut replies = replies.into_iter();
        match replies.next() {
            Some(Value::ServerError(refusal)) => Err(refused(error::from_server(&refusal))),
            Some(Value::Nil) => Err(self.unknown()),
            Some(reply) => {
                let primary = endpoint(reply).ok_or_else(strange)?;
                Ok(Answer { primary, epoch: replies.next().and_then(epoch).unwrap_or(0) })
            }
            None => Err(strange()),
        }
    }

    fn unknown(&self) -> CacheError {
        let message = format!("the sentinels know no primary of the name `{}`", self.master);
        CacheError::new(ErrorKind::InvalidInput, message)
    }
}

fn refused(error: CacheError) -> CacheError {
    let message = match error.kind() {
        ErrorKind::Auth => "a sentinel refused the credentials, which are not those of the servers",
        _ => "a sentinel refused to tell the primary",
    };
    CacheError::with_source(error.kind(), message, error).with_effect(Effect::None)
}

fn silent() -> CacheError {
    CacheError::new(ErrorKind::Timeout, "a sentinel did not answer in its share of the connect timeout")
}

fn strange() -> CacheError {
    CacheError::new(ErrorKind::Server, "a sentinel answered with what is not an address")
}

fn endpoint(reply: Value) -> Option<Endpoint> {
    let [host, port] = <[String; 2]>::try_from(Vec::<String>::from_redis_value(reply).ok()?).ok()?;
    Some(Endpoint::Tcp { host, port: port.parse().ok()? })
}

fn epoch(reply: Value) -> Option<u64> {
    let fields = HashMap::<String, String>::from_redis_value(reply).ok()?;
    fields.get("config-epoch")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulks<const N: usize>(texts: [&str; N]) -> Vec<Value> {
        texts.map(|text| Value::BulkString(text.as_bytes().to_vec())).into()
    }

    #[test]
    fn answers_are_read() {
        let address = Value::Array(bulks(["::1", "6379"]));
        assert_eq!(endpoint(address), Some(Endpoint::Tcp { host: "::1".to_owned(), port: 6379 }));
        assert_eq!(endpoint(Value::Array(bulks(["h", "99999"]))), None);
        assert_eq!(endpoint(Value::Okay), None);
        let fields = bulks(["name", "m", "config-epoch", "7"]);
        assert_eq!(epoch(Value::Array(fields.clone())), Some(7));
        let pairs = fields.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
        assert_eq!(epoch(Value::Map(pairs)), Some(7));
        assert_eq!(epoch(Value::Map(Vec::new())), None);
    }
}
