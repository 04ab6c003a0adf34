//! The structural fingerprint of a type: what keeps two versions of it from misreading each other.
//!
//! The type is asked, through its own `Deserialize`, for the shape of what it reads: a probing deserializer answers every
//! request with made-up data and notes what was requested. An enum is walked once per variant. Since Rust types do not
//! change at run time, the notes depend on the type definition alone, and so does their hash.
//!
//! serde-reflection does the same job, but it recurses without bound on enums whose first variant contains the enum itself
//! (`enum Expr { Add(Box<Expr>, Box<Expr>), Literal(i64) }`), which ends the process; the walk here is bounded in depth and
//! in work, and a part it cannot see costs that part only.

mod probe;
mod sample;
mod shape;
mod tracer;

use serde::de::DeserializeOwned;

use tracer::Tracer;

/// The structural fingerprint of `T` as `Deserialize` sees it: equal in every process and build that has the same definition.
///
/// It changes with: names of structs, enums, fields and variants (as serde knows them, after `rename`); their order; the types of
/// fields, through `Option`, sequences, maps, tuples, arrays and nested types. Pass `human_readable` as the format reports it,
/// since types such as `Uuid` or `IpAddr` read differently by it.
///
/// It cannot see:
/// - the meaning of a field: seconds that become milliseconds in the same `u64`,
/// - the module a type lives in, and what `Serialize` does differently from `Deserialize`,
/// - whatever comes after data is inspected first: the inside of `#[serde(untagged)]` and internally tagged enums and of
///   structs with `#[serde(flatten)]`, of `serde_json::Value` and its like,
/// - whatever comes after a check in a hand-written `Deserialize` or `try_from` that none of a few dozen sample values passes,
/// - fields with `skip`, and defaults.
///
/// For those there is the version number of the application's own,
/// [`SerializeLayer::schema_version`](super::SerializeLayer::schema_version).
///
/// `T`'s `Deserialize` runs with made-up data, and the values it makes are dropped. A panic of it is caught (the panic hook
/// still tells of it) and ends the walk there. Typically takes microseconds; the bound is some hundred thousand steps.
#[must_use]
pub fn structural_fingerprint<T: DeserializeOwned>(human_readable: bool) -> u64 {
    xxhash_rust::xxh3::xxh3_64(&describe::<T>(human_readable))
}

/// The canonical rendering that is hashed.
fn describe<T: DeserializeOwned>(human_readable: bool) -> Vec<u8> {
    let mut tracer = Tracer::new(human_readable);
    // What was noted up to a panic is as much a function of the type as what is noted without one.
    let walk = std::panic::AssertUnwindSafe(|| tracer.trace::<T>());
    let _ = std::panic::catch_unwind(walk);
    tracer.shapes().render()
}

#[cfg(test)]
mod tests;
