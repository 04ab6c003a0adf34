use super::*;

#[test]
fn is_one_word() {
    assert_eq!(size_of::<CacheError>(), size_of::<usize>());
    assert_eq!(size_of::<Result<(), CacheError>>(), size_of::<usize>());
}

#[test]
fn rejections_are_shared_and_never_promise_too_early() {
    for millis in [0, 1, 2, 3, 7, 100, 999, 1000, 60_000, 1_000_000] {
        let delay = Duration::from_millis(millis);
        let error = CacheError::rejection(ErrorKind::RateLimited, Some(delay));
        let told = error.retry_after().unwrap();
        assert!(told >= delay && told <= delay.mul_f64(1.5) + Duration::from_millis(1), "{delay:?} {told:?}");
        assert_eq!(error.retry(), Retry::After(told));
        let again = CacheError::rejection(ErrorKind::RateLimited, Some(delay));
        assert!(Arc::ptr_eq(&error.0, &again.0));
    }
    let open = CacheError::rejection(ErrorKind::CircuitOpen, Some(Duration::from_secs(30)));
    assert_eq!(open.retry(), Retry::Never);
    assert!(open.retry_after().unwrap() >= Duration::from_secs(30));
}

#[test]
fn changing_a_clone_leaves_the_original() {
    let error = CacheError::rejection(ErrorKind::Timeout, None);
    let spent = error.clone().exhausted(3);
    assert_eq!((error.retry(), error.attempts()), (Retry::Now, None));
    assert_eq!((spent.retry(), spent.attempts()), (Retry::Never, Some(3)));
    assert_eq!(spent.to_string(), "timed out (after 3 attempts)");
}

#[test]
fn the_source_is_kept() {
    let cause = std::io::Error::other("boom");
    let error = CacheError::with_source(ErrorKind::Connection, "connection lost", cause).with_op(Op::Get);
    assert_eq!(error.to_string(), "get: connection lost");
    assert_eq!(error.source().unwrap().to_string(), "boom");
    assert_eq!(error.clone().source().unwrap().to_string(), "boom");
    assert_eq!(error.effect(), Effect::Unknown);
}
