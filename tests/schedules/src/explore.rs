//! Runs a scenario under many schedules, or under one that failed.

use std::env;

use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::{Config, Runner};

/// The first schedule to try, unless `CACHEX_SCHEDULE_SEED` names another. Each run of the tests tries the same ones.
const SEED: u64 = 0x00ca_c4e0;

/// How many schedules each of the two ways of choosing them tries.
const SCHEDULES: usize = 10_000;

/// How many preemptions the second way may use at most: few bugs take more.
const PREEMPTIONS: usize = 3;

/// Explores `scenario`. A failure prints the schedule it was found under, to be replayed by `CACHEX_SCHEDULE`.
pub fn explore(scenario: fn()) {
    if let Ok(schedule) = env::var("CACHEX_SCHEDULE") {
        // It is printed in lines.
        let schedule: String = schedule.split_whitespace().collect();
        return run(ReplayScheduler::new_from_encoded(&schedule), scenario);
    }
    let schedules = number("CACHEX_SCHEDULES").map_or(SCHEDULES, |n| n as usize);
    let seed = number("CACHEX_SCHEDULE_SEED").unwrap_or(SEED);
    run(RandomScheduler::new_from_seed(seed, schedules), scenario);
    run(PctScheduler::new_from_seed(seed, PREEMPTIONS, schedules), scenario);
}

fn run(scheduler: impl Scheduler + 'static, scenario: fn()) {
    let mut config = Config::new();
    // Futures of whole stacks are polled on these stacks.
    config.stack_size = 0x4_0000;
    // Atomics are sequentially consistent here; the crate's documentation says so.
    config.silence_warnings = true;
    Runner::new(scheduler, config).run(move || {
        scenario();
        tokio::runtime::shut_down();
    });
}

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}
