//! The names of the series and their labels, for dashboards, alerts and bucket settings.

use metrics::{Unit, describe_counter, describe_histogram};

/// Operations, by `operation` and `status`.
pub const OPERATIONS: &str = "cache_operations_total";
/// How long operations took, in seconds, by `operation`.
pub const DURATION: &str = "cache_operation_duration_seconds";
/// Errors, by `type`.
pub const ERRORS: &str = "cache_errors_total";
/// Bytes of encoded values on their way into the store.
pub const BYTES_IN: &str = "cache_bytes_in_total";
/// Bytes of encoded values that came out of the store.
pub const BYTES_OUT: &str = "cache_bytes_out_total";

/// The label with the name of the operation.
pub const OPERATION_LABEL: &str = "operation";
/// The label with how the operation ended.
pub const STATUS_LABEL: &str = "status";
/// The label with the kind of an error.
pub const TYPE_LABEL: &str = "type";
/// The label with the [`name`](super::MetricsLayer::name) of the layer, if it has one.
pub const CACHE_LABEL: &str = "cache";

/// Tells the installed recorder the unit and the meaning of every series of this layer.
///
/// Call it once, after the recorder is installed; a recorder that comes later has not heard of it. Calling it again does
/// no harm.
pub fn describe_metrics() {
    describe_counter!(OPERATIONS, Unit::Count, "Cache operations, by operation and by how they ended");
    describe_histogram!(DURATION, Unit::Seconds, "Time from the call to its answer, by operation");
    describe_counter!(ERRORS, Unit::Count, "Failed cache operations, by type of error");
    describe_counter!(BYTES_IN, Unit::Bytes, "Encoded values written to the store");
    describe_counter!(BYTES_OUT, Unit::Bytes, "Encoded values read from the store");
}
