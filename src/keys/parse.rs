//! From a key back to its parts.

use std::fmt;

use cachex_core::Key;

use super::escape::{LIST, SESSION, unescape, unescape_entity};
use super::{FilterHash, KeyBuilder, KeyError};

/// The parts of a key, after its prefix and namespace: what [`KeyBuilder::parse`] reads.
///
/// `Debug` shows names of entities, but no id: a session's is a secret, and others may be personal data.
#[derive(Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ParsedKey {
    /// `{prefix}:{namespace}:{entity}:{id}`
    Entity {
        /// The kind of thing.
        entity: String,
        /// Which one.
        id: String,
    },
    /// `{prefix}:{namespace}:list:{entity}:{hash(filters)}`
    List {
        /// The kind of things listed.
        entity: String,
        /// What their filters come down to; the filters themselves are not in the key.
        filters: FilterHash,
    },
    /// `{prefix}:{namespace}:{entityA}:{idA}:{entityB}:{idB}`
    Composite {
        /// The first thing: its kind and which one.
        first: (String, String),
        /// The second thing: its kind and which one.
        second: (String, String),
    },
    /// `{prefix}:{namespace}:session:{sid}`
    Session {
        /// The session's id.
        id: String,
    },
}

impl ParsedKey {
    /// The parts after prefix and namespace.
    pub(super) fn of(parts: &[&str]) -> Result<Self, KeyError> {
        let entity = |text| {
            unescape_entity(text).ok_or(KeyError::Foreign { reason: "an entity is not escaped as here" })
        };
        let id = |text| unescape(text).ok_or(KeyError::Foreign { reason: "an id is not escaped as here" });
        match *parts {
            [SESSION, session] => Ok(Self::Session { id: id(session)? }),
            [LIST, of, hash] => {
                let filters =
                    FilterHash::parse(hash).ok_or(KeyError::Foreign { reason: "no hash of filters" })?;
                Ok(Self::List { entity: entity(of)?, filters })
            }
            [name, which] => Ok(Self::Entity { entity: entity(name)?, id: id(which)? }),
            [name_a, id_a, name_b, id_b] => Ok(Self::Composite {
                first: (entity(name_a)?, id(id_a)?),
                second: (entity(name_b)?, id(id_b)?),
            }),
            _ => Err(KeyError::Foreign { reason: "not as many parts as any kind of key has" }),
        }
    }

    /// Makes the key again.
    ///
    /// # Errors
    ///
    /// [`KeyError::Empty`] and [`KeyError::TooLong`], for parts that were put together by hand.
    pub fn build(&self, keys: &KeyBuilder) -> Result<Key, KeyError> {
        match self {
            Self::Entity { entity, id } => keys.entity(entity, id),
            Self::List { entity, filters } => keys.list_with_hash(entity, *filters),
            Self::Composite { first, second } => keys.composite(&first.0, &first.1, &second.0, &second.1),
            Self::Session { id } => keys.session(id),
        }
    }
}

impl fmt::Debug for ParsedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entity { entity, .. } => {
                f.debug_struct("Entity").field("entity", entity).finish_non_exhaustive()
            }
            Self::List { entity, filters } => f
                .debug_struct("List")
                .field("entity", entity)
                .field("filters", &format_args!("{filters}"))
                .finish(),
            Self::Composite { first, second } => f
                .debug_struct("Composite")
                .field("first", &first.0)
                .field("second", &second.0)
                .finish_non_exhaustive(),
            Self::Session { .. } => f.debug_struct("Session").finish_non_exhaustive(),
        }
    }
}
