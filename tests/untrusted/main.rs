//! Whatever reads bytes from outside, given bytes that are not what they should be: random ones, and whole ones that were
//! damaged. The same bytes each time; `fuzz/` searches further.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

mod targets;

use std::time::{Duration, Instant};

/// So that what is allocated is counted.
#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// How many inputs each target gets.
const INPUTS: usize = 2_000;

/// More than anything here needs, and far less than a length from outside could ask for.
const MOST_BYTES: usize = 16 << 20;

/// How long one input may take, on a machine that is busy with other things.
const MOST_TIME: Duration = Duration::from_secs(2);

/// One input: a seed that was damaged up to eight times, or noise.
fn input(random: &mut fastrand::Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    if random.u8(..10) == 0 {
        return (0..random.usize(..300)).map(|_| random.u8(..)).collect();
    }
    let mut bytes = seeds[random.usize(..seeds.len())].clone();
    for _ in 0..random.usize(..=8) {
        damage(random, &mut bytes, seeds);
    }
    bytes
}

fn damage(random: &mut fastrand::Rng, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    // Where lengths, counts and separators turn over.
    const EDGES: [u8; 12] = [0, 1, 0x7F, 0x80, 0xFB, 0xFD, 0xFF, b':', b'%', b'/', b'[', b'"'];
    let at = random.usize(..=bytes.len());
    match random.u8(..6) {
        0 if at < bytes.len() => bytes[at] ^= 1 << random.u8(..8),
        1 if at < bytes.len() => bytes[at] = EDGES[random.usize(..EDGES.len())],
        2 => bytes.truncate(at),
        3 => bytes.insert(at, EDGES[random.usize(..EDGES.len())]),
        4 => {
            let edge = EDGES[random.usize(..EDGES.len())];
            bytes.splice(at..at, std::iter::repeat_n(edge, random.usize(1..600)));
        }
        _ => {
            let other = &seeds[random.usize(..seeds.len())];
            let from = random.usize(..=other.len());
            bytes.splice(at.., other[from..].iter().copied());
        }
    }
}

/// It found collections of elements that take no bytes, whose claimed length kept the bincode codec busy for ever.
#[test]
fn nothing_panics_hangs_or_swells() {
    let _profiler = dhat::Profiler::builder().testing().build();
    for target in targets::ALL {
        let mut random = fastrand::Rng::with_seed(0xCAC4E);
        let seeds = (target.seeds)();
        for seed in &seeds {
            (target.run)(seed);
        }
        for _ in 0..INPUTS {
            let bytes = input(&mut random, &seeds);
            let start = Instant::now();
            let run = std::panic::catch_unwind(|| (target.run)(&bytes));
            assert!(run.is_ok(), "{} on {bytes:02x?}", target.name);
            assert!(start.elapsed() < MOST_TIME, "{} is slow on {bytes:02x?}", target.name);
            let most = dhat::HeapStats::get().max_bytes;
            assert!(most < MOST_BYTES, "{} allocated {most} bytes on {bytes:02x?}", target.name);
        }
    }
}
