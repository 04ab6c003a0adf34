//! The closed loop: callers that send their next operation when the last one is answered.

use std::array;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::contenders::{Client, Failure, Material};
use crate::stats::Round;
use crate::workload::{KeyName, MGET_KEYS, Op, Size, Workload};

/// With few callers every operation is timed, with more one in so many.
const FEW_CALLERS: usize = 16;
const SAMPLE: u32 = 16;

/// What callers do before they are counted, so that each of them is under way.
const RAMP: u8 = 0;
const COUNTED: u8 = 1;
const OVER: u8 = 2;

/// Longer than 512 callers wait for their first MGET of large values.
const RAMP_TIME: Duration = Duration::from_millis(50);

/// How long the last answers may take to come.
const PATIENCE: Duration = Duration::from_secs(30);

/// What one round asks of a contender.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub workload: Workload,
    pub callers: usize,
    pub time: Duration,
    pub seed: u64,
}

/// A contender in one setting, whatever its client is.
pub trait Drive {
    /// Runs one round. Blocks; not for a thread of the runtime.
    fn run(&self, runtime: &Runtime, load: Load) -> Result<Round, Failure>;
}

/// Drives callers that share some clients evenly.
pub struct Driver<C: Client> {
    clients: Vec<C>,
    material: Arc<Material<C>>,
}

impl<C: Client> Driver<C> {
    pub fn new(clients: Vec<C>, material: Arc<Material<C>>) -> Self {
        Self { clients, material }
    }
}

impl<C: Client> Drive for Driver<C> {
    fn run(&self, runtime: &Runtime, load: Load) -> Result<Round, Failure> {
        let phase = Arc::new(AtomicU8::new(RAMP));
        let tasks: Vec<_> = (0..load.callers)
            .map(|n| {
                let caller = Caller {
                    client: self.clients[n % self.clients.len()].clone(),
                    material: Arc::clone(&self.material),
                    load,
                    rng: Rng::with_seed(load.seed.wrapping_mul(1_000_003).wrapping_add(n as u64)),
                };
                let phase = Arc::clone(&phase);
                runtime.spawn(async move {
                    let calls = caller.run(&phase).await;
                    if calls.is_err() {
                        phase.store(OVER, Ordering::Relaxed);
                    }
                    calls
                })
            })
            .collect();
        thread::sleep(RAMP_TIME);
        phase.compare_exchange(RAMP, COUNTED, Ordering::Relaxed, Ordering::Relaxed).ok();
        let start = Instant::now();
        thread::sleep(load.time);
        phase.store(OVER, Ordering::Relaxed);
        let elapsed = start.elapsed();
        let calls = runtime.block_on(async { tokio::time::timeout(PATIENCE, gather(tasks)).await });
        let (count, latencies) = calls.map_err(|_| "an operation was never answered")??;
        Round::new(count, elapsed, &latencies)
    }
}

async fn gather(tasks: Vec<JoinHandle<Result<Calls, Failure>>>) -> Result<(u64, Vec<Duration>), Failure> {
    let mut count = 0;
    let mut latencies = Vec::new();
    for task in tasks {
        let calls = task.await??;
        count += calls.count;
        latencies.extend(calls.latencies);
    }
    Ok((count, latencies))
}

/// What one caller got done while it was counted.
#[derive(Default)]
struct Calls {
    count: u64,
    latencies: Vec<Duration>,
}

struct Caller<C: Client> {
    client: C,
    material: Arc<Material<C>>,
    load: Load,
    rng: Rng,
}

impl<C: Client> Caller<C> {
    async fn run(mut self, phase: &AtomicU8) -> Result<Calls, Failure> {
        let every = if self.load.callers <= FEW_CALLERS { 1 } else { SAMPLE };
        let mut until_sample = self.rng.u32(0..every);
        let mut calls = Calls::default();
        let Workload { op, size } = self.load.workload;
        let material = Arc::clone(&self.material);
        let values = material.values(size);
        loop {
            let start = (until_sample == 0).then(Instant::now);
            until_sample = if start.is_some() { every - 1 } else { until_sample - 1 };
            match op {
                Op::Get => self.get(size).await?,
                Op::Set => self.set(values, size).await?,
                // Sixteen names and what is asked with them: not to be carried by callers who only GET.
                Op::Mget => Box::pin(self.mget(size)).await?,
            }
            match phase.load(Ordering::Relaxed) {
                RAMP => {}
                COUNTED => {
                    calls.count += 1;
                    calls.latencies.extend(start.map(|start| start.elapsed()));
                }
                _ => return Ok(calls),
            }
        }
    }

    async fn get(&mut self, size: Size) -> Result<(), Failure> {
        let index = self.rng.usize(size.indices());
        let found = self.client.get(size.key(C::SPACE, index).as_str()).await?;
        check(size, index, found.as_ref())
    }

    async fn set(&mut self, values: &[C::Value], size: Size) -> Result<(), Failure> {
        let index = self.rng.usize(size.indices());
        self.client.set(size.key(C::SPACE, index).as_str(), &values[index]).await
    }

    async fn mget(&mut self, size: Size) -> Result<(), Failure> {
        let indices: [usize; MGET_KEYS] = array::from_fn(|_| self.rng.usize(size.indices()));
        let keys = indices.map(|index| size.key(C::SPACE, index));
        let found = self.client.mget(keys.each_ref().map(KeyName::as_str)).await?;
        if found.len() != MGET_KEYS {
            return Err(format!("{} replies to an MGET of {MGET_KEYS} keys", found.len()).into());
        }
        indices.into_iter().zip(&found).try_for_each(|(index, found)| check(size, index, found.as_ref()))
    }
}

/// A contender that answers wrongly is out, however fast it is.
fn check(size: Size, index: usize, found: Option<&impl AsRef<[u8]>>) -> Result<(), Failure> {
    match found {
        Some(value) if size.is_value(index, value.as_ref()) => Ok(()),
        Some(value) => {
            let shown = String::from_utf8_lossy(&value.as_ref()[..value.as_ref().len().min(16)]).into_owned();
            Err(format!("the value of key {index} is wrong: {} bytes, `{shown}…`", value.as_ref().len())
                .into())
        }
        None => Err(format!("key {index} is missing").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Workload;

    /// Answers from memory, with the value of a key further on.
    #[derive(Clone)]
    struct Fake {
        off_by: usize,
        replies: usize,
    }

    impl Client for Fake {
        type Value = ();
        type Reply = bytes::Bytes;

        fn value(_: bytes::Bytes) -> Result<(), Failure> {
            Ok(())
        }

        async fn get(&mut self, key: &str) -> Result<Option<Self::Reply>, Failure> {
            let mut parts = key.rsplit(':');
            let index: usize = parts.next().ok_or("no index")?.parse()?;
            let size = if parts.next() == Some("128") { Size::Small } else { Size::Large };
            tokio::task::yield_now().await;
            Ok(Some(size.value((index + self.off_by) % size.keys())))
        }

        async fn set(&mut self, _: &str, (): &()) -> Result<(), Failure> {
            Err("read only".into())
        }

        async fn mget(&mut self, keys: [&str; MGET_KEYS]) -> Result<Vec<Option<Self::Reply>>, Failure> {
            let mut replies = Vec::new();
            for key in keys.into_iter().take(self.replies) {
                replies.push(self.get(key).await?);
            }
            Ok(replies)
        }
    }

    fn run(client: Fake, op: Op) -> Result<Round, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let workload = Workload { op, size: Size::Small };
        let load = Load { workload, callers: 20, time: Duration::from_millis(50), seed: 1 };
        Driver::new(vec![client], Material::new()?).run(&runtime, load)
    }

    #[test]
    fn right_answers_count() {
        for op in [Op::Get, Op::Mget] {
            let round = run(Fake { off_by: 0, replies: MGET_KEYS }, op).expect("all is right");
            assert!(round.rate > 0.0 && round.tail.p50 > 0.0, "{round:?}");
        }
    }

    #[test]
    fn a_wrong_answer_ends_the_run() {
        for (fake, op, part) in [
            (Fake { off_by: 1, replies: MGET_KEYS }, Op::Get, "is wrong"),
            (Fake { off_by: 1, replies: MGET_KEYS }, Op::Mget, "is wrong"),
            (Fake { off_by: 0, replies: MGET_KEYS - 1 }, Op::Mget, "15 replies"),
            (Fake { off_by: 0, replies: MGET_KEYS }, Op::Set, "read only"),
        ] {
            let error = run(fake, op).expect_err("not to be counted").to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
