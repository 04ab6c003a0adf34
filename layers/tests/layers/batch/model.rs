//! Random calls, cancellations and answers against a map.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use cachex_core::testing::{Gate, Leaf, Outcome};
use cachex_core::{CacheRequest, CacheResponse, Entry, FillToken, Op};
use cachex_layers::BatchLayer;
use proptest::collection::vec;
use proptest::prelude::*;
use tower::Layer;

use super::{Call, Request, Stack, call, found, key, poll};

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    Get(u8),
    Set(u8),
    /// One of the reads under way is dropped.
    Cancel(usize),
    /// One of the reads under way is polled, as if something had woken it.
    Poll(usize),
    /// The oldest call of the store that is not answered yet ends.
    Answer,
    /// Senders run.
    Turn,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..6_u8).prop_map(Step::Get),
        2 => (0..6_u8).prop_map(Step::Set),
        2 => any::<usize>().prop_map(Step::Cancel),
        3 => any::<usize>().prop_map(Step::Poll),
        3 => Just(Step::Answer),
        3 => Just(Step::Turn),
    ]
}

/// A store whose reads see what is there when they arrive, and are answered when their gate opens.
#[derive(Clone, Default)]
struct Model {
    values: Arc<Mutex<HashMap<String, u64>>>,
    gates: Arc<Mutex<Vec<Gate>>>,
}

impl Model {
    fn value(&self, name: &str) -> Option<u64> {
        self.values.lock().unwrap().get(name).copied()
    }

    fn answer(&self, request: &Request) -> Outcome<String> {
        let entry = |name: &str| self.value(name).map(|value| Entry::new(format!("{name}={value}")));
        let mut entries: Vec<_> = request.keys().map(|key| entry(key.as_str())).collect();
        let answer = match request.op() {
            Op::Get => {
                entries.pop().flatten().map_or(CacheResponse::Miss(FillToken::UNFENCED), CacheResponse::Hit)
            }
            Op::GetMany => CacheResponse::Many(entries),
            _ => return Outcome::default_answer(),
        };
        let gate = Gate::new();
        self.gates.lock().unwrap().push(gate.clone());
        Outcome::ok(answer).after_gate(&gate)
    }

    /// Lets the oldest call end; `false` when there is none.
    fn release(&self) -> bool {
        let mut gates = self.gates.lock().unwrap();
        if gates.is_empty() {
            return false;
        }
        gates.remove(0).open();
        true
    }
}

/// A read under way, and what was written before it began.
struct Reading {
    call: Call,
    name: String,
    at_least: u64,
}

struct Run {
    stack: Stack,
    leaf: Leaf<String>,
    model: Model,
    reading: Vec<Reading>,
    written: u64,
}

impl Run {
    fn new(lanes: usize, max_batch: usize) -> Self {
        let (leaf, model) = (Leaf::new(), Model::default());
        let store = model.clone();
        leaf.answer_with(move |request, _| store.answer(request));
        let layer = BatchLayer::builder().lanes(lanes).max_batch(max_batch).build().unwrap();
        Self { stack: layer.layer(leaf.clone()), leaf, model, reading: Vec::new(), written: 0 }
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Get(number) => {
                let name = format!("key:{number}");
                let call = call(&self.stack, CacheRequest::get(key(&name)));
                let at_least = self.model.value(&name).unwrap_or(0);
                self.reading.push(Reading { call, name, at_least });
                self.look(self.reading.len() - 1);
            }
            Step::Set(number) => {
                self.written += 1;
                let name = format!("key:{number}");
                let set = CacheRequest::set(key(&name), self.written.to_string(), None);
                self.model.values.lock().unwrap().insert(name, self.written);
                assert!(call(&self.stack, set).await.is_ok());
            }
            Step::Cancel(at) if !self.reading.is_empty() => {
                drop(self.reading.swap_remove(at % self.reading.len()));
            }
            Step::Poll(at) if !self.reading.is_empty() => self.look(at % self.reading.len()),
            Step::Cancel(_) | Step::Poll(_) => {}
            Step::Answer => {
                self.model.release();
            }
            Step::Turn => tokio::task::yield_now().await,
        }
    }

    /// Polls one; if it is over, its answer is its own key's and not older than what was written before it began.
    fn look(&mut self, at: usize) {
        let Poll::Ready(answer) = poll(&mut self.reading[at].call) else { return };
        let Reading { name, at_least, .. } = self.reading.swap_remove(at);
        let text = found(answer);
        let seen = match text.as_deref().map(|text| text.split_once('=').unwrap()) {
            Some((of, value)) => {
                assert_eq!(of, name);
                value.parse().unwrap()
            }
            None => 0,
        };
        assert!(seen >= at_least, "{name}: {seen} was read, {at_least} had been written");
    }

    /// Everyone is served once the store answers everything.
    async fn finish(mut self) {
        for _ in 0..10_000 {
            self.model.release();
            tokio::task::yield_now().await;
            for at in (0..self.reading.len()).rev() {
                self.look(at);
            }
            if self.reading.is_empty() && self.leaf.in_flight() == 0 {
                let state = self.stack.handle().state();
                assert_eq!((state.queued, self.leaf.reserved(), self.leaf.violations()), (0, 0, 0));
                return;
            }
        }
        panic!("{} reads hang, {} in flight", self.reading.len(), self.leaf.in_flight());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_read_is_answered_with_its_own_and_no_older_than_it_may(
        steps in vec(step(), 1..120), lanes in 1..3_usize, max_batch in 1..5_usize
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut run = Run::new(lanes, max_batch);
            for step in steps {
                run.step(step).await;
            }
            run.finish().await;
        });
    }
}
