//! The rules about readiness, clones and wake-ups.

use std::fmt;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use tower_layer::Layer;
use tower_service::Service;

use super::drive::{call, drive, eventually, paused, ready};
use super::samples::key;
use super::{CONCURRENCY, Contract, REPEATS, assert_quiet};
use crate::error::{CacheError, ErrorKind};
use crate::request::CacheRequest;
use crate::service::CacheService;
use crate::testing::{Gate, Leaf, Outcome, Readiness};

/// What the inner service waits for: some time, or the gate.
type Wait<W> = fn(Duration, &Gate) -> (Readiness, Outcome<W>);

impl<V, W, L> Contract<V, W, L>
where
    V: PartialEq + fmt::Debug + Send + Sync + 'static,
    W: Send + Sync + 'static,
    L: Layer<Leaf<W>, Service: CacheService<V> + fmt::Debug> + fmt::Debug,
{
    pub(super) fn readied(&self) {
        // The instance that is called must be the readied one even if getting ready takes its time every time, and even
        // if the layer calls again by itself because the answer invites it to.
        let readiness: [fn(u64) -> Readiness; 3] = [
            |_| Readiness::now(),
            |_| Readiness::now().after_yields(1),
            |number| Readiness::now().after_yields((number % 3) as u32),
        ];
        let answers: [fn(u64) -> Outcome<W>; 4] = [
            |_| Outcome::default_answer(),
            |_| Outcome::default_answer().after_yields(1),
            |_| Outcome::err(CacheError::new(ErrorKind::Connection, "scripted")),
            |number| match number % 2 {
                0 => Outcome::err(CacheError::new(ErrorKind::Timeout, "scripted")).after_yields(1),
                _ => Outcome::default_answer(),
            },
        ];
        for ready_with in readiness {
            for answer_with in answers {
                paused(async {
                    let (service, leaf) = self.rig();
                    leaf.ready_with(ready_with);
                    leaf.answer_with(move |_, number| answer_with(number));
                    // Boxed: one future for all of it would be large.
                    let ended = drive(Box::pin(exercise::<V, _>(service))).await;
                    assert_eq!(
                        leaf.violations(),
                        0,
                        "the inner service was called on an instance that was not readied"
                    );
                    ended.done("calls one after another, over clones and replaced instances");
                    assert_quiet(&leaf, "after all calls ended");
                });
            }
        }
    }

    pub(super) fn clones(&self) {
        paused(async {
            let (service, leaf) = self.rig();
            let gate = Gate::new();
            leaf.answer_with({
                let gate = gate.clone();
                move |_, _| Outcome::default_answer().after_gate(&gate)
            });
            let mut instances = vec![service; CONCURRENCY];
            for instance in &mut instances {
                ready(instance).await.expect("a clone gets ready while others are ready");
            }
            let mut tasks: Vec<_> = instances
                .iter_mut()
                .map(|instance| tokio::spawn(drive(instance.call(CacheRequest::get(key(1))))))
                .collect();
            assert!(
                eventually(|| leaf.in_flight() == self.in_flight).await,
                "{CONCURRENCY} clones were called, and only {} of the calls reached the inner service",
                leaf.in_flight()
            );
            let cancelled = tasks.swap_remove(0);
            cancelled.abort();
            drop(cancelled.await);
            drop(instances);
            gate.open();
            for task in tasks {
                let answer = task
                    .await
                    .expect("the driver does not panic")
                    .done("a clone's call after another was cancelled");
                answer.expect("a clone's call succeeds although another was cancelled");
            }
            assert!(
                eventually(|| leaf.in_flight() == 0).await,
                "a cancelled clone's call is still in flight"
            );
            assert_quiet(&leaf, "after all clones' calls ended");
        });

        // In earnest: on threads.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(4)
            .enable_time()
            .build()
            .expect("a runtime without I/O can always be built");
        runtime.block_on(async {
            let (service, leaf) = self.rig();
            leaf.answer_with(|_, number| Outcome::default_answer().after_yields((number % 3) as u32));
            let done = Arc::new(AtomicUsize::new(0));
            let tasks: Vec<_> = (0..CONCURRENCY)
                .map(|_| {
                    let (service, done) = (service.clone(), Arc::clone(&done));
                    tokio::spawn(async move {
                        for _ in 0..REPEATS {
                            call(service.clone(), CacheRequest::<V>::get(key(1))).await?;
                            done.fetch_add(1, Ordering::Relaxed);
                        }
                        Ok::<_, CacheError>(())
                    })
                })
                .collect();
            for task in tasks {
                task.await
                    .expect("a clone's call on another thread panicked")
                    .expect("a clone's call on another thread");
            }
            assert_eq!(done.load(Ordering::Relaxed), CONCURRENCY * REPEATS);
            assert_quiet(&leaf, "after all threads ended");
        });
    }

    pub(super) fn wake_ups(&self) {
        let get = || CacheRequest::<V>::get(key(1));
        // Whatever the inner service waits for, its end reaches the caller; nothing but a wake-up makes the task go on.
        let slow = Duration::from_millis(1);
        let waits: [Wait<W>; 4] = [
            |_, gate| (Readiness::now().after_gate(gate), Outcome::default_answer()),
            |_, gate| (Readiness::now(), Outcome::default_answer().after_gate(gate)),
            |slow, gate| {
                gate.open();
                (Readiness::now().after(slow), Outcome::default_answer().after(slow))
            },
            |_, gate| {
                gate.open();
                (Readiness::now().after_yields(3), Outcome::default_answer().after_yields(3))
            },
        ];
        for wait in waits {
            paused(async {
                let (service, leaf) = self.rig();
                let gate = Gate::new();
                let (readiness, outcome) = wait(slow, &gate);
                leaf.push_readiness(readiness);
                leaf.push(outcome);
                let task = tokio::spawn(drive(call(service, get())));
                // Opened only once someone waits, or the wake-up would not be put to the test.
                for _ in 0..1000 {
                    if gate.waiting() == 1 {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
                gate.open();
                let ended = task.await.expect("the driver does not panic");
                ended.done("a call whose inner service went on").expect("a call whose inner service went on");
            });
        }

        // A future, or readiness, that was polled by one task and goes on in another wakes the latter.
        paused(async {
            let (mut service, leaf) = self.rig();
            let (first, second) = (Gate::new(), Gate::new());
            leaf.push_readiness(Readiness::now().after_gate(&first));
            leaf.push(Outcome::default_answer().after_gate(&second));
            let mut elsewhere = Context::from_waker(Waker::noop());
            let was_ready = service.poll_ready(&mut elsewhere).is_ready();
            let task = tokio::spawn(drive(async move {
                ready(&mut service).await?;
                let mut future = Box::pin(service.call(get()));
                let answered = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                assert!(answered.is_pending(), "it answered although the inner service had not");
                future.await
            }));
            if was_ready {
                // A layer that is always ready waits for the inner service in its call.
                first.open();
            }
            for gate in [first, second] {
                for _ in 0..1000 {
                    tokio::task::yield_now().await;
                }
                gate.open();
            }
            let ended = task.await.expect("the driver does not panic");
            ended.done("a call that moved to another task").expect("a call that moved to another task");
        });

        // Nothing to do, nobody woken: the driver panics at a future that wakes itself in a loop.
        for never_ready in [true, false] {
            paused(async {
                let (service, leaf) = self.rig();
                if never_ready {
                    leaf.push_readiness(Readiness::never());
                } else {
                    leaf.push(Outcome::never());
                }
                if let super::drive::End::Panicked(message) = drive(call(service, get())).await {
                    panic!("a call whose inner service is silent: {message}");
                }
            });
        }
    }

    pub(super) fn readiness(&self) {
        paused(async {
            let (mut service, leaf) = self.rig();
            for _ in 0..REPEATS {
                for _ in 0..3 {
                    ready(&mut service).await.expect("asked for its readiness again");
                }
                assert!(
                    leaf.reserved() <= 1,
                    "readied once, and {} inner instances are readied",
                    leaf.reserved()
                );
                let answer = drive(service.call(CacheRequest::get(key(1)))).await;
                answer
                    .done("a call after three polls of readiness")
                    .expect("a call after three polls of readiness");
            }
            for _ in 0..REPEATS {
                let mut readied = service.clone();
                let readiness = drive(async move { ready(&mut readied).await }).await;
                readiness.done("readying a clone").expect("readying a clone");
            }
            assert_quiet(&leaf, "after readied instances were dropped uncalled");
            for _ in 0..REPEATS {
                let answer = drive(call(service.clone(), CacheRequest::get(key(1)))).await;
                answer
                    .done("a call after readied instances were dropped uncalled")
                    .expect("a call after readied instances were dropped uncalled");
            }
            drop(service);
            assert_quiet(&leaf, "after the service was dropped");
        });
    }
}

/// Calls in every order that tower allows. Only readiness counts here, so errors are welcome.
async fn exercise<V: Send + Sync + 'static, S: CacheService<V>>(mut service: S) {
    let get = || CacheRequest::<V>::get(key(1));

    // The same instance, again and again.
    for _ in 0..3 {
        if ready(&mut service).await.is_ok() {
            drop(service.call(get()).await);
        }
    }

    // A clone of a readied instance is readied by itself; both are called, either one first.
    for clone_first in [true, false] {
        drop(ready(&mut service).await);
        let mut clone = service.clone();
        drop(ready(&mut clone).await);
        let (first, second) =
            if clone_first { (&mut clone, &mut service) } else { (&mut service, &mut clone) };
        drop(first.call(get()).await);
        drop(second.call(get()).await);
    }

    // The readied instance is taken and a clone left in its place, as middleware does.
    for _ in 0..2 {
        drop(ready(&mut service).await);
        let clone = service.clone();
        let mut readied = mem::replace(&mut service, clone);
        drop(readied.call(get()).await);
        drop(ready(&mut readied).await);
        drop(readied.call(get()).await);
    }

    // The next call begins before the last one is polled.
    drop(ready(&mut service).await);
    let first = Box::pin(service.call(get()));
    drop(ready(&mut service).await);
    let second = Box::pin(service.call(get()));
    drop(second.await);
    drop(first.await);

    // The instance is cloned while its call is under way, and dropped.
    drop(ready(&mut service).await);
    let future = Box::pin(service.call(get()));
    let clone = service.clone();
    drop(service);
    drop(future.await);
    drop(call(clone, get()).await);
}
