//! Errors, panics, and runtimes that go away.

use std::error::Error;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

use cachex_core::testing::{Outcome, Readiness};
use cachex_core::{CacheError, CacheRequest, CacheResponse, Effect, ErrorKind, Op};
use tower::Service;

use super::{Bench, asked, call, echo, found, key, soon, texts};

/// What three callers of a batch are told when the batch fails with `kind`, and the calls of the leaf.
async fn after_failure(kind: ErrorKind) -> (Vec<super::Answer>, Vec<(Op, Vec<String>)>) {
    let bench = Bench::new();
    let first = bench.get("first");
    let calls = ["a", "bad", "c"].map(|name| bench.get(name));
    bench.leaf.answer_with(move |request, _| {
        let error = || CacheError::with_source(kind, "scripted", std::io::Error::other("cause"));
        if request.keys().any(|key| key.as_str() == "bad") {
            return Outcome::err(error().with_op(request.op()));
        }
        Outcome::ok(echo(request))
    });
    bench.gate.open();
    assert_eq!(found(first.await).unwrap(), "first");
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await);
    }
    let asked = asked(&bench.leaf);
    bench.assert_idle().await;
    (answers, asked)
}

#[tokio::test(start_paused = true)]
async fn one_bad_key_fails_alone() {
    let kinds = [
        ErrorKind::InvalidKey,
        ErrorKind::InvalidInput,
        ErrorKind::TooLarge,
        ErrorKind::Unsupported,
        ErrorKind::PermissionDenied,
        ErrorKind::Moved,
        ErrorKind::TryAgain,
        ErrorKind::ClusterDown,
        ErrorKind::CrossSlot,
        ErrorKind::WrongType,
        ErrorKind::Server,
        ErrorKind::Decode,
        ErrorKind::Decrypt,
        ErrorKind::SchemaMismatch,
    ];
    for kind in kinds {
        let (answers, asked) = after_failure(kind).await;
        let [a, bad, c] = answers.try_into().unwrap();
        assert_eq!((found(a).unwrap(), found(c).unwrap()), ("a".to_owned(), "c".to_owned()), "{kind}");
        let error = bad.unwrap_err();
        assert_eq!((error.kind(), error.op()), (kind, Some(Op::Get)));
        let ops: Vec<_> = asked.iter().map(|(op, _)| *op).collect();
        assert_eq!(ops, [Op::Get, Op::GetMany, Op::Get, Op::Get, Op::Get], "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_befalls_all_is_told_to_all() {
    let kinds = [
        ErrorKind::Connection,
        ErrorKind::Timeout,
        ErrorKind::Closed,
        ErrorKind::Busy,
        ErrorKind::Auth,
        ErrorKind::TooManyClients,
        ErrorKind::RateLimited,
        ErrorKind::BulkheadFull,
        ErrorKind::CircuitOpen,
        ErrorKind::Overloaded,
        ErrorKind::Foreign,
        ErrorKind::Internal,
    ];
    for kind in kinds {
        let (answers, asked) = after_failure(kind).await;
        for answer in answers {
            let error = answer.unwrap_err();
            assert_eq!((error.kind(), error.op()), (kind, Some(Op::Get)));
            assert_eq!(error.source().unwrap().to_string(), "cause");
        }
        assert_eq!(asked.len(), 2, "{kind}: no storm of single reads: {asked:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_something_else_is_an_error() {
    for answer in [|| CacheResponse::Done, || CacheResponse::Many(vec![None])] {
        let bench = Bench::new();
        let first = bench.get("first");
        let calls = ["a", "b"].map(|name| bench.get(name));
        bench.leaf.push(Outcome::ok(answer()));
        bench.gate.open();
        drop(first.await);
        for call in calls {
            assert_eq!(call.await.unwrap_err().kind(), ErrorKind::Internal);
        }
        bench.assert_idle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_an_error_to_its_batch_only() {
    for panic in [Outcome::panic, Outcome::panic_in_call] {
        let bench = Bench::with(|builder| builder.max_batch(2));
        let first = bench.get("first");
        let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| bench.get(name));
        bench.leaf.push(panic("planned"));
        bench.gate.open();
        drop(first.await);
        for call in [a, b] {
            let error = call.await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Internal);
            assert!(error.to_string().contains("panicked"), "{error}");
        }
        assert_eq!(found(c.await).unwrap(), "c");
        assert_eq!(found(d.await).unwrap(), "d");
        bench.assert_idle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_one_that_passes_alone_is_its_own() {
    for panic in [Outcome::panic, Outcome::panic_in_call] {
        let bench = Bench::new();
        bench.leaf.push(panic("planned").after_yields(1));
        let mut stack = bench.stack.clone();
        let first = tokio::spawn(async move { stack.call(CacheRequest::get(key("first"))).await });
        soon(|| bench.leaf.calls() == 1).await;
        let second = call(&bench.stack, CacheRequest::get(key("second")));
        assert!(first.await.unwrap_err().is_panic());
        assert_eq!(found(second.await).unwrap(), "second");
        bench.assert_idle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_inner_service_is_called_when_it_is_ready() {
    let bench = Bench::new();
    let first = bench.get("first");
    let calls = ["a", "b"].map(|name| bench.get(name));
    bench.leaf.push_readiness(Readiness::now().after_yields(3));
    bench.gate.open();
    drop(first.await);
    for (name, call) in ["a", "b"].iter().zip(calls) {
        assert_eq!(found(call.await).unwrap(), *name);
    }
    bench.leaf.push_readiness(Readiness::err(CacheError::new(ErrorKind::Connection, "not today")));
    let error = call(&bench.stack, CacheRequest::get(key("a"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connection);
    bench.assert_idle().await;
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

/// Callers of another runtime, or of none, wait for a batch whose runtime goes away.
#[test]
fn a_runtime_that_is_shut_down_leaves_nobody_waiting() {
    // While a batch is under way; and while one that passes alone is.
    for under_way in [true, false] {
        let (doomed, other) = (runtime(), runtime());
        let bench = Bench::with(|builder| builder.max_batch(2));
        let (first, calls) = doomed.block_on(async {
            let first = bench.get("first");
            let calls = ["a", "b", "c", "d", "e"].map(|name| bench.get(name));
            (first, calls)
        });
        let entered = other.enter();
        let late = bench.get("f");
        drop(entered);
        if under_way {
            bench.leaf.answer_with(|request, number| match number {
                1 => Outcome::never(),
                _ => Outcome::ok(echo(request)),
            });
            bench.gate.open();
            doomed.block_on(async {
                drop(first.await);
                soon(|| bench.leaf.calls() == 2).await;
            });
            drop(doomed);
        } else {
            drop(doomed);
            drop(first);
        }
        other.block_on(async {
            for call in calls {
                let error = call.await.unwrap_err();
                assert_eq!((error.kind(), error.effect()), (ErrorKind::Closed, Effect::None));
            }
            assert_eq!(late.await.unwrap_err().kind(), ErrorKind::Closed, "it had joined their last batch");
            bench.assert_idle().await;
        });
        assert_eq!(asked(&bench.leaf)[0], (Op::Get, texts(["first"])));
    }
}

/// One batch each: they are failed one after another, not each within the other.
#[test]
fn a_runtime_is_shut_down_while_thousands_of_batches_wait() {
    let (doomed, other) = (runtime(), runtime());
    let bench = Bench::with(|builder| builder.max_batch(1));
    let calls: Vec<_> = doomed.block_on(async {
        let first = tokio::spawn(bench.get("first"));
        let calls = (0..4000).map(|number| bench.get(number.to_string())).collect();
        drop(first);
        calls
    });
    let entered = other.enter();
    let late = bench.get("late");
    drop(entered);
    drop(doomed);
    other.block_on(async {
        for call in calls {
            assert_eq!(call.await.unwrap_err().kind(), ErrorKind::Closed);
        }
        assert_eq!(found(late.await).unwrap(), "late", "its own runtime lives");
        bench.assert_idle().await;
    });
}

#[tokio::test(start_paused = true)]
async fn a_waker_that_panics_harms_nobody_else() {
    struct Bad;
    impl Wake for Bad {
        fn wake(self: Arc<Self>) {
            panic!("planned");
        }
    }
    let bench = Bench::new();
    let first = bench.get("first");
    let mut bad = bench.get("bad");
    let waker = Waker::from(Arc::new(Bad));
    assert!(bad.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let good = tokio::spawn(bench.get("good"));
    // It leaves its own waker.
    tokio::task::yield_now().await;
    bench.gate.open();
    drop(first.await);
    assert_eq!(found(good.await.unwrap()).unwrap(), "good");
    drop(bad);
    bench.assert_idle().await;
}
