//! The names of the operations.

use std::fmt;

/// The name of an operation: a metric label and a span field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum Op {
    /// [`CacheRequest::Get`](crate::CacheRequest::Get)
    Get,
    /// [`CacheRequest::GetMany`](crate::CacheRequest::GetMany)
    GetMany,
    /// [`CacheRequest::Set`](crate::CacheRequest::Set)
    Set,
    /// [`CacheRequest::SetMany`](crate::CacheRequest::SetMany)
    SetMany,
    /// [`CacheRequest::Delete`](crate::CacheRequest::Delete)
    Delete,
    /// [`CacheRequest::Exists`](crate::CacheRequest::Exists)
    Exists,
    /// [`CacheRequest::Ttl`](crate::CacheRequest::Ttl)
    Ttl,
    /// [`CacheRequest::Expire`](crate::CacheRequest::Expire)
    Expire,
    /// [`CacheRequest::Increment`](crate::CacheRequest::Increment)
    Increment,
    /// [`CacheRequest::AddTags`](crate::CacheRequest::AddTags)
    AddTags,
    /// [`CacheRequest::InvalidateTags`](crate::CacheRequest::InvalidateTags)
    InvalidateTags,
    /// [`CacheRequest::Lock`](crate::CacheRequest::Lock)
    Lock,
    /// [`CacheRequest::ExtendLock`](crate::CacheRequest::ExtendLock)
    ExtendLock,
    /// [`CacheRequest::Unlock`](crate::CacheRequest::Unlock)
    Unlock,
    /// [`CacheRequest::Publish`](crate::CacheRequest::Publish)
    Publish,
    /// [`CacheRequest::Subscribe`](crate::CacheRequest::Subscribe)
    Subscribe,
    /// [`CacheRequest::Ping`](crate::CacheRequest::Ping)
    Ping,
    /// [`CacheRequest::Close`](crate::CacheRequest::Close)
    Close,
}

impl Op {
    /// Every operation, in the order of their numbers: `ALL[op as usize] == op`.
    pub const ALL: [Self; 18] = [
        Self::Get,
        Self::GetMany,
        Self::Set,
        Self::SetMany,
        Self::Delete,
        Self::Exists,
        Self::Ttl,
        Self::Expire,
        Self::Increment,
        Self::AddTags,
        Self::InvalidateTags,
        Self::Lock,
        Self::ExtendLock,
        Self::Unlock,
        Self::Publish,
        Self::Subscribe,
        Self::Ping,
        Self::Close,
    ];

    /// The operation as a metric label: stable, and named as the handle's method is.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::GetMany => "mget",
            Self::Set => "set",
            Self::SetMany => "mset",
            Self::Delete => "del",
            Self::Exists => "exists",
            Self::Ttl => "ttl",
            Self::Expire => "expire",
            Self::Increment => "incr_by",
            Self::AddTags => "add_tags",
            Self::InvalidateTags => "invalidate_by_tag",
            Self::Lock => "lock",
            Self::ExtendLock => "extend_lock",
            Self::Unlock => "unlock",
            Self::Publish => "publish_invalidation",
            Self::Subscribe => "subscribe_invalidations",
            Self::Ping => "ping",
            Self::Close => "close",
        }
    }

    /// What kind of work the operation is.
    #[must_use]
    pub fn class(self) -> OpClass {
        match self {
            Self::Get | Self::GetMany | Self::Exists | Self::Ttl => OpClass::Read,
            Self::Set
            | Self::SetMany
            | Self::Delete
            | Self::Expire
            | Self::Increment
            | Self::AddTags
            | Self::InvalidateTags => OpClass::Write,
            Self::Lock
            | Self::ExtendLock
            | Self::Unlock
            | Self::Publish
            | Self::Subscribe
            | Self::Ping
            | Self::Close => OpClass::Control,
        }
    }

    /// Whether a layer that sheds load may refuse it.
    ///
    /// Not so what gives something back or keeps what is held (unlocking, extending a lock, closing), where a refusal
    /// does more harm than the load; nor a ping, which asks after the store and not after how busy this process is.
    #[must_use]
    pub fn is_sheddable(self) -> bool {
        !matches!(self, Self::ExtendLock | Self::Unlock | Self::Ping | Self::Close)
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What kind of work an operation is; limits and timeouts can differ by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum OpClass {
    /// It looks at entries and changes none.
    Read,
    /// It changes entries.
    Write,
    /// It coordinates: locks, invalidation messages, health, closing.
    Control,
}

impl OpClass {
    /// Every class, in the order of their numbers: `ALL[class as usize] == class`.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Control];

    /// The class as a metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Control => "control",
        }
    }
}
