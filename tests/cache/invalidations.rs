//! Invalidation messages by way of the handle.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cachex::core::testing::{Leaf, Outcome};
use cachex::{Cache, CacheError, CacheRequest, CacheResponse, ErrorKind, Invalidation, Key};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::sync::oneshot;

const MINUTE: Duration = Duration::from_secs(60);

fn keys(names: &[&str]) -> Invalidation {
    Invalidation::Keys(names.iter().map(|name| Key::new(name).unwrap()).collect())
}

/// A handler, and what it was called with.
fn recorder() -> (impl Fn(Invalidation) + Send + 'static, UnboundedReceiver<Invalidation>) {
    let (sender, heard) = mpsc::unbounded_channel();
    (move |message| drop(sender.send(message)), heard)
}

#[tokio::test]
async fn a_handler_hears_every_message_in_order() -> Result<(), CacheError> {
    let cache: Cache<String> = Cache::memory(10);
    let (handler, mut heard) = recorder();
    let listener = cache.subscribe_invalidations(handler).await?;
    assert_eq!(cache.publish_invalidation(["a", "b"]).await?, 1);
    assert_eq!(cache.boxed().publish_invalidation(["c"]).await?, 1);
    assert_eq!(heard.recv().await, Some(keys(&["a", "b"])));
    assert_eq!(heard.recv().await, Some(keys(&["c"])));
    assert!(!listener.is_finished());
    cache.close().await?;
    assert_eq!(heard.recv().await, None, "the handler is gone");
    Ok(())
}

#[tokio::test]
async fn dropping_or_closing_unsubscribes() -> Result<(), CacheError> {
    let cache: Cache<String> = Cache::memory(10);
    let (handler, mut heard) = recorder();
    let listener = cache.subscribe_invalidations(handler).await?;
    listener.close().await;
    assert_eq!(cache.publish_invalidation(["a"]).await?, 0);
    assert_eq!(heard.recv().await, None);

    let (handler, mut heard) = recorder();
    drop(cache.subscribe_invalidations(handler).await?);
    assert_eq!(heard.recv().await, None);
    assert_eq!(cache.publish_invalidation(["a"]).await?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_waits_for_the_handler() -> Result<(), CacheError> {
    let cache: Cache<String> = Cache::memory(10);
    let (entered, has_entered) = oneshot::channel();
    let (leave, may_leave) = std::sync::mpsc::channel::<()>();
    let entered = std::sync::Mutex::new(Some(entered));
    let done = Arc::new(AtomicBool::new(false));
    let listener = cache.subscribe_invalidations({
        let done = Arc::clone(&done);
        move |_| {
            entered.lock().unwrap().take().unwrap().send(()).unwrap();
            may_leave.recv().unwrap();
            done.store(true, Ordering::SeqCst);
        }
    });
    let listener = listener.await?;
    cache.publish_invalidation(["a"]).await?;
    has_entered.await.unwrap();
    let closing = tokio::spawn(listener.close());
    leave.send(()).unwrap();
    closing.await.unwrap();
    assert!(done.load(Ordering::SeqCst));
    Ok(())
}

#[tokio::test]
async fn a_panicking_handler_loses_one_message() -> Result<(), CacheError> {
    let cache: Cache<String> = Cache::memory(10);
    let (record, mut heard) = recorder();
    let listener = cache.subscribe_invalidations(move |message| {
        assert_ne!(message, keys(&["bad"]), "planned");
        record(message);
    });
    let listener = listener.await?;
    for name in ["good", "bad", "better"] {
        cache.publish_invalidation([name]).await?;
    }
    assert_eq!(heard.recv().await, Some(keys(&["good"])));
    assert_eq!(heard.recv().await, Some(keys(&["better"])));
    assert_eq!((listener.panics(), listener.is_finished()), (1, false));
    Ok(())
}

#[tokio::test]
async fn own_messages_can_be_left_out() -> Result<(), CacheError> {
    let cache: Cache<String> = Cache::memory(10);
    let (handler, mut heard) = recorder();
    let _listener = cache.subscribe_invalidations(handler).skip_own().await?;
    let mut all = cache.subscribe().await?;
    cache.publish_invalidation(["a"]).await?;
    assert_eq!(all.next().await, Some(keys(&["a"])));
    cache.close().await?;
    assert_eq!(heard.recv().await, None);
    Ok(())
}

#[tokio::test]
async fn a_load_that_was_overtaken_is_not_stored() -> Result<(), CacheError> {
    let cache: Cache<String> = Cache::memory(10);
    let (sender, receiver) = oneshot::channel::<String>();
    let load = cache.read_through("a", MINUTE, async move || receiver.await);
    let reader = tokio::spawn(load.into_future());
    tokio::task::yield_now().await;
    cache.publish_invalidation(["a"]).await?;
    sender.send("old".to_owned()).unwrap();
    assert_eq!(*reader.await.unwrap()?, "old");
    assert_eq!(cache.get("a").await?, None);
    Ok(())
}

#[tokio::test]
async fn what_goes_wrong_is_told() {
    let leaf = Leaf::<String>::new();
    let cache = Cache::new(leaf.clone());
    let error = cache.publish_invalidation([""]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidKey);
    assert_eq!(leaf.calls(), 0);

    leaf.answer_with(|_: &CacheRequest<String>, _| Outcome::ok(CacheResponse::Done));
    assert_eq!(cache.publish_invalidation(["a"]).await.unwrap_err().kind(), ErrorKind::Internal);
    let error = cache.subscribe_invalidations(|_| {}).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
}
