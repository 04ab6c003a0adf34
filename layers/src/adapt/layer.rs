use tower_layer::Layer;

use super::service::Adapt;

/// Wraps a stock tower layer so that it fails with [`CacheError`](cachex_core::CacheError); see the
/// [module documentation](crate::adapt).
#[derive(Clone, Copy, Debug, Default)]
pub struct AdaptLayer<L> {
    layer: L,
}

impl<L> AdaptLayer<L> {
    /// Wraps `layer`.
    pub const fn new(layer: L) -> Self {
        Self { layer }
    }
}

impl<S, L: Layer<S>> Layer<S> for AdaptLayer<L> {
    type Service = Adapt<L::Service>;

    fn layer(&self, inner: S) -> Adapt<L::Service> {
        Adapt::new(self.layer.layer(inner))
    }
}
