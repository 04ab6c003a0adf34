//! What a guard does while it lives, and as it goes.

use std::error::Error;
use std::time::Duration;

use cachex::core::testing::{Leaf, Outcome};
use cachex::layers::{Bincode, EncryptionKey, KeyId, KeyRing};
use cachex::patterns::lock::RedlockGuard;
use cachex::preset::Recommended;
use cachex::store::memory::MemoryStore;
use cachex::{Cache, CacheError, CacheResponse, ErrorKind, LockGuard, Op, Sealed};
use tokio::time::Instant;

use super::{leaf_with, memory, owner, reset, seen, settle};

const TTL: Duration = Duration::from_secs(30);
const NO_WAIT: Duration = Duration::ZERO;

/// What a guard believes of its lifetime: a hundredth and 2 ms less.
const VALIDITY: Duration = Duration::from_millis(30_000 - 300 - 2);

async fn held(leaf: &Leaf<String>) -> LockGuard {
    Cache::new(leaf.clone()).lock("l", TTL, NO_WAIT).await.unwrap()
}

#[test]
fn guards_go_anywhere() {
    fn anywhere<T: Send + Sync + 'static>() {}
    anywhere::<LockGuard>();
    anywhere::<RedlockGuard>();
}

#[tokio::test(start_paused = true)]
async fn a_guard_extends_itself_for_as_long_as_it_lives() {
    let cache = memory();
    let guard = cache.try_lock("l", TTL).await.unwrap().unwrap();
    for _ in 0..1_000 {
        tokio::time::sleep(TTL / 7).await;
        assert!(!guard.is_lost());
        assert!(guard.valid_for() > TTL / 2 && guard.valid_for() <= VALIDITY, "{:?}", guard.valid_for());
        assert!(cache.try_lock("l", TTL).await.unwrap().is_none());
    }
    let first = guard.fencing_token();
    assert!(guard.release().await.unwrap());
    let next = cache.try_lock("l", TTL).await.unwrap().unwrap();
    assert!(next.fencing_token() > first);
}

#[tokio::test(start_paused = true)]
async fn it_extends_every_third_of_its_lifetime_under_its_owner() {
    let leaf = Leaf::new();
    let guard = held(&leaf).await;
    tokio::time::sleep(TTL * 10 + TTL / 6).await;
    let extensions = seen(&leaf, Op::ExtendLock);
    assert_eq!(extensions.len(), 30);
    let me = owner(&seen(&leaf, Op::Lock)[0]);
    assert!(extensions.iter().all(|extension| owner(extension) == me));
    drop(guard);
    settle().await;
    assert_eq!(seen(&leaf, Op::Unlock).iter().map(owner).collect::<Vec<_>>(), [me]);
    tokio::time::sleep(TTL * 10).await;
    assert_eq!(seen(&leaf, Op::ExtendLock).len(), 30, "and no more once it was dropped");
}

#[tokio::test(start_paused = true)]
async fn an_extension_that_is_refused_is_a_loss() {
    let leaf = leaf_with(Op::ExtendLock, || Outcome::ok(CacheResponse::Applied(false)));
    let (start, guard) = (Instant::now(), held(&leaf).await);
    assert!(!guard.is_lost());
    let (first, second) = tokio::join!(guard.lost(), guard.lost());
    assert_eq!((first.kind(), second.kind()), (ErrorKind::LockLost, ErrorKind::LockLost));
    assert_eq!(start.elapsed(), TTL / 3);
    assert!(guard.is_lost() && guard.valid_for().is_zero());
    assert!(!guard.release().await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn without_an_extension_it_is_lost_before_the_store_ends_it() {
    for failing in [|| Outcome::err(reset()), Outcome::never] {
        let leaf = leaf_with(Op::ExtendLock, failing);
        let (start, guard) = (Instant::now(), held(&leaf).await);
        let why = guard.lost().await;
        // A timer may be late by a millisecond, which the margin has room for.
        assert!(start.elapsed() >= VALIDITY && start.elapsed() < TTL, "{:?}", start.elapsed());
        assert!(guard.is_lost());
        assert_eq!(why.kind(), ErrorKind::LockLost);
        assert!(seen(&leaf, Op::ExtendLock).len() >= 2, "it has tried more than once");
        settle().await;
        assert_eq!(seen(&leaf, Op::Unlock).len(), 1, "an extension in doubt must not keep others out");
        assert!(!guard.release().await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn the_loss_tells_the_last_failure() {
    let guard = held(&leaf_with(Op::ExtendLock, || Outcome::err(reset()))).await;
    let why = guard.lost().await;
    assert!(why.source().is_some_and(|source| source.to_string().contains("reset")), "{why:?}");
}

#[tokio::test(start_paused = true)]
async fn an_outage_shorter_than_the_lifetime_is_survived() {
    let leaf = Leaf::new();
    let guard = held(&leaf).await;
    for _ in 0..20 {
        leaf.answer_with(|_, _| Outcome::err(reset()));
        tokio::time::sleep(TTL / 2).await;
        leaf.reset();
        tokio::time::sleep(TTL / 2).await;
        assert!(!guard.is_lost());
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_was_stopped_knows_with_its_first_look() {
    let cache = memory();
    let guard = cache.try_lock("l", TTL).await.unwrap().unwrap();
    settle().await;
    // Time passes, and no task of this process runs: `advance` moves the clock before anyone is woken.
    let stopped = tokio::time::advance(TTL * 2);
    let mut stopped = std::pin::pin!(stopped);
    let _ = std::future::poll_fn(|cx| std::task::Poll::Ready(stopped.as_mut().poll(cx))).await;
    assert!(guard.is_lost());
    stopped.await;
    settle().await;
    assert!(guard.is_lost(), "what is lost stays lost");
    assert_eq!(guard.lost().await.kind(), ErrorKind::LockLost);
    assert!(cache.try_lock("l", TTL).await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_late_extension_revives_nothing() {
    // The store grants it, but the answer comes when the holder was already told.
    let leaf = leaf_with(Op::ExtendLock, || {
        Outcome::ok(CacheResponse::Applied(true)).after(VALIDITY - TTL / 3 + Duration::from_millis(1))
    });
    let guard = held(&leaf).await;
    guard.lost().await;
    for _ in 0..100 {
        assert!(guard.is_lost());
        tokio::time::sleep(TTL / 20).await;
    }
}

#[tokio::test(start_paused = true)]
async fn dropping_it_gives_the_lock_up() {
    let cache = memory();
    for _ in 0..100 {
        let guard = cache.try_lock("l", TTL).await.unwrap().unwrap();
        let lost = guard.lost();
        drop(guard);
        assert_eq!(lost.await.kind(), ErrorKind::LockLost);
        settle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_that_nobody_waits_for_happens() {
    let cache = memory();
    for polls in 0..3 {
        let guard = cache.try_lock("l", TTL).await.unwrap().unwrap();
        {
            let mut release = std::pin::pin!(guard.release());
            for _ in 0..polls {
                let _ = std::future::poll_fn(|cx| std::task::Poll::Ready(release.as_mut().poll(cx))).await;
            }
        }
        settle().await;
        assert!(cache.try_lock("l", TTL).await.unwrap().is_some(), "{polls} polls");
        settle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_release_says_so_and_does_not_hold() {
    let leaf = leaf_with(Op::Unlock, || Outcome::err(reset()));
    let guard = held(&leaf).await;
    let lost = guard.lost();
    assert_eq!(guard.release().await.unwrap_err().kind(), ErrorKind::Connection);
    lost.await;
}

#[test]
fn a_guard_outlives_its_runtime_without_harm() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (cache, first) = (memory(), runtime());
    let guard = first.block_on(cache.try_lock("l", TTL)).unwrap().unwrap();
    drop(first);
    runtime().block_on(async {
        assert!(cache.try_lock("l", TTL).await.unwrap().is_none());
        assert!(guard.release().await.unwrap());
        assert!(cache.try_lock("l", TTL).await.unwrap().is_some());
    });
}

#[test]
fn a_guard_whose_keeper_is_gone_is_lost_in_time() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (cache, first) = (memory(), runtime());
    let guard = first.block_on(cache.try_lock("l", Duration::from_millis(300))).unwrap().unwrap();
    drop(first);
    runtime().block_on(async {
        assert_eq!(guard.lost().await.kind(), ErrorKind::LockLost);
        assert!(!guard.release().await.unwrap());
    });
}

#[tokio::test(start_paused = true)]
async fn locks_pass_through_every_layer() -> Result<(), CacheError> {
    let keys = KeyRing::new(KeyId(1), EncryptionKey::generate().unwrap());
    let store = MemoryStore::<Sealed>::new(100);
    let cache: Cache<String, _> = Cache::new(Recommended::new().sealed(Bincode, keys, store));
    let erased = cache.boxed();
    let guard = cache.lock("l", TTL, NO_WAIT).await?;
    assert!(erased.try_lock("l", TTL).await?.is_none());
    tokio::time::sleep(TTL * 5).await;
    assert!(!guard.is_lost());
    let first = guard.fencing_token();
    assert!(guard.release().await?);
    assert!(erased.try_lock("l", TTL).await?.is_some_and(|guard| guard.fencing_token() > first));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_lock_is_no_entry() -> Result<(), CacheError> {
    let cache = memory();
    let _guard = cache.lock("k", TTL, NO_WAIT).await?;
    assert_eq!(cache.get("k").await?, None);
    cache.set("k", "v".to_owned(), TTL).await?;
    assert!(cache.del("k").await?);
    assert!(cache.try_lock("k", TTL).await?.is_none());
    Ok(())
}
