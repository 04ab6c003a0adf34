use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::*;
use crate::error::ErrorKind;
use crate::key::Key;
use crate::request::Op;
use crate::testing::Gate;

fn get() -> CacheRequest<String> {
    CacheRequest::get(Key::new("k").unwrap())
}

async fn ready(leaf: &mut Leaf<String>) -> Result<(), CacheError> {
    std::future::poll_fn(|cx| leaf.poll_ready(cx)).await
}

async fn ask(
    leaf: &Leaf<String>,
    request: CacheRequest<String>,
) -> Result<CacheResponse<String>, CacheError> {
    let mut leaf = leaf.clone();
    ready(&mut leaf).await?;
    leaf.call(request).await
}

#[tokio::test(start_paused = true)]
async fn answers_in_the_order_of_the_script() {
    let leaf = Leaf::new();
    leaf.push(Outcome::hit("one".to_owned()));
    leaf.push(Outcome::err(CacheError::new(ErrorKind::Server, "two")).after(Duration::from_secs(3)));
    leaf.answer_with(|request, number| {
        assert_eq!((request.op(), number), (Op::Get, 2));
        Outcome::hit("three".to_owned()).after_yields(2)
    });
    assert_eq!(ask(&leaf, get()).await.unwrap().is_hit(), Some(true));
    let start = crate::clock::fresh();
    assert_eq!(ask(&leaf, get()).await.unwrap_err().kind(), ErrorKind::Server);
    assert_eq!(crate::clock::fresh() - start, Duration::from_secs(3));
    assert_eq!(ask(&leaf, get()).await.unwrap().is_hit(), Some(true));
    leaf.reset();
    assert_eq!(ask(&leaf, get()).await.unwrap().is_hit(), Some(false));
    assert_eq!(
        (leaf.calls(), leaf.completed(), leaf.take_requests().len(), leaf.requests().len()),
        (4, 4, 4, 0)
    );
}

#[tokio::test]
async fn readiness_is_per_clone_and_per_call() {
    let mut leaf = Leaf::new();
    let unready = |leaf: &mut Leaf<String>| {
        let panic = catch_unwind(AssertUnwindSafe(|| drop(leaf.call(get())))).unwrap_err();
        let message = panic.downcast_ref::<String>().unwrap();
        assert!(message.contains("not readied") && message.contains("`get`"), "{message}");
    };
    unready(&mut leaf);
    ready(&mut leaf).await.unwrap();
    ready(&mut leaf).await.unwrap();
    assert_eq!(leaf.reserved(), 1);
    unready(&mut leaf.clone());
    drop(leaf.call(get()));
    unready(&mut leaf);
    assert_eq!((leaf.calls(), leaf.cancelled(), leaf.violations(), leaf.reserved()), (1, 1, 3, 0));

    ready(&mut leaf).await.unwrap();
    let watch = leaf.clone();
    drop(leaf);
    assert_eq!((watch.reserved(), watch.in_flight()), (0, 0));
}

#[tokio::test]
async fn readiness_follows_its_script() {
    let gate = Gate::new();
    let mut leaf = Leaf::new();
    leaf.push_readiness(Readiness::err(CacheError::new(ErrorKind::Closed, "closed")));
    leaf.push_readiness(Readiness::now().after_gate(&gate));
    leaf.ready_with(|number| {
        assert_eq!(number, 2);
        Readiness::never()
    });
    assert_eq!(ready(&mut leaf).await.unwrap_err().kind(), ErrorKind::Closed);
    let mut cx = Context::from_waker(std::task::Waker::noop());
    assert!(leaf.poll_ready(&mut cx).is_pending());
    assert_eq!(gate.waiting(), 1);
    gate.open();
    assert!(leaf.poll_ready(&mut cx).is_ready());
    leaf.call(get()).await.unwrap();
    assert!(leaf.poll_ready(&mut cx).is_pending());
    assert_eq!(leaf.ready_polls(), 4);
}

#[tokio::test(start_paused = true)]
async fn counts_what_ends_how() {
    let gate = Gate::new();
    let leaf = Leaf::new();
    leaf.push(Outcome::default_answer().after_gate(&gate));
    leaf.push(Outcome::never());
    leaf.push(Outcome::panic("planned"));
    leaf.push(Outcome::panic_in_call("planned"));
    let spawn = || {
        let leaf = leaf.clone();
        tokio::spawn(async move { ask(&leaf, get()).await })
    };
    let (waits, never) = (spawn(), spawn());
    leaf.wait_for_in_flight(2).await;
    never.abort();
    assert!(never.await.unwrap_err().is_cancelled());
    assert!(spawn().await.unwrap_err().is_panic());
    assert!(spawn().await.unwrap_err().is_panic());
    leaf.wait_for_calls(4).await;
    gate.open();
    waits.await.unwrap().unwrap();
    assert_eq!(
        (leaf.calls(), leaf.completed(), leaf.cancelled(), leaf.panicked(), leaf.in_flight()),
        (4, 1, 1, 2, 0)
    );
    assert_eq!(leaf.peak_in_flight(), 2);
}

#[tokio::test]
async fn debug_shows_counts_only() {
    let leaf = Leaf::new();
    ask(&leaf, CacheRequest::set(Key::new("secret-key").unwrap(), "secret-value".to_owned(), None))
        .await
        .unwrap();
    let shown = format!("{leaf:?}");
    assert!(shown.contains("calls: 1") && !shown.contains("secret"), "{shown}");
}
