//! `layers/src/bulkhead`: the whole layer. Its queue's timer fires whenever the explorer likes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cachex_core::{CacheRequest, CacheResponse, ErrorKind, FillToken, OpClass};
use shuttle::future::block_on;
use shuttle::thread;
use tokio::task::yield_now;
use tower_layer::Layer;
use tower_service::Service;

use crate::bulkhead::BulkheadLayer;
use crate::tools::{Crowd, Leaf, MayBeGivenUp, chance, join, key};

fn get() -> CacheRequest<u32> {
    CacheRequest::get(key("k"))
}

/// A leaf in which there is room for so many at once.
fn leaf(most: usize) -> Leaf {
    let crowd = Arc::new(Crowd::default());
    Leaf::new(move |_| {
        let crowd = Arc::clone(&crowd);
        async move {
            let _inside = crowd.enter(most);
            if chance() {
                yield_now().await;
            }
            Ok(CacheResponse::Miss(FillToken::UNFENCED))
        }
    })
}

fn nothing_is_held(layer: &BulkheadLayer) {
    let state = layer.handle().compartment(OpClass::Read);
    assert_eq!((state.in_flight, state.queued), (0, 0), "something is still held");
}

/// With a timer that never fires, everyone who waits is let in: no wake-up is lost, and never more run than may.
///
/// Seen to fail with a fast path that looks and then adds, with one that leaves by what it saw before, with a waiter who
/// queues without a second look under the lock, and with a waker left after the lock was free once more.
pub fn every_waiter_is_let_in() {
    let layer = BulkheadLayer::new(1).queue(3).queue_timeout(Duration::MAX);
    let leaf = leaf(1);
    join((0..3).map(|_| {
        let mut bulkhead = layer.layer(leaf.clone());
        thread::spawn(move || {
            for _ in 0..2 {
                block_on(bulkhead.call(get())).expect("there is room to wait");
            }
        })
    }));
    nothing_is_held(&layer);
}

/// Callers give up, waits time out, the queue overflows: every permit comes back, and who is refused is counted.
///
/// Seen to fail with a place that is given up without a look whether it had been granted.
pub fn every_permit_comes_back() {
    let layer = BulkheadLayer::new(1).queue(1).queue_timeout(Duration::from_secs(3600));
    let leaf = leaf(1);
    let refused = Arc::new(AtomicUsize::new(0));
    join((0..3).map(|_| {
        let (mut bulkhead, refused) = (layer.layer(leaf.clone()), Arc::clone(&refused));
        thread::spawn(move || {
            for _ in 0..2 {
                if let Some(Err(error)) = block_on(MayBeGivenUp::new(bulkhead.call(get()))) {
                    assert_eq!(error.kind(), ErrorKind::BulkheadFull);
                    refused.fetch_add(1, Ordering::SeqCst);
                }
            }
        })
    }));
    nothing_is_held(&layer);
    let counted = layer.handle().compartment(OpClass::Read).rejected;
    assert_eq!(counted as usize, refused.load(Ordering::SeqCst));
}
