//! What every new connection says first.

use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, RedisResult, Value};

use super::{Settings, role};
use crate::store::redis::credentials::Keychain;
use crate::store::redis::direct::{Socket, say};
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

    /// The same, on a socket that is not the driver's. What a shared connection goes on without, a server that loads its
    /// data or a role it does not tell, is an error here: reads have another way.
    pub(super) async fn run_on(
        &self,
        socket: &mut Box<dyn Socket>,
        must_be_primary: bool,
    ) -> RedisResult<()> {
        let auth = self.credentials.current().1.map(|credentials| credentials.auth());
        let role = must_be_primary.then(|| redis::cmd("ROLE"));
        let demands: Vec<&Cmd> = auth.iter().chain(&self.select).chain(&role).collect();
        let commands: Vec<&Cmd> = demands.iter().copied().chain(self.introduction.cmd_iter()).collect();
        let mut replies = say(socket, &commands).await?;
        replies.truncate(demands.len());
        for reply in &replies {
            if let Value::ServerError(refusal) = reply {
                return Err(refusal.clone().into());
            }
        }
        if must_be_primary && !replies.pop().is_some_and(role::is_primary) {
            return Err((redis::ErrorKind::Client, "not a primary").into());
        }
        Ok(())
    }

    pub(super) async fn introduce(&self, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        connection.send_packed_commands(&self.introduction, 0, self.introduction.len()).await?;
        Ok(())
    }
}
