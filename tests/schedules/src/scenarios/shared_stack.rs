//! `layers/core/src/shared.rs`: one instance of a stack, lent from call to call.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use cachex_core::{CacheError, CacheRequest, CacheResponse, ErrorKind, FillToken};
use shuttle::future::block_on;
use shuttle::thread;
use tower_service::Service;

use crate::shared::{SharedCall, SharedStack};
use crate::tools::{Claim, MayBeGivenUp, Permits, chance, join, key};

/// A stack that reserves a permit when it is ready and works with it when it is called. `_depth` makes it too large to be
/// cloned for each call.
struct Reserving {
    claim: Claim,
    refuses: bool,
    _depth: [usize; 4],
}

impl Clone for Reserving {
    fn clone(&self) -> Self {
        Self { claim: self.claim.another(), refuses: self.refuses, _depth: self._depth }
    }
}

impl Service<CacheRequest<u32>> for Reserving {
    type Response = CacheResponse<u32>;
    type Error = CacheError;
    type Future = Work;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CacheError>> {
        self.claim.poll_held(cx).map(Ok)
    }

    fn call(&mut self, _: CacheRequest<u32>) -> Work {
        if self.refuses && chance() {
            // As a layer that refuses without passing on: what was reserved stays so.
            return Work { claim: None, suspends: false };
        }
        Work { claim: Some(self.claim.take()), suspends: chance() }
    }
}

struct Work {
    claim: Option<Claim>,
    suspends: bool,
}

impl Future for Work {
    type Output = Result<CacheResponse<u32>, CacheError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.claim.is_none() {
            return Poll::Ready(Err(CacheError::rejection(ErrorKind::RateLimited, None)));
        }
        if std::mem::take(&mut self.suspends) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.claim = None;
        Poll::Ready(Ok(CacheResponse::Miss(FillToken::UNFENCED)))
    }
}

fn stack(refuses: bool) -> (SharedStack<Reserving>, Arc<Permits>) {
    let permits = Permits::new(1);
    (SharedStack::new(Reserving { claim: permits.claim(), refuses, _depth: [0; 4] }), permits)
}

fn call(stack: &SharedStack<Reserving>) -> SharedCall<u32, Reserving> {
    SharedCall::new(stack.clone(), CacheRequest::get(key("k")))
}

fn three_callers(stack: &SharedStack<Reserving>, caller: fn(SharedStack<Reserving>)) {
    join((0..3).map(|_| {
        let stack = stack.clone();
        thread::spawn(move || caller(stack))
    }));
}

/// Three callers and one permit: each is answered, which takes that no wake-up is lost, that the instance which waits is the
/// one that was polled, and that nothing stays reserved in the instance that is lent.
///
/// Seen to fail with a clone kept in `Readying` instead of the instance that was polled, and without `renew`.
pub fn every_call_is_answered() {
    let (stack, permits) = stack(true);
    three_callers(&stack, |stack| {
        for _ in 0..2 {
            match block_on(call(&stack)) {
                Ok(_) => {}
                Err(error) => assert_eq!(error.kind(), ErrorKind::RateLimited),
            }
        }
    });
    assert_eq!(permits.free(), 1, "something is still reserved");
}

/// Callers give up whenever they like: what they held is free again, and the others are answered.
///
/// Seen to fail with the unready instance left in the stack, where the next call polled it for itself.
pub fn a_call_given_up_keeps_nothing() {
    let (stack, permits) = stack(false);
    three_callers(&stack, |stack| {
        block_on(MayBeGivenUp::new(call(&stack)));
        block_on(call(&stack)).expect("it is answered");
    });
    assert_eq!(permits.free(), 1, "something is still reserved");
}
