//! Reads that meet go out together, and nobody pays for anybody else.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use cachex_core::testing::{Gate, Leaf, Outcome};
use cachex_core::{CacheError, CacheRequest, CacheResponse, Entry, FillToken, Key, Op};
use cachex_layers::{Batch, BatchLayer, BatchLayerBuilder, BatchState};
use tower::{Layer, Service};

mod bounds;
mod cancellation;
mod failures;
mod fences;
mod giving_way;
mod merging;
mod model;

const PATIENCE: Duration = Duration::from_secs(60);

type Request = CacheRequest<String>;
type Answer = Result<CacheResponse<String>, CacheError>;
type Stack = Batch<Leaf<String>>;
type Call = Pin<Box<dyn Future<Output = Answer> + Send>>;

fn key(name: impl AsRef<str>) -> Key {
    Key::new(name).unwrap()
}

/// A call whose hanging is a failure: under paused time as soon as nobody else has anything to do.
fn call(stack: &Stack, request: Request) -> Call {
    let call = stack.clone().call(request);
    if tokio::runtime::Handle::try_current().is_err() {
        return Box::pin(call);
    }
    Box::pin(async { tokio::time::timeout(PATIENCE, call).await.expect("no call hangs") })
}

/// A call under way: it entered its lane, if it is a read.
fn ask(stack: &Stack, request: Request) -> Call {
    let mut call = call(stack, request);
    assert!(poll(&mut call).is_pending());
    call
}

fn get(stack: &Stack, name: impl AsRef<str>) -> Call {
    ask(stack, CacheRequest::get(key(name)))
}

/// For a call that is woken by nobody: the test polls it again.
fn poll(call: &mut Call) -> Poll<Answer> {
    call.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// The text that was found; `None` for a miss.
fn found(answer: Answer) -> Option<String> {
    answer.unwrap().into_get().unwrap().ok().map(|entry| (*entry.value).clone())
}

/// What the leaf was asked, as its operations and keys.
fn asked(leaf: &Leaf<String>) -> Vec<(Op, Vec<String>)> {
    let told =
        |request: &Request| (request.op(), request.keys().map(|key| key.as_str().to_owned()).collect());
    leaf.requests().iter().map(told).collect()
}

fn texts<const N: usize>(names: [&str; N]) -> Vec<String> {
    names.map(str::to_owned).into()
}

/// A hit with the key's own name as the value, for every key but those that begin with `none`.
fn echo(request: &Request) -> CacheResponse<String> {
    let of = |key: &Key| (!key.as_str().starts_with("none")).then(|| Entry::new(key.as_str().to_owned()));
    match request.op() {
        Op::Get => {
            let entry = request.keys().next().and_then(of);
            entry.map_or(CacheResponse::Miss(FillToken::UNFENCED), CacheResponse::Hit)
        }
        Op::GetMany => CacheResponse::Many(request.keys().map(of).collect()),
        _ => CacheResponse::Done,
    }
}

/// Answers every read with its key's name, at once.
fn echoing(leaf: &Leaf<String>) {
    leaf.answer_with(|request, _| Outcome::ok(echo(request)));
}

/// One lane, so that all reads meet, over a leaf that echoes; its first call waits at the gate.
struct Bench {
    stack: Stack,
    leaf: Leaf<String>,
    gate: Gate,
}

impl Bench {
    fn new() -> Self {
        Self::with(|builder| builder)
    }

    fn with(set: impl FnOnce(BatchLayerBuilder) -> BatchLayerBuilder) -> Self {
        let (leaf, gate) = (Leaf::new(), Gate::new());
        let shut = gate.clone();
        leaf.answer_with(move |request, number| {
            let outcome = Outcome::ok(echo(request));
            if number == 0 { outcome.after_gate(&shut) } else { outcome }
        });
        let layer = set(BatchLayer::builder().lanes(1)).build().unwrap();
        Self { stack: layer.layer(leaf.clone()), leaf, gate }
    }

    fn get(&self, name: impl AsRef<str>) -> Call {
        get(&self.stack, name)
    }

    fn state(&self) -> BatchState {
        self.stack.handle().state()
    }

    /// Nothing is under way and nobody waits; the lane serves.
    async fn assert_idle(&self) {
        soon(|| self.leaf.in_flight() == 0).await;
        assert_eq!((self.state().queued, self.leaf.reserved(), self.leaf.violations()), (0, 0, 0));
        let before = self.leaf.calls();
        self.leaf.reset();
        echoing(&self.leaf);
        assert_eq!(found(call(&self.stack, CacheRequest::get(key("again"))).await).unwrap(), "again");
        assert_eq!(self.leaf.calls(), before + 1, "the lane is free: a lone read passes");
        assert_eq!(self.leaf.requests().last().unwrap().op(), Op::Get);
    }
}

/// Lets other tasks run until the condition holds.
async fn soon(condition: impl Fn() -> bool) {
    for _ in 0..1000 {
        if condition() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("it never came true");
}

#[test]
fn is_a_cache_service() {
    fn check<S: cachex_core::CacheService<String>>(_: S) {}
    check(BatchLayer::new().layer(Leaf::new()));
}

/// A read that nothing holds up.
async fn ask_soon(bench: &Bench, name: &str) -> Answer {
    call(&bench.stack, CacheRequest::get(key(name))).await
}
