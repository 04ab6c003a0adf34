//! What every new connection says first.

use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, RedisResult, Value};

use super::Settings;
use crate::store::redis::credentials::Keychain;
use crate::store::redis::error;

pub(super) struct Login {
    credentials: Keychain,
    /// SELECT, if it is needed.
    select: Option<Cmd>,
    /// What a server may refuse.
    introduction: Pipeline,
}

impl Login {
    pub(super) fn new(settings: &Settings) -> Self {
        let select = (settings.database != 0).then(|| {
            let mut select = redis::cmd("SELECT");
            select.arg(settings.database);
            select
        });
        let mut introduction = Pipeline::new();
        introduction.cmd("CLIENT").arg("SETINFO").arg("LIB-NAME").arg("cachex");
        introduction.cmd("CLIENT").arg("SETINFO").arg("LIB-VER").arg(env!("CARGO_PKG_VERSION"));
        if let Some(name) = &settings.client_name {
            introduction.cmd("CLIENT").arg("SETNAME").arg(name);
        }
        Self { credentials: settings.credentials.clone(), select, introduction }
    }

    pub(super) async fn run(&self, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        // Alone in its round trip: a server that turns a client away answers its first command, and nothing after.
        let first = match self.credentials.current() {
            (_, Some(credentials)) => credentials.auth(),
            (_, None) => redis::cmd("PING"),
        };
        if let Value::ServerError(refusal) = connection.send_packed_command(&first).await?
            && !error::leaves_connected(&refusal)
        {
            return Err(refusal.into());
        }
        if let Some(select) = &self.select
            && let Value::ServerError(refusal) = connection.send_packed_command(select).await?
        {
            return Err(refusal.into());
        }
        self.introduce(connection).await
    }

    pub(super) async fn introduce(&self, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        connection.send_packed_commands(&self.introduction, 0, self.introduction.len()).await?;
        Ok(())
    }
}
