//! What the lock protects: it checks the tokens itself.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cachex::core::FencingToken;

/// A ledger that remembers the largest fencing token it has seen, and takes no line under a smaller one. In a database it
/// would be a column, and `UPDATE … WHERE token <= $1`.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    largest: Option<FencingToken>,
    lines: Vec<&'static str>,
}

/// Someone with a larger token has written since.
#[derive(Debug)]
pub(crate) struct Fenced {
    shown: FencingToken,
    largest: FencingToken,
}

impl Ledger {
    /// Adds a line.
    ///
    /// # Errors
    ///
    /// [`Fenced`] when a larger token was seen before.
    pub(crate) fn write(&self, token: FencingToken, line: &'static str) -> Result<(), Fenced> {
        let mut state = self.state();
        match state.largest {
            Some(largest) if token < largest => Err(Fenced { shown: token, largest }),
            _ => {
                state.largest = Some(token);
                state.lines.push(line);
                Ok(())
            }
        }
    }

    /// How many lines there are.
    pub(crate) fn lines(&self) -> usize {
        self.state().lines.len()
    }

    /// All lines.
    pub(crate) fn text(&self) -> String {
        self.state().lines.join(", ")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Fenced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused, {} is below {}", self.shown.0, self.largest.0)
    }
}

impl std::error::Error for Fenced {}
