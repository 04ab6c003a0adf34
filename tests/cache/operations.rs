//! What the handle adds to the stack: arguments checked, answers typed, nothing more.

use std::sync::Arc;
use std::time::Duration;

use cachex::core::testing::{Leaf, Outcome};
use cachex::{Cache, CacheError, CacheRequest, CacheResponse, ErrorKind, KeyTtl, Op, Ttl};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn every_operation_reaches_the_store() -> Result<(), CacheError> {
    let cache: Cache<String> = Cache::memory(100);
    cache.set("a", "1".to_owned(), MINUTE).await?;
    cache.mset([("b", "2".to_owned()), ("c", "3".to_owned())], Ttl::Never).await?;
    assert_eq!(*cache.get("a").await?.unwrap(), "1");
    let found = cache.mget(["c", "x", "b"]).await?;
    assert_eq!(
        found.iter().map(|v| v.as_deref().map(String::as_str)).collect::<Vec<_>>(),
        [Some("3"), None, Some("2")]
    );

    assert_eq!(cache.ttl("a").await?, KeyTtl::After(MINUTE));
    assert_eq!((cache.ttl("b").await?, cache.ttl("x").await?), (KeyTtl::Never, KeyTtl::Missing));
    assert!(cache.expire("b", MINUTE).await?);
    assert!(!cache.expire("x", MINUTE).await?);
    tokio::time::advance(MINUTE).await;
    assert!(!cache.exists("a").await? && !cache.exists("b").await? && cache.exists("c").await?);

    assert!(cache.set("c", "new".to_owned(), MINUTE).if_present().await?);
    assert!(!cache.set("c", "newer".to_owned(), MINUTE).if_absent().await?);
    assert!(cache.del("c").await?);
    assert!(!cache.del("c").await?);
    cache.mset([("d", "4".to_owned()), ("e", "5".to_owned())], MINUTE).await?;
    assert_eq!(cache.mdel(["d", "e", "f"]).await?, 2);

    assert_eq!(cache.incr_by("n", 5).ttl(MINUTE).await?, 5);
    assert_eq!(cache.incr_by("n", -7).await?, -2);
    assert_eq!(cache.ttl("n").await?, KeyTtl::After(MINUTE));

    cache.set("t", "tagged".to_owned(), MINUTE).tags(["team:7"]).await?;
    cache.set("u", "too".to_owned(), MINUTE).await?;
    assert!(cache.add_tags("u", ["team:7"]).await?);
    cache.invalidate_by_tag(["team:7"]).await?;
    assert_eq!(cache.mget(["t", "u"]).await?, [None, None]);

    cache.ping().await?;
    cache.close().await?;
    assert_eq!(cache.get("n").await.unwrap_err().kind(), ErrorKind::Closed);
    Ok(())
}

#[tokio::test]
async fn a_typed_handle_and_its_erased_form_are_one_cache() -> Result<(), CacheError> {
    let typed = Cache::new(cachex::store::memory::MemoryStore::<u64>::new(10));
    let erased: Cache<u64> = typed.boxed();
    erased.set("n", 1, Ttl::Never).await?;
    let entry = typed.get_entry("n").await?.unwrap();
    assert_eq!((*entry.value, entry.meta.origin), (1, cachex::Origin::Memory));
    Ok(())
}

#[tokio::test]
async fn bad_arguments_never_reach_the_stack() {
    let leaf: Leaf<u64> = Leaf::new();
    let cache = Cache::new(leaf.clone());
    assert_eq!(cache.get("").await.unwrap_err().kind(), ErrorKind::InvalidKey);
    assert_eq!(cache.mget(["a", "b\n"]).await.unwrap_err().kind(), ErrorKind::InvalidKey);
    assert_eq!(cache.set("a", 1, Duration::ZERO).await.unwrap_err().kind(), ErrorKind::InvalidTtl);
    assert_eq!(cache.mset([("a", 1)], Duration::MAX).await.unwrap_err().kind(), ErrorKind::InvalidTtl);
    assert_eq!(cache.expire("a", Duration::ZERO).await.unwrap_err().kind(), ErrorKind::InvalidTtl);
    assert_eq!(cache.incr_by("a", 1).ttl(Duration::ZERO).await.unwrap_err().kind(), ErrorKind::InvalidTtl);
    assert_eq!(cache.set("a", 1, Ttl::Never).tags([""]).await.unwrap_err().kind(), ErrorKind::InvalidTag);
    assert_eq!(cache.invalidate_by_tag([""]).await.unwrap_err().kind(), ErrorKind::InvalidTag);
    assert_eq!(leaf.calls(), 0);
}

#[tokio::test]
async fn an_answer_to_another_question_is_an_internal_error() {
    let leaf: Leaf<u64> = Leaf::new();
    leaf.answer_with(|_, _| Outcome::ok(CacheResponse::Count(1)));
    let cache = Cache::new(leaf);
    let error = cache.get("a").await.unwrap_err();
    assert_eq!((error.kind(), error.op()), (ErrorKind::Internal, Some(Op::Get)));
    assert_eq!(cache.ttl("a").await.unwrap_err().kind(), ErrorKind::Internal);
}

#[tokio::test]
async fn a_handle_ends_another_stack() -> Result<(), CacheError> {
    let inner: Cache<u64> = Cache::memory(10);
    let outer = Cache::new(inner.clone());
    outer.set("n", 3, Ttl::Never).await?;
    assert_eq!(inner.get("n").await?, Some(Arc::new(3)));
    let response = outer.send(CacheRequest::Ping).await?;
    assert!(matches!(response, CacheResponse::Done));
    Ok(())
}

#[tokio::test]
async fn debug_shows_the_stack_and_no_values() {
    let cache = Cache::new(cachex::store::memory::MemoryStore::<String>::new(10));
    cache.set("secret-key", "secret-value".to_owned(), Ttl::Never).await.unwrap();
    let shown = format!("{cache:?}");
    assert!(shown.contains("MemoryStore") && !shown.contains("secret"), "{shown}");
}

/// Whatever an operation answers with, code can be written for all of them.
#[tokio::test]
async fn answers_of_all_types_can_be_awaited_alike() {
    use cachex::CacheService;
    use cachex::cache::{Answer, FromResponse};

    async fn answered<V, S, T>(answer: Answer<V, S, T>) -> T
    where
        S: CacheService<V>,
        T: FromResponse<V>,
    {
        answer.await.unwrap()
    }
    let cache = Cache::<u32>::memory(10);
    assert!(!answered(cache.exists("k")).await);
    assert_eq!(answered(cache.mdel(["k"])).await, 0);
    assert_eq!(answered(cache.get("k")).await, None);
    answered(cache.ping()).await;
}
