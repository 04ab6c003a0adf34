//! A `redis-server` of one's own.

mod builder;
mod handle;
mod launch;
mod process;
mod tls;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub(crate) use self::builder::Mode;
pub use self::builder::RedisServerBuilder;
pub(crate) use self::handle::Handle;
use self::launch::Launcher;
pub(crate) use self::launch::quoted;
use self::process::Supervised;
pub use self::tls::TlsFiles;
use crate::error::StartError;
use crate::resp::{Connection, Reply};

/// A bound for one out-of-band command: generous, since several test binaries share the machine.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an orderly shutdown may take before it counts as a failure.
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// A running `redis-server` on 127.0.0.1 with a temporary directory and no persistence.
///
/// Dropping it kills the process and removes the directory. Both also happen when the test process is killed, so
/// servers may sit in statics, which are never dropped.
///
/// All methods take `&self`; put it in an `Arc` to kill or restart it from another task. The runtime must be tokio's.
///
/// # Panics
///
/// Methods without `try_` in their name panic when the operating system or the server refuses. The panic says why.
pub struct RedisServer {
    inner: Arc<Inner>,
}

struct Inner {
    launcher: Launcher,
    process: Mutex<Option<Supervised>>,
}

impl RedisServer {
    /// Starts a server with the defaults and waits until it answers.
    ///
    /// # Panics
    ///
    /// When it cannot be started, for instance because `redis-server` is not installed: the message says what to
    /// run. See [`try_start`](RedisServerBuilder::try_start).
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// Settings for a server that is not started yet.
    pub fn builder() -> RedisServerBuilder {
        RedisServerBuilder::new()
    }

    pub(crate) fn handle(&self) -> Handle {
        Handle::new(&self.inner)
    }

    fn new(launcher: Launcher, process: Supervised) -> Self {
        Self { inner: Arc::new(Inner { launcher, process: Mutex::new(Some(process)) }) }
    }

    /// Where it listens for plain TCP. The same for the life of this value, restarts included.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.inner.launcher.addr()
    }

    /// The port of [`addr`](Self::addr).
    #[must_use]
    pub fn port(&self) -> u16 {
        self.addr().port()
    }

    /// `redis://127.0.0.1:PORT`, with the password of the default user if there is one.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_through(self.addr())
    }

    /// The [`url`](Self::url) with another address in it: that of a [`FaultProxy`](crate::FaultProxy).
    #[must_use]
    pub fn url_through(&self, addr: SocketAddr) -> String {
        match self.inner.launcher.password() {
            Some(password) => format!("redis://:{}@{addr}", percent_encoded(password)),
            None => format!("redis://{addr}"),
        }
    }

    /// The URL with the name and password of a [`user`](RedisServerBuilder::user) given to the builder.
    ///
    /// # Panics
    ///
    /// When no such user was given.
    #[must_use]
    pub fn url_as(&self, user: &str) -> String {
        let password = self.inner.launcher.password_of(user);
        let password = password.unwrap_or_else(|| panic!("no user {user:?} was given to the builder"));
        format!("redis://{}:{}@{}", percent_encoded(user), percent_encoded(password), self.addr())
    }

    /// Where it listens for TLS, if the builder asked for it.
    #[must_use]
    pub fn tls_addr(&self) -> Option<SocketAddr> {
        self.inner.launcher.tls_addr()
    }

    /// `rediss://127.0.0.1:PORT`, with the password of the default user if there is one.
    ///
    /// # Panics
    ///
    /// When the builder did not ask for TLS.
    #[must_use]
    pub fn tls_url(&self) -> String {
        let addr = self.tls_addr().expect("`tls` was not called on the builder");
        self.url_through(addr).replacen("redis", "rediss", 1)
    }

    /// The URL by which it is best reached: that for TLS, if the builder asked for it.
    pub(crate) fn link_url(&self) -> String {
        if self.tls_addr().is_some() { self.tls_url() } else { self.url() }
    }

    /// The path of its Unix socket, if the builder asked for one.
    #[must_use]
    pub fn unix_socket(&self) -> Option<&Path> {
        self.inner.launcher.unix_socket()
    }

    /// Its working directory. Removed together with the server.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.inner.launcher.dir()
    }

    /// The process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.inner.pid()
    }

    /// What the server has logged so far, in all its lives.
    #[must_use]
    pub fn log(&self) -> String {
        self.inner.launcher.log()
    }

    /// Sends one command over a connection of its own, as the default user, and returns the reply.
    ///
    /// ```no_run
    /// # async fn example(server: cachex_test_support::RedisServer) {
    /// server.command(["CLIENT", "PAUSE", "500"]).await;
    /// let keys = server.command(["DBSIZE"]).await.as_int();
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// When the server cannot be reached, does not answer within 10 s, or answers with an error.
    pub async fn command<I>(&self, parts: I) -> Reply
    where
        I: IntoIterator<Item: AsRef<[u8]>>,
    {
        let parts = owned(parts);
        let name = String::from_utf8_lossy(parts.first().map_or(b"", Vec::as_slice)).into_owned();
        match self.send(parts).await {
            Ok(Reply::Error(e)) => panic!("{name} at {}: the server answered {e}", self.addr()),
            Ok(reply) => reply,
            Err(e) => panic!("{name} at {}: {e}", self.addr()),
        }
    }

    /// Like [`command`](Self::command), for when failing may be the point. An error reply is `Ok(Reply::Error)`.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached, refuses the password, or does not answer within 10 s.
    pub async fn try_command<I>(&self, parts: I) -> io::Result<Reply>
    where
        I: IntoIterator<Item: AsRef<[u8]>>,
    {
        self.send(owned(parts)).await
    }

    async fn send(&self, parts: Vec<Vec<u8>>) -> io::Result<Reply> {
        let (addr, password) = (self.addr(), self.inner.launcher.password().map(str::to_owned));
        blocking(move || Connection::open(addr, password.as_deref(), COMMAND_TIMEOUT)?.command(&parts)).await
    }

    /// The raw bytes stored under `key`.
    ///
    /// # Panics
    ///
    /// As [`command`](Self::command).
    pub async fn get(&self, key: impl AsRef<[u8]>) -> Option<Vec<u8>> {
        self.command([b"GET", key.as_ref()]).await.into_bytes()
    }

    /// Stores raw bytes under `key`, without an expiry.
    ///
    /// # Panics
    ///
    /// As [`command`](Self::command).
    pub async fn set(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.command([b"SET", key.as_ref(), value.as_ref()]).await;
    }

    /// SIGKILL: connections are reset, nothing is saved. Returns when it is dead; does nothing if it is already.
    ///
    /// # Panics
    ///
    /// When the operating system refuses.
    pub async fn kill(&self) {
        self.with_process("kill", |slot| slot.take().map_or(Ok(()), |mut process| process.kill())).await;
    }

    /// SIGTERM: an orderly shutdown. Returns when it has ended; does nothing if it has already.
    ///
    /// # Panics
    ///
    /// When it does not end within 10 s.
    pub async fn stop(&self) {
        self.with_process("stop", |slot| {
            slot.take().map_or(Ok(()), |mut process| process.terminate(STOP_DEADLINE))
        })
        .await;
    }

    /// Freezes the process (SIGSTOP): connections are accepted by the kernel, and nothing answers.
    ///
    /// # Panics
    ///
    /// When it is not running.
    pub async fn pause(&self) {
        self.with_process("pause", |slot| running(slot)?.pause()).await;
    }

    /// Lets a frozen process go on (SIGCONT).
    ///
    /// # Panics
    ///
    /// When it is not running.
    pub async fn resume(&self) {
        self.with_process("resume", |slot| running(slot)?.resume()).await;
    }

    /// Kills it if it still runs, starts it again on the same port, and waits until it answers.
    ///
    /// # Panics
    ///
    /// When it does not come back.
    pub async fn restart(&self) {
        self.launch().await;
        self.wait_ready().await;
    }

    /// Like [`restart`](Self::restart) without the waiting: to see the server refuse, load or recover.
    ///
    /// # Panics
    ///
    /// When the process cannot be started.
    pub async fn launch(&self) {
        let inner = Arc::clone(&self.inner);
        let launched = blocking(move || {
            let mut slot = inner.process();
            drop(slot.take());
            *slot = Some(inner.launcher.launch()?);
            Ok::<_, StartError>(())
        });
        launched.await.unwrap_or_else(|e| panic!("launch: {e}"));
    }

    /// Waits until it answers PING with PONG: 30 s at most.
    ///
    /// # Panics
    ///
    /// When it does not, or when the process ends.
    pub async fn wait_ready(&self) {
        let inner = Arc::clone(&self.inner);
        let ready = blocking(move || {
            let mut slot = inner.process();
            let process = running(&mut slot).map_err(StartError::io("waiting for the server"))?;
            inner.launcher.wait_ready(process)
        });
        ready.await.unwrap_or_else(|e| panic!("wait_ready: {e}"));
    }

    /// Adds or replaces a line of the configuration file, for the next [`restart`](Self::restart) or
    /// [`launch`](Self::launch). The value is written as it would stand in `redis.conf`.
    pub fn configure(&self, name: &str, value: &str) {
        self.inner.launcher.configure(name, value);
    }

    async fn with_process<T: Send + 'static>(
        &self,
        doing: &'static str,
        action: impl FnOnce(&mut Option<Supervised>) -> io::Result<T> + Send + 'static,
    ) -> T {
        let inner = Arc::clone(&self.inner);
        let done = blocking(move || action(&mut inner.process())).await;
        done.unwrap_or_else(|e| panic!("{doing} the server at {}: {e}", self.addr()))
    }
}

impl Inner {
    fn pid(&self) -> Option<u32> {
        let mut slot = self.process();
        let process = slot.as_mut()?;
        matches!(process.try_wait(), Ok(None)).then(|| process.pid())
    }

    fn process(&self) -> MutexGuard<'_, Option<Supervised>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // Now, not when a blocking task that still holds `inner` lets go of it.
        drop(self.inner.process().take());
    }
}

impl fmt::Debug for RedisServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisServer")
            .field("addr", &self.addr())
            .field("dir", &self.dir())
            .finish_non_exhaustive()
    }
}

fn running(slot: &mut Option<Supervised>) -> io::Result<&mut Supervised> {
    slot.as_mut().ok_or_else(|| io::Error::other("the server was killed or stopped"))
}

fn owned(parts: impl IntoIterator<Item: AsRef<[u8]>>) -> Vec<Vec<u8>> {
    parts.into_iter().map(|part| part.as_ref().to_vec()).collect()
}

/// Blocking work off the runtime's threads. A paused tokio clock does not advance meanwhile.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(e) => match e.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(e) => panic!("the runtime is shutting down: {e}"),
        },
    }
}

/// Percent-encoding of everything outside the unreserved set of RFC 3986, section 2.3.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte))
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
