//! Panics anywhere but in the tests themselves: one in a task that nobody joins would pass unseen.

use std::panic;
use std::sync::{Mutex, Once};

use super::oracle::lock;

static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Begins to watch, once for the process.
pub(crate) fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            // A test that fails says so by itself, and is no reason for others to fail.
            if panic.location().is_none_or(|location| !location.file().starts_with("tests/")) {
                lock(&SEEN).push(panic.to_string());
            }
            usual(panic);
        }));
    });
}

pub(crate) fn seen() -> Vec<String> {
    lock(&SEEN).clone()
}
