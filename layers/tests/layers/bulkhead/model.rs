//! Random interleavings of everything that can happen to calls, against a model that is plainly right.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    /// Call, and poll the call or leave it unpolled.
    Call { polled: bool },
    /// Poll one of the live calls.
    Poll(usize),
    /// Let the inner call of one of the running calls end.
    Finish(usize),
    /// Drop one of the live calls.
    Cancel(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => any::<bool>().prop_map(|polled| Step::Call { polled }),
        3 => any::<usize>().prop_map(Step::Poll),
        2 => any::<usize>().prop_map(Step::Finish),
        2 => any::<usize>().prop_map(Step::Cancel),
    ];
    proptest::collection::vec(step, 1..120)
}

/// A call as the test sees it.
struct Live {
    id: usize,
    call: Call,
    gate: Gate,
    wakes: Arc<Wakes>,
    waker: Waker,
    /// Polled since it was last woken: pending, and entitled to a wake-up.
    asleep: bool,
}

/// Who holds a permit and who waits, by call.
#[derive(Default)]
struct Model {
    held: Vec<usize>,
    queue: VecDeque<usize>,
    rejected: u64,
}

impl Model {
    fn release(&mut self, id: usize) -> Option<usize> {
        if let Some(at) = self.held.iter().position(|held| *held == id) {
            self.held.swap_remove(at);
            let next = self.queue.pop_front();
            self.held.extend(next);
            return next;
        }
        self.queue.retain(|queued| *queued != id);
        None
    }
}

struct Run {
    stack: Stack,
    leaf: Leaf<String>,
    /// What each inner call waits at, by its key.
    gates: Arc<Mutex<HashMap<String, Gate>>>,
    max: usize,
    queue: usize,
    model: Model,
    live: Vec<Live>,
    next_id: usize,
}

impl Run {
    fn new(max: usize, queue: usize) -> Self {
        let leaf = Leaf::new();
        let gates = Arc::<Mutex<HashMap<String, Gate>>>::default();
        let of_key = Arc::clone(&gates);
        leaf.answer_with(move |request, _| {
            let key = request.keys().next().unwrap().as_str();
            Outcome::default_answer().after_gate(&of_key.lock().unwrap()[key])
        });
        let layer = BulkheadLayer::new(max as u32).queue(queue as u32).queue_timeout(Duration::MAX);
        let stack = layer.layer(leaf.clone());
        Self { stack, leaf, gates, max, queue, model: Model::default(), live: Vec::new(), next_id: 0 }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Call { polled } => self.call(polled),
            _ if self.live.is_empty() => {}
            Step::Poll(at) => self.poll(at % self.live.len()),
            Step::Finish(at) => {
                let at = at % self.live.len();
                self.live[at].gate.open();
                self.poll(at);
            }
            Step::Cancel(at) => {
                let Live { id, call, .. } = self.live.swap_remove(at % self.live.len());
                let granted = self.model.release(id);
                drop(call);
                self.expect_woken(granted);
            }
        }
        self.check();
    }

    fn call(&mut self, polled: bool) {
        let gate = Gate::new();
        let id = self.next_id;
        self.next_id += 1;
        self.gates.lock().unwrap().insert(id.to_string(), gate.clone());
        let mut call = call(&mut self.stack, CacheRequest::get(Key::new(id.to_string()).unwrap()));
        if self.model.held.len() < self.max {
            assert!(self.model.queue.is_empty(), "the model itself");
            self.model.held.push(id);
        } else if self.model.queue.len() < self.queue {
            self.model.queue.push_back(id);
        } else {
            self.model.rejected += 1;
            assert!(refused(poll(&mut call)));
            return;
        }
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        self.live.push(Live { id, call, gate, wakes, waker, asleep: false });
        if polled {
            self.poll(self.live.len() - 1);
        }
    }

    fn poll(&mut self, at: usize) {
        let live = &mut self.live[at];
        let may_run = self.model.held.contains(&live.id);
        let before = self.leaf.calls();
        let answer = live.call.as_mut().poll(&mut Context::from_waker(&live.waker));
        assert!(may_run || self.leaf.calls() == before, "a waiter ran without a permit");
        live.asleep = answer.is_pending();
        // Its own gate may have woken it.
        live.wakes.0.store(0, Ordering::SeqCst);
        if answer.is_ready() {
            assert!(may_run);
            let id = self.live.swap_remove(at).id;
            let granted = self.model.release(id);
            self.expect_woken(granted);
        }
    }

    /// Whoever the model says was granted a permit, if it sleeps, has been woken; nobody else has.
    fn expect_woken(&mut self, granted: Option<usize>) {
        for live in &mut self.live {
            let woken = live.wakes.0.swap(0, Ordering::SeqCst);
            let due = granted == Some(live.id) && live.asleep;
            assert_eq!(woken, usize::from(due), "call {}", live.id);
            live.asleep &= !due;
        }
    }

    fn check(&self) {
        let expected = (self.model.held.len() as u32, self.model.queue.len() as u32, self.model.rejected);
        assert_eq!(counts(&self.stack, OpClass::Read), expected);
        assert!(self.leaf.in_flight() <= self.max);
        assert_eq!(self.leaf.violations(), 0);
    }
}

proptest! {
    #[test]
    fn agrees_with_the_model(max in 1_usize..4, queue in 0_usize..5, steps in steps()) {
        let mut run = Run::new(max, queue);
        for step in steps {
            run.step(step);
        }
        while !run.live.is_empty() {
            run.step(Step::Cancel(0));
        }
        prop_assert_eq!(run.leaf.in_flight(), 0);
    }
}
