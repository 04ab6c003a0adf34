//! `layers/src/batch`: the whole layer, its senders being tasks of the explorer's.

use std::sync::Arc;

use cachex_core::{CacheError, CacheRequest, CacheResponse, CacheService, Entry, ErrorKind, Key, Op};
use shuttle::future::block_on;
use shuttle::thread;
use tokio::task::yield_now;
use tower_layer::Layer;
use tower_service::Service;

use crate::batch::BatchLayer;
use crate::tools::{Crowd, Leaf, MayBeGivenUp, chance, join, key};

/// A store in which each key holds its own length, and that is asked by so many at once at most.
fn leaf(most: usize) -> Leaf {
    let crowd = Arc::new(Crowd::default());
    let entry = |key: &Key| Entry::new(Arc::new(key.as_str().len() as u32));
    Leaf::new(move |request| {
        let crowd = Arc::clone(&crowd);
        async move {
            let _inside = crowd.enter(most);
            if chance() {
                yield_now().await;
            }
            let keys = request.read_keys().expect("it reads").clone();
            Ok(match request.op() {
                Op::Get => CacheResponse::Hit(entry(&keys.as_slice()[0])),
                _ => CacheResponse::Many(keys.as_slice().iter().map(|key| Some(entry(key))).collect()),
            })
        }
    })
}

fn length(answer: Result<CacheResponse<u32>, CacheError>) -> u32 {
    match answer.expect("the store answers") {
        CacheResponse::Hit(entry) => *entry.value,
        _ => panic!("each key holds something"),
    }
}

fn layer() -> BatchLayer {
    BatchLayer::builder().lanes(1).max_batch(2).build().expect("settings in their bounds")
}

fn nothing_waits(layer: &BatchLayer, mut batch: impl CacheService<u32>) {
    tokio::runtime::shut_down();
    assert_eq!(layer.handle().state().queued, 0, "somebody is still counted as waiting");
    assert_eq!(length(block_on(batch.call(CacheRequest::get(key("after"))))), 5);
}

/// Everyone is answered with what their own key holds, and there is one batch at a time: beside it, of four readers, two can
/// have found the lane idle.
///
/// Seen to fail with a lane that is idle although somebody waits, and with one that is busy after its last batch.
pub fn each_is_answered_with_its_own() {
    let layer = layer();
    let batch = layer.layer(leaf(3));
    join(["a", "bb", "bb", "ccc"].map(|text| {
        let mut batch = batch.clone();
        thread::spawn(move || {
            let read = batch.call(CacheRequest::get(key(text)));
            assert_eq!(length(block_on(read)), text.len() as u32);
        })
    }));
    nothing_waits(&layer, batch);
}

/// Callers give up in every state, and it costs the others nothing.
///
/// Seen to fail with places given up and still counted, and with a group that can be joined after it was sent.
pub fn who_gives_up_costs_nobody_anything() {
    let layer = layer();
    let batch = layer.layer(leaf(3));
    let fickle = ["a", "bb"].map(|text| {
        let mut batch = batch.clone();
        thread::spawn(move || {
            block_on(MayBeGivenUp::new(batch.call(CacheRequest::get(key(text)))));
        })
    });
    let steady = ["a", "ccc"].map(|text| {
        let mut batch = batch.clone();
        thread::spawn(move || {
            let read = batch.call(CacheRequest::get(key(text)));
            assert_eq!(length(block_on(read)), text.len() as u32);
        })
    });
    join(fickle.into_iter().chain(steady));
    nothing_waits(&layer, batch);
}

/// A queue that is full refuses, and counts nobody for ever.
///
/// Seen to fail with a lane that is busy after its last batch.
pub fn a_full_queue_refuses() {
    let layer = BatchLayer::builder().lanes(1).queue(1).build().expect("settings in their bounds");
    let batch = layer.layer(leaf(2));
    join(["a", "bb", "ccc"].map(|text| {
        let mut batch = batch.clone();
        thread::spawn(move || match block_on(batch.call(CacheRequest::get(key(text)))) {
            Err(error) => assert_eq!(error.kind(), ErrorKind::Overloaded),
            answer => assert_eq!(length(answer), text.len() as u32),
        })
    }));
    nothing_waits(&layer, batch);
}
