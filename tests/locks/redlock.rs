//! Locks on a majority of servers.

use std::error::Error;
use std::time::Duration;

use cachex::core::testing::{Leaf, Outcome};
use cachex::patterns::lock::Redlock;
use cachex::store::memory::MemoryStore;
use cachex::{CacheError, CacheResponse, ErrorKind, Op};
use cachex_test_support::{RedisServer, eventually};
use tokio::time::Instant;

use super::{PATIENCE, owner, reset, seen, settle};

const TTL: Duration = Duration::from_secs(30);
const SECOND: Duration = Duration::from_secs(1);

fn leaves() -> [Leaf<String>; 5] {
    std::array::from_fn(|_| Leaf::new())
}

fn over(leaves: &[Leaf<String>]) -> Redlock {
    Redlock::new(leaves.to_vec()).unwrap()
}

fn answers(leaf: &Leaf<String>, op: Op, answer: impl Fn() -> Outcome<String> + Send + Sync + 'static) {
    leaf.answer_with(move |request, _| if request.op() == op { answer() } else { Outcome::default_answer() });
}

fn refuses(leaf: &Leaf<String>) {
    answers(leaf, Op::Lock, || Outcome::ok(CacheResponse::Locked(None)));
}

#[test]
fn three_servers_are_the_least() {
    for few in 0..3 {
        let error = Redlock::new((0..few).map(|_| MemoryStore::<String>::new(10))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
    for (servers, quorum) in [(3, 2), (4, 3), (5, 3), (6, 4), (7, 4)] {
        let redlock = Redlock::new((0..servers).map(|_| MemoryStore::<String>::new(10))).unwrap();
        assert_eq!(redlock.quorum(), quorum);
    }
}

#[tokio::test(start_paused = true)]
async fn a_majority_holds_extends_and_gives_up() {
    let redlock = Redlock::new((0..5).map(|_| MemoryStore::<String>::new(10))).unwrap();
    for _ in 0..3 {
        let guard = redlock.try_lock("l", TTL).await.unwrap().unwrap();
        assert!(redlock.try_lock("l", TTL).await.unwrap().is_none());
        tokio::time::sleep(TTL * 10).await;
        assert!(!guard.is_lost());
        let error = redlock.lock("l", TTL, SECOND).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LockHeld);
        assert!(guard.release().await.unwrap());
    }
    drop(redlock.lock("l", TTL, SECOND).await.unwrap());
    settle().await;
    assert!(redlock.try_lock("l", TTL).await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn without_a_majority_everything_is_given_up() {
    let leaves = leaves();
    leaves[..3].iter().for_each(refuses);
    assert!(over(&leaves).try_lock("l", TTL).await.unwrap().is_none());
    settle().await;
    for leaf in &leaves {
        assert_eq!((seen(leaf, Op::Lock).len(), seen(leaf, Op::Unlock).len()), (1, 1));
        assert_eq!(owner(&seen(leaf, Op::Lock)[0]), owner(&seen(leaf, Op::Unlock)[0]));
    }
}

/// A release of one attempt that arrives late must not free what the next attempt took.
#[tokio::test(start_paused = true)]
async fn each_attempt_has_an_owner_of_its_own() {
    let leaves = leaves();
    leaves[..3].iter().for_each(refuses);
    over(&leaves).lock("l", TTL, SECOND).await.unwrap_err();
    settle().await;
    for leaf in &leaves {
        let (locks, unlocks) = (seen(leaf, Op::Lock), seen(leaf, Op::Unlock));
        assert!(locks.len() > 5);
        let owners: std::collections::HashSet<_> = locks.iter().map(owner).collect();
        assert_eq!((owners.len(), unlocks.len()), (locks.len(), locks.len()));
    }
}

#[tokio::test(start_paused = true)]
async fn servers_that_fail_or_hang_are_outvoted() {
    for failing in [|| Outcome::err(reset()), Outcome::never] {
        let leaves = leaves();
        for leaf in &leaves[..2] {
            leaf.answer_with(move |_, _| failing());
        }
        let (start, redlock) = (Instant::now(), over(&leaves).server_timeout(SECOND / 10));
        let guard = redlock.try_lock("l", TTL).await.unwrap().unwrap();
        assert!(start.elapsed() <= SECOND / 10);
        tokio::time::sleep(TTL * 10).await;
        assert!(!guard.is_lost());
        assert!(guard.release().await.unwrap());

        leaves[2].answer_with(move |_, _| failing());
        let error = redlock.try_lock("l", TTL).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Connection | ErrorKind::Timeout));
        assert_eq!(error.message(), "2 of 5 servers agreed, 3 must");
        assert!(error.source().is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn time_spent_asking_is_no_validity() {
    let leaves = leaves();
    leaves.iter().for_each(|leaf| answers(leaf, Op::Lock, || Outcome::default_answer().after(SECOND)));
    let guard = over(&leaves).server_timeout(SECOND * 2).try_lock("l", TTL).await.unwrap().unwrap();
    assert!(guard.valid_for() <= TTL - SECOND - TTL / 100, "{:?}", guard.valid_for());
}

#[tokio::test(start_paused = true)]
async fn an_extension_needs_a_majority() {
    let refused = || Outcome::ok(CacheResponse::Applied(false));
    let failed = || Outcome::err(reset());
    type Answer = fn() -> Outcome<String>;
    let cases: [([Option<Answer>; 5], Option<Duration>); 4] = [
        ([Some(refused), Some(refused), None, None, None], None),
        ([Some(failed), Some(refused), None, None, None], None),
        ([Some(refused), Some(refused), Some(refused), None, None], Some(TTL / 3)),
        ([Some(failed), Some(refused), Some(failed), None, None], Some(TTL - TTL / 100 - SECOND / 500)),
    ];
    for (script, lost_after) in cases {
        let leaves = leaves();
        for (leaf, answer) in leaves.iter().zip(script) {
            if let Some(answer) = answer {
                answers(leaf, Op::ExtendLock, answer);
            }
        }
        let (start, guard) = (Instant::now(), over(&leaves).try_lock("l", TTL).await.unwrap().unwrap());
        let lost = tokio::time::timeout(TTL * 5, guard.lost()).await;
        assert_eq!(lost.is_ok(), lost_after.is_some());
        if let Some(after) = lost_after {
            let late = start.elapsed().saturating_sub(after);
            assert!(start.elapsed() >= after && late <= Duration::from_millis(1), "{:?}", start.elapsed());
        }
    }
}

async fn five() -> ([RedisServer; 5], Redlock) {
    let servers: Vec<_> = futures_util::future::join_all((0..5).map(|_| RedisServer::start())).await;
    let redlock = Redlock::connect(servers.iter().map(RedisServer::url)).unwrap();
    (servers.try_into().unwrap(), redlock.server_timeout(SECOND))
}

#[tokio::test]
async fn killing_one_server_of_five_changes_nothing_and_killing_three_refuses() -> Result<(), CacheError> {
    let (servers, redlock) = five().await;
    let ttl = SECOND * 5;
    let guard = redlock.lock("l", ttl, PATIENCE).await?;
    servers[0].kill().await;
    assert!(redlock.try_lock("l", ttl).await?.is_none());
    // It has been extended without the one that is gone.
    tokio::time::sleep(ttl / 2).await;
    assert!(guard.valid_for() > ttl / 2);
    assert!(guard.release().await?);
    let guard = redlock.try_lock("l", ttl).await?.unwrap();
    assert!(redlock.try_lock("l", ttl).await?.is_none());

    servers[1].kill().await;
    assert!(!guard.is_lost(), "three of five are a majority");
    servers[2].kill().await;
    let why = tokio::time::timeout(PATIENCE, guard.lost()).await.unwrap();
    assert_eq!(why.kind(), ErrorKind::LockLost);
    assert!(why.source().is_some());
    drop(guard);
    let error = redlock.try_lock("l", ttl).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connection, "{error:?}");
    let error = redlock.lock("l", ttl, SECOND / 2).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connection);

    servers[1].restart().await;
    eventually(PATIENCE, async || matches!(redlock.try_lock("l", ttl).await, Ok(Some(_)))).await;
    Ok(())
}
