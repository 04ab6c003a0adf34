//! Bytes on their way to a store, told apart by type.

use std::fmt;
use std::task::{Context, Poll};

use bytes::Bytes;
use tower_service::Service;

use crate::error::CacheError;
use crate::request::CacheRequest;
use crate::response::CacheResponse;
use crate::service::CacheService;

/// A value as an envelope in the clear: what a serialize layer writes and reads.
///
/// `Debug` shows the length only.
#[derive(Clone, PartialEq, Eq)]
pub struct Encoded(Bytes);

/// A value as a sealed envelope: encrypted and authenticated, what an encrypt layer writes and reads.
///
/// `Debug` shows the length only.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(Bytes);

/// The payload types a byte store serves: [`Encoded`] and [`Sealed`]. Not meant to be implemented elsewhere.
pub trait StoredBytes: sealed::Sealed + Send + Sync + Sized + 'static {
    /// Wraps bytes as they were read from a store.
    fn from_bytes(bytes: Bytes) -> Self;

    /// The bytes to store.
    fn as_bytes(&self) -> &Bytes;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Encoded {}
    impl Sealed for super::Sealed {}
}

macro_rules! stored_bytes {
    ($name:ident) => {
        impl StoredBytes for $name {
            fn from_bytes(bytes: Bytes) -> Self {
                Self(bytes)
            }

            fn as_bytes(&self) -> &Bytes {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({} bytes)"), self.0.len())
            }
        }
    };
}

stored_bytes!(Encoded);
stored_bytes!(Sealed);

/// A store that was declared sealed: it takes [`Sealed`] payloads and nothing else, so that a stack which forgot to
/// encrypt does not compile.
#[derive(Clone, Debug)]
pub struct SealedOnly<S>(S);

impl<S> SealedOnly<S> {
    /// Declares `store` sealed.
    pub fn new(store: S) -> Self {
        Self(store)
    }

    /// The store beneath.
    pub fn get_ref(&self) -> &S {
        &self.0
    }

    /// The store beneath, no longer declared sealed.
    pub fn into_inner(self) -> S {
        self.0
    }
}

impl<S: CacheService<Sealed>> Service<CacheRequest<Sealed>> for SealedOnly<S> {
    type Response = CacheResponse<Sealed>;
    type Error = CacheError;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CacheError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: CacheRequest<Sealed>) -> S::Future {
        self.0.call(request)
    }
}
