//! Real threads: what a single-threaded model cannot see.

use super::*;

/// A small deterministic generator, so that a failing run can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }
}

const TASKS: u64 = 32;
const CALLS: u64 = 400;

/// Calls from many tasks on several threads, some given up after a few polls; afterwards nothing may be held, nobody may
/// be left waiting, and at no time may more have run than allowed.
async fn hammer(max: u32, queue: u32) {
    let leaf = Leaf::new();
    leaf.answer_with(|_, number| Outcome::default_answer().after_yields((number % 3) as u32));
    let layer = BulkheadLayer::new(max).queue(queue).queue_timeout(Duration::MAX);
    let stack = layer.layer(leaf.clone());
    let tasks: Vec<_> = (0..TASKS)
        .map(|seed| {
            let mut stack = stack.clone();
            tokio::spawn(async move {
                let mut random = Random(seed + 1);
                let (mut answered, mut refused, mut given_up) = (0, 0, 0);
                for _ in 0..CALLS {
                    let request = if random.below(4) == 0 { write() } else { read() };
                    let call = stack.ready().await.unwrap().call(request);
                    let patience = if random.below(3) == 0 { random.below(3) } else { u64::MAX };
                    match polled_at_most(call, patience).await {
                        Some(Ok(_)) => answered += 1,
                        Some(Err(error)) => {
                            assert_eq!(error.kind(), ErrorKind::BulkheadFull);
                            refused += 1;
                        }
                        None => given_up += 1,
                    }
                }
                (answered, refused, given_up)
            })
        })
        .collect();
    let (mut answered, mut refused, mut given_up) = (0, 0, 0);
    for task in tasks {
        let (a, r, g) = task.await.unwrap();
        (answered, refused, given_up) = (answered + a, refused + r, given_up + g);
    }
    assert_eq!(answered + refused + given_up, TASKS * CALLS);
    let [reads, writes] = [OpClass::Read, OpClass::Write].map(|class| counts(&stack, class));
    assert_eq!(((reads.0, reads.1), (writes.0, writes.1)), ((0, 0), (0, 0)));
    // Refusals are counted when they are made, and one may be given up before it is looked at.
    assert!(reads.2 + writes.2 >= refused);
    assert!(leaf.peak_in_flight() <= 2 * max as usize, "peak {}", leaf.peak_in_flight());
    assert_eq!((leaf.in_flight(), leaf.reserved(), leaf.violations()), (0, 0, 0));
}

/// The answer, or `None` when it took more polls than this and the future was dropped.
async fn polled_at_most(call: ResponseFuture<String, Leaf<String>>, mut patience: u64) -> Option<Answer> {
    let mut call = std::pin::pin!(call);
    std::future::poll_fn(|cx| {
        if patience == 0 {
            return Poll::Ready(None);
        }
        patience -= 1;
        let answer = call.as_mut().poll(cx).map(Some);
        if answer.is_pending() && patience == 0 {
            cx.waker().wake_by_ref();
        }
        answer
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_exceeded_lost_or_left_behind() {
    for (max, queue) in [(1, 64), (1, 4), (3, 64), (3, 0), (8, 8)] {
        hammer(max, queue).await;
    }
}

/// Only reads, so that the peak is that of one compartment.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_peak_never_exceeds_the_limit() {
    let leaf = Leaf::new();
    leaf.answer_with(|_, _| Outcome::default_answer().after_yields(1));
    let stack = BulkheadLayer::new(3).queue(1000).queue_timeout(Duration::MAX).layer(leaf.clone());
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let stack = stack.clone();
            tokio::spawn(async move {
                for _ in 0..100 {
                    stack.clone().oneshot(read()).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert!(leaf.peak_in_flight() <= 3, "peak {}", leaf.peak_in_flight());
    assert_eq!(leaf.completed(), 6400);
}

/// Calls so short that a permit is often back between the look that finds none and the lock of the queue: whoever queues
/// in that moment might wait for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_queues_beside_a_free_permit() {
    let inner = tower::service_fn(|_: Request| std::future::ready(Ok(CacheResponse::Done)));
    let stack = BulkheadLayer::new(1).queue(64).queue_timeout(Duration::MAX).layer(inner);
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let mut stack = stack.clone();
            tokio::spawn(async move {
                let handle = stack.handle();
                for _ in 0..50_000 {
                    stack.call(read()).await.unwrap();
                    let state = handle.compartment(OpClass::Read);
                    assert!(state.queued == 0 || state.available == 0, "{state:?}");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}
