//! Taking a lock: waiting, failing, being cancelled.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use cachex::core::testing::{Leaf, Outcome};
use cachex::layers::RetryLayer;
use cachex::store::memory::MemoryStore;
use cachex::{Cache, CacheError, CacheRequest, CacheResponse, Effect, ErrorKind, Op};
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;

use super::{leaf_with, memory, owner, reset, seen, settle};

const TTL: Duration = Duration::from_secs(30);
const SECOND: Duration = Duration::from_secs(1);

fn taken() -> Outcome<String> {
    Outcome::ok(CacheResponse::Locked(None))
}

#[tokio::test(start_paused = true)]
async fn waits_until_the_lock_is_free_and_no_longer_than_told() {
    let cache = memory();
    let guard = cache.try_lock("l", TTL).await.unwrap().unwrap();
    let start = Instant::now();
    let error = cache.lock("l", TTL, SECOND).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.effect(), error.op()),
        (ErrorKind::LockHeld, Effect::None, Some(Op::Lock))
    );
    assert_eq!(start.elapsed(), SECOND);

    let waiting = tokio::spawn({
        let cache = cache.clone();
        async move { cache.lock("l", TTL, TTL).await.map(|guard| (guard.fencing_token(), Instant::now())) }
    });
    let first = guard.fencing_token();
    tokio::time::sleep(SECOND * 5).await;
    let released = Instant::now();
    assert!(guard.release().await.unwrap());
    let (token, taken) = waiting.await.unwrap().unwrap();
    assert!(token > first);
    assert!(taken - released <= Duration::from_millis(51), "{:?}", taken - released);
}

#[tokio::test(start_paused = true)]
async fn without_waiting_it_asks_once() {
    let leaf = leaf_with(Op::Lock, taken);
    let error = Cache::new(leaf.clone()).lock("l", TTL, Duration::ZERO).await.unwrap_err();
    assert_eq!((error.kind(), leaf.calls()), (ErrorKind::LockHeld, 1));
    assert!(Cache::new(leaf.clone()).try_lock("l", TTL).await.unwrap().is_none());
    settle().await;
    assert!(seen(&leaf, Op::Unlock).is_empty(), "there is nothing to give up");
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_asks_at_a_bounded_pace() {
    let leaf = leaf_with(Op::Lock, taken);
    Cache::new(leaf.clone()).lock("l", TTL, SECOND * 10).await.unwrap_err();
    let asked = seen(&leaf, Op::Lock);
    assert!((200..420).contains(&asked.len()), "{}", asked.len());
    assert!(asked.iter().all(|request| owner(request) == owner(&asked[0])));
}

#[tokio::test(start_paused = true)]
async fn failures_that_may_pass_are_waited_out() {
    let failures = [
        reset(),
        CacheError::rejection(ErrorKind::CircuitOpen, Some(SECOND)),
        CacheError::rejection(ErrorKind::RateLimited, Some(SECOND)),
        reset().exhausted(3),
    ];
    for failure in failures {
        let leaf = leaf_with(Op::Lock, {
            let failure = failure.clone();
            move || Outcome::err(failure.clone())
        });
        let cache = Cache::new(leaf.clone());
        let error = cache.lock("l", TTL, SECOND).await.unwrap_err();
        assert_eq!(error.kind(), failure.kind());
        assert!(leaf.calls() > 1, "{failure}");
        let heals = async {
            tokio::time::sleep(SECOND * 3).await;
            leaf.reset();
        };
        let (guard, ()) = tokio::join!(cache.lock("l", TTL, SECOND * 10), heals);
        assert!(!guard.unwrap().is_lost());
    }
}

#[tokio::test(start_paused = true)]
async fn failures_that_stay_are_told_at_once() {
    for kind in [ErrorKind::Closed, ErrorKind::PermissionDenied, ErrorKind::WrongType, ErrorKind::Unsupported]
    {
        let leaf = leaf_with(Op::Lock, move || Outcome::err(CacheError::new(kind, "no")));
        let error = Cache::new(leaf.clone()).lock("l", TTL, SECOND).await.unwrap_err();
        assert_eq!((error.kind(), leaf.calls()), (kind, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn bad_arguments_never_reach_the_store() {
    let leaf = Leaf::<String>::new();
    let cache = Cache::new(leaf.clone());
    for ttl in [Duration::ZERO, Duration::from_millis(9), Duration::MAX] {
        let error = cache.try_lock("l", ttl).await.unwrap_err();
        assert_eq!((error.kind(), error.op()), (ErrorKind::InvalidTtl, Some(Op::Lock)));
        assert_eq!(cache.lock("l", ttl, SECOND).await.unwrap_err().kind(), ErrorKind::InvalidTtl);
    }
    assert_eq!(cache.try_lock("", TTL).await.unwrap_err().kind(), ErrorKind::InvalidKey);
    assert_eq!(leaf.calls(), 0);
    assert!(!cache.lock("l", Duration::from_millis(10), Duration::MAX).await.unwrap().is_lost());
}

#[test]
fn outside_of_a_runtime_it_says_so() {
    let cache = memory();
    let mut call = std::pin::pin!(cache.try_lock("l", TTL));
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match call.as_mut().poll(&mut cx) {
        Poll::Ready(Err(error)) => assert_eq!(error.kind(), ErrorKind::Unsupported),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_leaves_gives_up_what_it_may_have_got() {
    let leaf = leaf_with(Op::Lock, Outcome::never);
    let cache = Cache::new(leaf.clone());
    drop(cache.try_lock("l", TTL));
    settle().await;
    assert_eq!(leaf.calls(), 0, "what was never polled has done nothing");

    for call in [true, false] {
        let _ = leaf.take_requests();
        let acquiring = async {
            match call {
                true => drop(cache.try_lock("l", TTL).await),
                false => drop(cache.lock("l", TTL, SECOND).await),
            }
        };
        assert!(tokio::time::timeout(SECOND / 2, acquiring).await.is_err());
        settle().await;
        let (locks, unlocks) = (seen(&leaf, Op::Lock), seen(&leaf, Op::Unlock));
        assert_eq!((locks.len(), unlocks.len()), (1, 1));
        assert_eq!(owner(&locks[0]), owner(&unlocks[0]));
    }
}

/// Dropped at every step, over a store that grants at once and takes its time to say so.
#[tokio::test(start_paused = true)]
async fn cancelled_anywhere_it_leaves_no_lock_behind() {
    let cache = Cache::new(Through { inner: MemoryStore::new(10), loses: false, seen: Arc::default() });
    for polls in 0..8 {
        {
            let mut acquiring = std::pin::pin!(cache.lock("l", TTL, SECOND));
            for _ in 0..polls {
                let done =
                    std::future::poll_fn(|cx| Poll::Ready(acquiring.as_mut().poll(cx).is_ready())).await;
                if done {
                    break;
                }
            }
        }
        settle().await;
        let next = cache.try_lock("l", TTL).await.unwrap();
        assert!(next.is_some(), "{polls} polls");
        drop(next);
        settle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_in_doubt_is_given_up_and_what_is_not_is_left() {
    for (error, unlocks) in [(reset(), 1), (reset().with_effect(Effect::None), 0)] {
        let leaf = leaf_with(Op::Lock, move || Outcome::err(error.clone()));
        Cache::new(leaf.clone()).try_lock("l", TTL).await.unwrap_err();
        settle().await;
        assert_eq!(seen(&leaf, Op::Unlock).len(), unlocks);
    }
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_comes_too_late_is_none() {
    for delay in [TTL, TTL - Duration::from_millis(200)] {
        let leaf = leaf_with(Op::Lock, move || Outcome::default_answer().after(delay));
        let error = Cache::new(leaf.clone()).try_lock("l", TTL).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        settle().await;
        assert_eq!(seen(&leaf, Op::Unlock).len(), 1);
    }
}

/// Through a retry layer, the answer to the first attempt lost: the second is told what the first was.
#[tokio::test(start_paused = true)]
async fn a_retried_lock_does_not_wait_for_itself() {
    let lossy = Through { inner: MemoryStore::new(10), loses: true, seen: Arc::default() };
    let cache = Cache::new(RetryLayer::default().layer(lossy.clone()));
    let guard = cache.try_lock("l", TTL).await.unwrap().unwrap();
    assert_eq!((guard.fencing_token().0.get(), lossy.seen.load(Ordering::Relaxed)), (1, 2));
    assert!(guard.release().await.unwrap());
}

/// Passes every request on at once, and the answer some polls later; may say of the first that it failed.
#[derive(Clone)]
struct Through {
    inner: MemoryStore<String>,
    loses: bool,
    seen: Arc<AtomicU64>,
}

impl Service<CacheRequest<String>> for Through {
    type Response = CacheResponse<String>;
    type Error = CacheError;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<CacheResponse<String>, CacheError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut std::task::Context<'_>) -> Poll<Result<(), CacheError>> {
        Service::<CacheRequest<String>>::poll_ready(&mut self.inner, cx)
    }

    fn call(&mut self, request: CacheRequest<String>) -> Self::Future {
        let answer = self.inner.call(request);
        let lose = self.seen.fetch_add(1, Ordering::Relaxed) == 0 && self.loses;
        Box::pin(async move {
            let answer = answer.await;
            for _ in 0..4 {
                tokio::task::yield_now().await;
            }
            if lose { Err(reset()) } else { answer }
        })
    }
}

#[tokio::test(start_paused = true)]
async fn many_who_wait_each_get_their_turn() {
    let cache = memory();
    let inside = Arc::new(AtomicU64::new(0));
    let contenders: Vec<_> = (0..50)
        .map(|_| {
            let (cache, inside) = (cache.clone(), Arc::clone(&inside));
            tokio::spawn(async move {
                let mut tokens = Vec::new();
                for _ in 0..10 {
                    let guard = cache.lock("l", TTL, TTL * 100).await.unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "one at a time");
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    inside.fetch_sub(1, Ordering::SeqCst);
                    tokens.push(guard.fencing_token());
                    assert!(guard.release().await.unwrap());
                }
                tokens
            })
        })
        .collect();
    let mut tokens = Vec::new();
    for contender in contenders {
        tokens.extend(contender.await.unwrap());
    }
    tokens.sort();
    tokens.dedup();
    assert_eq!(tokens.len(), 500);
}
