//! Who logs in, and how that changes while the store runs.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use redis::{Cmd, ProtocolVersion, RedisConnectionInfo};

use super::address::Secret;

/// A user name and a password, for [`RedisStore::set_credentials`](super::RedisStore::set_credentials). `Debug` shows no
/// password.
///
/// ```no_run
/// use cachex::store::redis::{Credentials, RedisStore};
///
/// # async fn rotate() -> Result<(), cachex_core::CacheError> {
/// let store = RedisStore::connect("redis://app:old@cache.internal")?;
/// // … the server was told `ACL SETUSER app >new` …
/// store.set_credentials(Credentials::new("app", "new")).await?;
/// // … and now may be told `ACL SETUSER app <old`.
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    username: Option<String>,
    password: Secret,
}

impl Credentials {
    /// A user of the access control list, and one of their passwords.
    pub fn new(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self { username: Some(username.into()), password: Secret(password.into()) }
    }

    /// The password of the server's default user.
    pub fn password(password: impl Into<String>) -> Self {
        Self { username: None, password: Secret(password.into()) }
    }

    /// What a URL or a builder says; `None` when they say nothing.
    pub(super) fn from_parts(username: Option<String>, password: Option<Secret>) -> Option<Self> {
        if username.is_none() && password.is_none() {
            return None;
        }
        Some(Self { username, password: password.unwrap_or_else(|| Secret(String::new())) })
    }

    /// The command that logs in.
    pub(super) fn auth(&self) -> Cmd {
        let mut auth = redis::cmd("AUTH");
        if let Some(username) = &self.username {
            auth.arg(username);
        }
        auth.arg(&self.password.0);
        auth
    }
}

/// How the driver logs in by itself, on a connection that speaks RESP3: with its first command, HELLO.
pub(super) fn hello(credentials: Option<&Credentials>) -> RedisConnectionInfo {
    let hello = RedisConnectionInfo::default().set_skip_set_lib_name().set_protocol(ProtocolVersion::RESP3);
    match credentials {
        Some(Credentials { username: Some(username), password }) => {
            hello.set_username(username).set_password(&password.0)
        }
        Some(Credentials { username: None, password }) => hello.set_password(&password.0),
        None => hello,
    }
}

/// The credentials in force, shared by everything that makes connections for a store.
#[derive(Clone)]
pub(super) struct Keychain(Arc<Inner>);

struct Inner {
    current: RwLock<Option<Credentials>>,
    /// Counts the changes. Written under the lock.
    version: AtomicU64,
}

impl Keychain {
    pub(super) fn new(credentials: Option<Credentials>) -> Self {
        Self(Arc::new(Inner { current: RwLock::new(credentials), version: AtomicU64::new(0) }))
    }

    /// What to log in with, and which version of it that is.
    pub(super) fn current(&self) -> (u64, Option<Credentials>) {
        let current = self.0.current.read().unwrap_or_else(PoisonError::into_inner);
        (self.version(), current.clone())
    }

    pub(super) fn version(&self) -> u64 {
        self.0.version.load(Ordering::Acquire)
    }

    pub(super) fn set(&self, credentials: Credentials) {
        let mut current = self.0.current.write().unwrap_or_else(PoisonError::into_inner);
        *current = Some(credentials);
        self.0.version.fetch_add(1, Ordering::Release);
    }
}

impl fmt::Debug for Keychain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (version, current) = self.current();
        f.debug_struct("Keychain").field("current", &current).field("version", &version).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_a_new_version() {
        let keychain = Keychain::new(None);
        assert_eq!(keychain.current(), (0, None));
        let other = keychain.clone();
        other.set(Credentials::new("app", "hunter2"));
        assert_eq!(keychain.current(), (1, Some(Credentials::new("app", "hunter2"))));
        assert!(!format!("{keychain:?}").contains("hunter2"));
    }

    #[test]
    fn what_is_sent() {
        let sent =
            |credentials: Credentials| String::from_utf8(credentials.auth().get_packed_command()).unwrap();
        assert_eq!(sent(Credentials::password("p")), "*2\r\n$4\r\nAUTH\r\n$1\r\np\r\n");
        assert_eq!(sent(Credentials::new("u", "p")), "*3\r\n$4\r\nAUTH\r\n$1\r\nu\r\n$1\r\np\r\n");
        assert_eq!(Credentials::from_parts(None, None), None);
        let nameless = Credentials::from_parts(Some("u".to_owned()), None).unwrap();
        assert_eq!(sent(nameless), "*3\r\n$4\r\nAUTH\r\n$1\r\nu\r\n$0\r\n\r\n");
    }
}
