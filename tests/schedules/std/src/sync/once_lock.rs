//! A cell that is written once: the explorer has none.

use shuttle::sync::atomic::{AtomicBool, Ordering};

/// As [`std::sync::OnceLock`], for initialisers that neither lock nor wait: others get their turn before each operation,
/// never within one.
#[derive(Debug)]
pub struct OnceLock<T> {
    /// Looking at it is what lets others go first.
    turn: AtomicBool,
    value: std::sync::OnceLock<T>,
}

impl<T> Default for OnceLock<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> OnceLock<T> {
    pub const fn new() -> Self {
        Self { turn: AtomicBool::new(false), value: std::sync::OnceLock::new() }
    }

    fn turn(&self) -> &std::sync::OnceLock<T> {
        self.turn.load(Ordering::SeqCst);
        &self.value
    }

    pub fn get(&self) -> Option<&T> {
        self.turn().get()
    }

    pub fn set(&self, value: T) -> Result<(), T> {
        self.turn().set(value)
    }

    pub fn get_or_init(&self, value: impl FnOnce() -> T) -> &T {
        self.turn().get_or_init(value)
    }
}
