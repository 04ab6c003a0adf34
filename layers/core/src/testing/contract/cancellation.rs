//! The rules about futures that are dropped, and services that are.

use std::fmt;
use std::task::{Context, Waker};
use std::time::Duration;

use tower_layer::Layer;
use tower_service::Service;

use super::drive::{End, call, drive, drive_for, eventually, message_of, paused, ready};
use super::samples::key;
use super::{CONCURRENCY, Contract, REPEATS, assert_quiet};
use crate::error::{CacheError, ErrorKind};
use crate::request::{CacheRequest, Op};
use crate::service::CacheService;
use crate::testing::{Gate, Leaf, Outcome, Readiness};

/// A future is dropped after so many polls, and after every smaller number of them.
const MOST_POLLS: usize = 4;

const SCRIPTED_PANIC: &str = "scripted panic";

/// What readiness or a call of the inner service does in a scenario.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Ok,
    Err,
    Yield,
    Slow,
    Never,
    Panic,
    PanicInCall,
}

impl Phase {
    const READINESS: [Self; 5] = [Self::Ok, Self::Err, Self::Yield, Self::Slow, Self::Never];
    const CALL: [Self; 7] =
        [Self::Ok, Self::Err, Self::Yield, Self::Slow, Self::Never, Self::Panic, Self::PanicInCall];

    fn error() -> CacheError {
        // Of a kind that invites another attempt.
        CacheError::new(ErrorKind::Connection, "scripted error")
    }

    fn readiness(self) -> Readiness {
        match self {
            Self::Err => Readiness::err(Self::error()),
            Self::Yield => Readiness::now().after_yields(1),
            Self::Slow => Readiness::now().after(Duration::from_millis(1)),
            Self::Never => Readiness::never(),
            Self::Ok | Self::Panic | Self::PanicInCall => Readiness::now(),
        }
    }

    fn outcome<V>(self) -> Outcome<V> {
        match self {
            Self::Ok => Outcome::default_answer(),
            Self::Err => Outcome::err(Self::error()),
            Self::Yield => Outcome::default_answer().after_yields(2),
            Self::Slow => Outcome::default_answer().after(Duration::from_millis(1)),
            Self::Never => Outcome::never(),
            Self::Panic => Outcome::panic(SCRIPTED_PANIC),
            Self::PanicInCall => Outcome::panic_in_call(SCRIPTED_PANIC),
        }
    }
}

impl<V, W, L> Contract<V, W, L>
where
    V: PartialEq + fmt::Debug + Send + Sync + 'static,
    W: Send + Sync + 'static,
    L: Layer<Leaf<W>, Service: CacheService<V> + fmt::Debug> + fmt::Debug,
{
    pub(super) fn cancellation(&self) {
        let requests: [fn(V) -> CacheRequest<V>; 2] =
            [|_| CacheRequest::get(key(1)), |value| CacheRequest::set(key(1), value, None)];
        for readiness in Phase::READINESS {
            for outcome in Phase::CALL {
                for polls in (0..=MOST_POLLS).chain([usize::MAX]) {
                    for request in requests {
                        paused(self.cancel(readiness, outcome, polls, || request((self.value)(1))));
                    }
                }
            }
        }
        paused(self.crowd("all who wait are dropped", |_| true));
        paused(self.crowd("every other one who waits is dropped", |number| number % 2 == 0));
        paused(self.crowd("the first who waits is dropped", |number| number == 1));
    }

    async fn cancel(
        &self,
        readiness: Phase,
        outcome: Phase,
        polls: usize,
        request: impl Fn() -> CacheRequest<V>,
    ) {
        let (mut service, leaf) = self.rig();
        leaf.ready_with(move |_| readiness.readiness());
        leaf.answer_with(move |_, _| outcome.outcome());
        let op = request().op();
        let polled = if polls == usize::MAX {
            "never dropped".to_owned()
        } else {
            format!("dropped after {polls} polls")
        };
        let scene = format!("{op}, readiness {readiness:?}, call {outcome:?}, {polled}");
        let planned = |end: &End<_>| match end {
            End::Panicked(message) => assert_eq!(message, SCRIPTED_PANIC, "{scene}: another panic"),
            End::Stuck => {
                let waits = readiness == Phase::Never || outcome == Phase::Never;
                assert!(waits, "{scene}: it is pending and nothing will wake it");
            }
            End::Done(_) | End::Stopped => {}
        };

        for _ in 0..REPEATS {
            // Getting ready and the call as one future, with the instance inside.
            planned(&drive_for(call(service.clone(), request()), polls).await);

            // The call's future alone, while the instance lives on.
            let Ok(Ok(())) = tokio::time::timeout(Duration::from_secs(3600), ready(&mut service)).await
            else {
                // An instance whose readiness failed is to be discarded.
                service = service.clone();
                continue;
            };
            let called = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| service.call(request())));
            match called {
                Ok(future) => planned(&drive_for(future, polls).await),
                Err(panic) => planned(&End::Panicked(message_of(&*panic))),
            }
        }
        assert!(eventually(|| leaf.in_flight() == 0).await, "{scene}: calls are still in flight");
        leaf.reset();

        self.assert_unharmed(&service, &leaf, &scene, request).await;
        drop(service);
        assert_quiet(&leaf, &scene);
    }

    /// Calls beyond what a limit lets through are dropped while they wait, some of them right when their turn has come
    /// and before they hear of it.
    async fn crowd(&self, scene: &str, is_dropped: fn(usize) -> bool) {
        let (service, leaf) = self.rig();
        let gate = Gate::new();
        leaf.answer_with({
            let gate = gate.clone();
            move |_, _| Outcome::default_answer().after_gate(&gate)
        });
        let mut futures = Vec::new();
        for mut instance in vec![service.clone(); 2 * CONCURRENCY] {
            ready(&mut instance).await.expect("readiness");
            futures.push(Box::pin(instance.call(CacheRequest::get(key(1)))));
        }
        // By hand: a task would be polled as soon as it is woken.
        let mut elsewhere = Context::from_waker(Waker::noop());
        // Those that are refused end here.
        futures.retain_mut(|future| future.as_mut().poll(&mut elsewhere).is_pending());
        gate.open();
        let mut waiting = futures.split_off(CONCURRENCY.min(futures.len()));
        for mut future in futures {
            if future.as_mut().poll(&mut elsewhere).is_pending() {
                // It waits for its time to come, not for others to end.
                waiting.push(future);
            }
        }
        let mut number = 0;
        waiting.retain(|_| {
            number += 1;
            !is_dropped(number)
        });
        for future in waiting {
            let answer = drive(future).await.done(scene);
            answer.unwrap_or_else(|error| panic!("{scene}: one that waited on: {error:?}"));
        }
        leaf.reset();
        self.assert_unharmed(&service, &leaf, scene, || CacheRequest::get(key(1))).await;
    }

    /// Later calls get through, as many at once as before.
    async fn assert_unharmed(
        &self,
        service: &L::Service,
        leaf: &Leaf<W>,
        scene: &str,
        request: impl Fn() -> CacheRequest<V>,
    ) {
        for number in 0..CONCURRENCY {
            let answer = drive(call(service.clone(), request())).await;
            let what = format!("{scene}: call {number} after that");
            let answer = answer.done(&what);
            answer.unwrap_or_else(|error| panic!("{what}: {error:?}"));
        }
        let gate = Gate::new();
        leaf.answer_with({
            let gate = gate.clone();
            move |_, _| Outcome::default_answer().after_gate(&gate)
        });
        let tasks: Vec<_> =
            (0..CONCURRENCY).map(|_| tokio::spawn(drive(call(service.clone(), request())))).collect();
        let wanted = if request().op() == Op::Get { self.in_flight } else { CONCURRENCY };
        let reached = eventually(|| leaf.in_flight() == wanted).await;
        assert!(reached, "{scene}: {} of {wanted} concurrent calls get through after that", leaf.in_flight());
        gate.open();
        for task in tasks {
            let answer = task.await.expect("the driver does not panic").done("a concurrent call after that");
            answer.unwrap_or_else(|error| panic!("{scene}: a concurrent call after that: {error:?}"));
        }
    }

    pub(super) fn dropped_service(&self) {
        paused(async {
            for polls_before in [0, 1] {
                let (mut service, leaf) = self.rig();
                let gate = Gate::new();
                leaf.answer_with({
                    let gate = gate.clone();
                    move |_, _| Outcome::default_answer().after_gate(&gate)
                });
                let mut futures = Vec::new();
                for _ in 0..CONCURRENCY {
                    ready(&mut service).await.expect("readiness");
                    futures.push(Box::pin(service.call(CacheRequest::get(key(1)))));
                }
                for future in &mut futures {
                    for _ in 0..polls_before {
                        let polled = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                        assert!(polled.is_pending(), "it answered although the inner service had not");
                    }
                }
                drop(service);
                let tasks: Vec<_> = futures.into_iter().map(|future| tokio::spawn(drive(future))).collect();
                tokio::task::yield_now().await;
                gate.open();
                for task in tasks {
                    let answer = task.await.expect("the driver does not panic");
                    let answer = answer.done("a call whose service was dropped");
                    answer.unwrap_or_else(|error| panic!("a call whose service was dropped: {error:?}"));
                }
                assert_quiet(&leaf, "after the service was dropped");
            }
        });
    }

    pub(super) fn moves(&self) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_time()
            .build()
            .expect("a runtime without I/O can always be built");
        runtime.block_on(async {
            for polls_before in [0, 1] {
                let (mut service, leaf) = self.rig();
                let gate = Gate::new();
                leaf.push(Outcome::default_answer().after_gate(&gate));
                ready(&mut service).await.expect("readiness");
                let mut future = Box::pin(service.call(CacheRequest::get(key(1))));
                for _ in 0..polls_before {
                    let polled = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                    assert!(polled.is_pending(), "it answered although the inner service had not");
                }
                // `block_on` polls here; a spawned task is polled on another thread, always.
                let task = tokio::spawn(future);
                gate.open();
                let answer = task.await.unwrap_or_else(|error| {
                    panic!("moved to another thread after {polls_before} polls: {error}")
                });
                answer.expect("a call that was moved to another thread");
                assert_quiet(&leaf, "after a call on another thread");
            }
        });
    }
}
