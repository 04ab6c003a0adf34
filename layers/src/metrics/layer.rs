use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use tower_layer::Layer;

use super::service::Metrics;
use super::table::Table;

/// Counts and times every operation; see the [module documentation](crate::metrics).
///
/// What it keeps is where the recorder's series are. Layers with the same name (or none) count into the same series,
/// whether they are clones or not.
#[derive(Clone)]
pub struct MetricsLayer {
    table: Arc<Table>,
}

impl MetricsLayer {
    /// Series without a label for the cache: for processes that have only one.
    #[must_use]
    pub fn new() -> Self {
        Self { table: Arc::new(Table::new(None)) }
    }

    /// The same with a label `cache` of this value on every series, to tell several caches of one process apart.
    #[must_use]
    pub fn name(self, name: impl Into<Cow<'static, str>>) -> Self {
        Self { table: Arc::new(Table::new(Some(name.into()))) }
    }
}

impl Default for MetricsLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for MetricsLayer {
    type Service = Metrics<S>;

    fn layer(&self, inner: S) -> Metrics<S> {
        Metrics::new(inner, Arc::clone(&self.table))
    }
}

impl fmt::Debug for MetricsLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsLayer").field("name", &self.table.name()).finish()
    }
}
