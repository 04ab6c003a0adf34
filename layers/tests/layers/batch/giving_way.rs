//! A server on this machine has the core of whoever has sent it a batch.
//!
//! How willing a thread is depends on what it met, so each test has one of its own whatever `--test-threads` says.

use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};

use cachex_core::testing::{Gate, Leaf, Outcome};
use cachex_core::{CacheRequest, handover};
use cachex_layers::{BatchHandle, BatchLayer};
use tower::{Layer, Service};

use super::{Call, Stack, echo, key, poll, soon};

/// A leaf whose calls wait at a gate each, and that notes each call if `is_here`.
fn over_gates(is_here: bool) -> (Stack, Leaf<String>, Vec<Gate>) {
    let (leaf, gates) = (Leaf::new(), vec![Gate::new(), Gate::new(), Gate::new()]);
    let shut = gates.clone();
    leaf.answer_with(move |request, number| {
        if is_here {
            handover::to_this_machine();
        }
        Outcome::ok(echo(request)).after_gate(&shut[number as usize])
    });
    let stack = BatchLayer::builder().lanes(1).build().unwrap().layer(leaf.clone());
    (stack, leaf, gates)
}

fn get(stack: &Stack, name: &str) -> Call {
    let mut call: Call = Box::pin(stack.clone().call(CacheRequest::get(key(name))));
    assert!(poll(&mut call).is_pending());
    call
}

fn on_its_own_thread(test: impl AsyncFnOnce() + Send + 'static) {
    let run = || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_time().start_paused(true).build().unwrap().block_on(test());
    };
    std::thread::spawn(run).join().unwrap();
}

async fn end(gates: &[Gate], calls: impl IntoIterator<Item = Call>) {
    gates.iter().for_each(Gate::open);
    for call in calls {
        call.await.unwrap();
    }
}

#[test]
fn once_for_a_batch_and_never_for_a_read_alone() {
    on_its_own_thread(async || {
        let (stack, leaf, gates) = over_gates(true);
        let first = get(&stack, "first");
        assert_eq!(stack.handle().state().gave_way, 0);
        let batch = ["a", "b"].map(|name| get(&stack, name));
        soon(|| leaf.calls() == 2).await;
        assert_eq!(stack.handle().state().gave_way, 1);
        end(&gates, [first].into_iter().chain(batch)).await;
        assert_eq!(stack.handle().state().gave_way, 1);
    });
}

/// What somebody else noted on this thread is not about this batch.
#[test]
fn never_to_a_server_elsewhere() {
    on_its_own_thread(async || {
        let (stack, leaf, gates) = over_gates(false);
        let first = get(&stack, "first");
        let batch = ["a", "b"].map(|name| get(&stack, name));
        handover::to_this_machine();
        soon(|| leaf.calls() == 2).await;
        assert_eq!(stack.handle().state().gave_way, 0);
        end(&gates, [first].into_iter().chain(batch)).await;
    });
}

#[test]
fn not_for_an_answer_that_is_there() {
    on_its_own_thread(async || {
        let (stack, leaf, gates) = over_gates(true);
        gates[1].open();
        let first = get(&stack, "first");
        let batch = ["a", "b"].map(|name| get(&stack, name));
        soon(|| leaf.calls() == 2).await;
        end(&gates, [first].into_iter().chain(batch)).await;
        assert_eq!((leaf.calls(), stack.handle().state().gave_way), (2, 0));
    });
}

/// What it was when each was woken.
struct Witness(BatchHandle, Mutex<Vec<u64>>);

impl Wake for Witness {
    fn wake(self: Arc<Self>) {
        self.1.lock().unwrap().push(self.0.state().gave_way);
    }
}

/// Who is woken is stuck in the queue of a thread that has no core.
#[test]
fn only_when_those_of_the_batch_before_are_woken() {
    on_its_own_thread(async || {
        let (stack, leaf, gates) = over_gates(true);
        let witness = Arc::new(Witness(stack.handle(), Mutex::default()));
        let waker = Waker::from(Arc::clone(&witness));
        let first = get(&stack, "first");
        let mut answered = ["a", "b"].map(|name| get(&stack, name));
        for call in &mut answered {
            assert!(call.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        soon(|| leaf.calls() == 2).await;
        // So many that their batch leaves before the answered are woken.
        let next: Vec<_> = (0..16).map(|n| get(&stack, &format!("n{n}"))).collect();
        gates[1].open();
        soon(|| leaf.calls() == 3).await;
        assert_eq!(*witness.1.lock().unwrap(), [1, 1]);
        // Unless the first time took a whole slice, on a busy machine.
        assert!(stack.handle().state().gave_way <= 2);
        end(&gates, [first].into_iter().chain(answered).chain(next)).await;
    });
}
