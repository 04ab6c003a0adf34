//! What the fuzz targets call: the functions that `tests/untrusted` runs as well.

#[path = "../../tests/untrusted/targets.rs"]
mod targets;

/// Runs the target of this name.
///
/// # Panics
///
/// When a promise is broken, and when there is no such target.
pub fn run(name: &str, bytes: &[u8]) {
    let target = targets::ALL.iter().find(|target| target.name == name).expect("a target");
    (target.run)(bytes);
}

/// What the mutations of a target may start from.
///
/// # Panics
///
/// When there is no such target.
#[must_use]
pub fn seeds(name: &str) -> Vec<Vec<u8>> {
    let target = targets::ALL.iter().find(|target| target.name == name).expect("a target");
    (target.seeds)()
}
