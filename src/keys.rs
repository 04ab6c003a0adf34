//! The key scheme: one way to name things, so that no two things share a name.
//!
//! | kind | key | made by |
//! |---|---|---|
//! | one thing | `{prefix}:{namespace}:{entity}:{id}` | [`KeyBuilder::entity`] |
//! | a list of things | `{prefix}:{namespace}:list:{entity}:{hash(filters)}` | [`KeyBuilder::list`] |
//! | one thing of another | `{prefix}:{namespace}:{entityA}:{idA}:{entityB}:{idB}` | [`KeyBuilder::composite`] |
//! | a session | `{prefix}:{namespace}:session:{sid}` | [`KeyBuilder::session`] |
//!
//! Different parts make different keys, whatever the parts contain: `:`, `%`, `{`, `}` and control characters are
//! written as `%` and two hexadecimal digits per byte of UTF-8, as in URLs (RFC 3986, section 2.1), and an entity that is
//! called `list` or `session` has its first letter written so. (Filters enter through a hash, so for lists it is only
//! infeasible to find two that share a key.) [`KeyBuilder::parse`] reads the parts back.
//!
//! The braces are escaped because Redis Cluster places a key by what stands between them: an id that comes from a user
//! cannot choose its server.
//!
//! The scheme is part of the stored form: the same parts make the same key in every version of this crate.

use std::fmt;
use std::sync::Arc;

use cachex_core::Key;

mod error;
mod escape;
mod filters;
mod parse;

pub use error::KeyError;
pub use filters::{FilterHash, FilterValue, ListKey};
pub use parse::ParsedKey;

use escape::{LIST, SESSION, push, push_entity, unescape};

/// Makes the keys of one application and namespace.
///
/// Make it once and keep it: a clone is one reference count.
///
/// ```
/// use cachex::keys::KeyBuilder;
///
/// let keys = KeyBuilder::new("app", "prod")?;
/// assert_eq!(keys.entity("user", 42)?.as_str(), "app:prod:user:42");
/// assert_eq!(keys.composite("user", 1, "order", 2)?.as_str(), "app:prod:user:1:order:2");
/// assert_eq!(keys.session("9f86d081")?.as_str(), "app:prod:session:9f86d081");
///
/// let admins = keys.list("user").filter("role", "admin").filter("active", true).build()?;
/// assert_eq!(admins.as_str(), "app:prod:list:user:8133f80c340f8b1aa99ab8fb60e0e0880f216948");
/// # Ok::<(), cachex::keys::KeyError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct KeyBuilder {
    /// Prefix and namespace, escaped, each with its colon.
    head: Arc<str>,
}

impl KeyBuilder {
    /// Keys that begin with `{prefix}:{namespace}:`, usually the application and the environment or tenant.
    ///
    /// # Errors
    ///
    /// [`KeyError::Empty`] when one of them is empty, [`KeyError::TooLong`] when they leave no room for anything else.
    pub fn new(prefix: impl fmt::Display, namespace: impl fmt::Display) -> Result<Self, KeyError> {
        let mut head = String::new();
        push(&mut head, "prefix", &prefix)?;
        head.push(':');
        push(&mut head, "namespace", &namespace)?;
        head.push(':');
        if head.len() >= Key::MAX_LEN {
            return Err(KeyError::TooLong { len: head.len(), max: Key::MAX_LEN });
        }
        Ok(Self { head: head.into() })
    }

    /// The key of one thing. Its id is whatever its `Display` writes: `42` and `"42"` are the same id.
    ///
    /// ```
    /// # let keys = cachex::keys::KeyBuilder::new("app", "prod")?;
    /// assert_eq!(keys.entity("user", 42)?.as_str(), "app:prod:user:42");
    /// assert_eq!(keys.entity("file", "a:b")?.as_str(), "app:prod:file:a%3Ab");
    /// assert_eq!(keys.entity("session", 7)?.as_str(), "app:prod:%73ession:7");
    /// # Ok::<(), cachex::keys::KeyError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`KeyError::Empty`], [`KeyError::TooLong`].
    pub fn entity(&self, entity: impl AsRef<str>, id: impl fmt::Display) -> Result<Key, KeyError> {
        let mut key = self.start();
        push_entity(&mut key, entity.as_ref())?;
        key.push(':');
        push(&mut key, "id", &id)?;
        finish(&key)
    }

    /// Begins the key of a list: what a query with filters answers.
    ///
    /// ```
    /// # let keys = cachex::keys::KeyBuilder::new("app", "prod")?;
    /// let key = keys.list("user").filter("active", true).filter("role", "admin").build()?;
    /// let same = keys.list("user").filter("role", "admin").filter("active", true).build()?;
    /// assert_eq!(key, same);
    ///
    /// let text = keys.list("user").filter("active", "true").filter("role", "admin").build()?;
    /// assert_ne!(key, text);
    ///
    /// let page = keys.list("user").filters([("page", 3), ("size", 50)]).build()?;
    /// # assert_ne!(page, key);
    /// # Ok::<(), cachex::keys::KeyError>(())
    /// ```
    pub fn list<'a>(&'a self, entity: &'a str) -> ListKey<'a> {
        ListKey::new(self, entity)
    }

    /// The key of a thing that belongs to another, or of what is between two.
    ///
    /// ```
    /// # let keys = cachex::keys::KeyBuilder::new("app", "prod")?;
    /// assert_eq!(keys.composite("user", 1, "order", 2)?.as_str(), "app:prod:user:1:order:2");
    /// # Ok::<(), cachex::keys::KeyError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`KeyError::Empty`], [`KeyError::TooLong`].
    pub fn composite(
        &self,
        first: impl AsRef<str>,
        first_id: impl fmt::Display,
        second: impl AsRef<str>,
        second_id: impl fmt::Display,
    ) -> Result<Key, KeyError> {
        let mut key = self.start();
        push_entity(&mut key, first.as_ref())?;
        key.push(':');
        push(&mut key, "id", &first_id)?;
        key.push(':');
        push_entity(&mut key, second.as_ref())?;
        key.push(':');
        push(&mut key, "id", &second_id)?;
        finish(&key)
    }

    /// The key of a session.
    ///
    /// ```
    /// # let keys = cachex::keys::KeyBuilder::new("app", "prod")?;
    /// assert_eq!(keys.session("9f86d081")?.as_str(), "app:prod:session:9f86d081");
    /// # Ok::<(), cachex::keys::KeyError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`KeyError::Empty`], [`KeyError::TooLong`].
    pub fn session(&self, id: impl fmt::Display) -> Result<Key, KeyError> {
        let mut key = self.start();
        key.push_str(SESSION);
        key.push(':');
        push(&mut key, "id", &id)?;
        finish(&key)
    }

    /// Reads a key back: who makes such keys, and of which parts this one is.
    ///
    /// ```
    /// use cachex::keys::{KeyBuilder, ParsedKey};
    ///
    /// let keys = KeyBuilder::new("app", "prod")?;
    /// let key = keys.entity("file", "a:b")?;
    /// let (made_by, parsed) = KeyBuilder::parse(&key)?;
    /// assert_eq!(made_by, keys);
    /// assert_eq!(parsed, ParsedKey::Entity { entity: "file".into(), id: "a:b".into() });
    /// assert_eq!(parsed.build(&keys)?, key);
    /// # Ok::<(), cachex::keys::KeyError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`KeyError::Foreign`] when the key is not exactly as one of the methods here would have made it.
    pub fn parse(key: &Key) -> Result<(Self, ParsedKey), KeyError> {
        let parts: Vec<&str> = key.as_str().split(':').collect();
        let [prefix, namespace, rest @ ..] = parts.as_slice() else {
            return Err(KeyError::Foreign { reason: "no prefix and namespace" });
        };
        if unescape(prefix).is_none() || unescape(namespace).is_none() {
            return Err(KeyError::Foreign { reason: "prefix or namespace is not escaped as here" });
        }
        let parsed = ParsedKey::of(rest)?;
        Ok((Self { head: format!("{prefix}:{namespace}:").into() }, parsed))
    }

    /// What every key from here begins with: prefix and namespace, escaped, each with its colon.
    #[must_use]
    pub fn head(&self) -> &str {
        &self.head
    }

    fn list_with_hash(&self, entity: &str, filters: FilterHash) -> Result<Key, KeyError> {
        let mut key = self.start();
        key.push_str(LIST);
        key.push(':');
        push_entity(&mut key, entity)?;
        key.push(':');
        push(&mut key, "hash", &filters)?;
        finish(&key)
    }

    fn start(&self) -> String {
        // Room for most keys without growing.
        let mut key = String::with_capacity(self.head.len() + 64);
        key.push_str(&self.head);
        key
    }
}

fn finish(key: &str) -> Result<Key, KeyError> {
    if key.len() > Key::MAX_LEN {
        return Err(KeyError::TooLong { len: key.len(), max: Key::MAX_LEN });
    }
    // Nothing else can be wrong: it is not empty, and control characters are escaped.
    Key::new(key).map_err(|_| KeyError::Foreign { reason: "refused as a key" })
}

/// Prefix and namespace are the application's own words.
impl fmt::Debug for KeyBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyBuilder").field("head", &self.head).finish()
    }
}

#[cfg(test)]
mod tests;
