//! A mutex with everything the real one has: the explorer's own cannot be cured of poison.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{LockResult, PoisonError, TryLockError, TryLockResult};

/// As [`std::sync::Mutex`]. The explorer's lock says who is next; the real one, never contended, holds the value and its
/// poison.
#[derive(Default)]
pub struct Mutex<T> {
    turn: shuttle::sync::Mutex<()>,
    value: std::sync::Mutex<T>,
}

/// As [`std::sync::MutexGuard`].
pub struct MutexGuard<'a, T> {
    // Fields drop in this order: the value is free before it is anyone's turn.
    value: std::sync::MutexGuard<'a, T>,
    _turn: shuttle::sync::MutexGuard<'a, ()>,
}

impl<T> Mutex<T> {
    pub const fn new(value: T) -> Self {
        Self { turn: shuttle::sync::Mutex::new(()), value: std::sync::Mutex::new(value) }
    }

    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.locked(turn)
    }

    pub fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        match self.turn.try_lock() {
            Ok(turn) => Ok(self.locked(turn)?),
            Err(TryLockError::Poisoned(poisoned)) => Ok(self.locked(poisoned.into_inner())?),
            Err(TryLockError::WouldBlock) => Err(TryLockError::WouldBlock),
        }
    }

    fn locked<'a>(&'a self, turn: shuttle::sync::MutexGuard<'a, ()>) -> LockResult<MutexGuard<'a, T>> {
        match self.value.try_lock() {
            Ok(value) => Ok(MutexGuard { value, _turn: turn }),
            Err(TryLockError::Poisoned(poisoned)) => {
                Err(PoisonError::new(MutexGuard { value: poisoned.into_inner(), _turn: turn }))
            }
            Err(TryLockError::WouldBlock) => unreachable!("it is this task's turn"),
        }
    }

    pub fn clear_poison(&self) {
        self.value.clear_poison();
    }

    pub fn is_poisoned(&self) -> bool {
        self.value.is_poisoned()
    }

    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        self.value.get_mut()
    }

    pub fn into_inner(self) -> LockResult<T> {
        self.value.into_inner()
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T: fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl<T: fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}
