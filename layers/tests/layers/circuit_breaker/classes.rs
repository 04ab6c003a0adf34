//! One circuit for each kind of work.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_server_out_of_memory_still_reads_and_removes() {
    let bench = bench(quick());
    let handle = bench.stack.handle();
    bench.leaf.answer_with(|request, _| match request.class() {
        OpClass::Write if !matches!(request, CacheRequest::Delete(_)) => failure(ErrorKind::OutOfMemory),
        _ => Outcome::default_answer(),
    });
    for _ in 0..2 {
        assert_eq!(kind(ask(&bench.stack, set()).await), Some(ErrorKind::OutOfMemory));
    }
    assert_eq!(kind(ask(&bench.stack, set()).await), Some(ErrorKind::CircuitOpen));
    assert_eq!(handle.circuit(OpClass::Write).state(), CircuitState::Open);
    assert_eq!(handle.state(), CircuitState::Open);
    let lock = CacheRequest::lock(key(), LockOwner(1), SECOND);
    assert_eq!(kind(ask(&bench.stack, lock).await), Some(ErrorKind::CircuitOpen));
    for request in [get(), CacheRequest::delete(key()), CacheRequest::unlock(key(), LockOwner(1))] {
        ask(&bench.stack, request).await.unwrap();
    }
    assert_eq!(bench.leaf.violations(), 0);
}

#[tokio::test(start_paused = true)]
async fn ping_and_close_always_pass_and_never_count() {
    let bench = bench(quick());
    bench.stack.handle().force_open();
    ask(&bench.stack, CacheRequest::Ping).await.unwrap();
    ask(&bench.stack, CacheRequest::Close).await.unwrap();
    bench.stack.handle().reset();
    for _ in 0..3 {
        bench.leaf.push(lost());
        ask(&bench.stack, CacheRequest::Ping).await.unwrap_err();
    }
    assert_eq!(bench.stack.handle().state(), CircuitState::Closed);
    assert_eq!(bench.stack.handle().circuit(OpClass::Control).snapshot().calls, 0);
}

#[tokio::test(start_paused = true)]
async fn one_circuit_is_one_for_all() {
    let bench = bench(quick().one_circuit());
    bench.leaf.push(lost());
    bench.leaf.push(lost());
    ask(&bench.stack, set()).await.unwrap_err();
    ask(&bench.stack, CacheRequest::delete(key())).await.unwrap_err();
    assert_eq!(kind(bench.get().await), Some(ErrorKind::CircuitOpen));
    assert_eq!(bench.stack.handle().circuit(OpClass::Control).state(), CircuitState::Open);
}
