//! Nonces: 24 bytes that must never come twice under one key.

use std::cell::RefCell;

use cachex_core::{CacheError, ErrorKind};
use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};
use chacha20poly1305::Key;
use chacha20poly1305::aead::Generate;
use zeroize::Zeroize;

pub(super) type Nonce = [u8; 24];

/// So few that the seeds keep coming from the operating system, so many that the system call no longer counts: it takes
/// longer than all the rest of sealing a small value.
const NONCES_PER_SEED: u32 = 64;

thread_local! {
    static SOURCE: RefCell<Option<Source>> = const { RefCell::new(None) };
}

struct Source {
    generator: ChaCha20Rng,
    left: u32,
}

/// A nonce for the sealing of `clear`, which ends with its checksum.
///
/// Random, from a generator per thread that is seeded by the operating system. A generator that was duplicated (by a fork, or
/// by restoring a snapshot of a machine twice) repeats itself up to the next seed; the checksum, which depends on all of the
/// value and its key, then still makes the nonces of different values different ones.
pub(super) fn fresh(clear: &[u8]) -> Result<Nonce, CacheError> {
    let mut nonce = SOURCE
        .try_with(|source| next(&mut source.borrow_mut()))
        // The thread is ending, and its generator is gone.
        .unwrap_or_else(|_| next(&mut None))?;
    if let Some(checksum) = clear.last_chunk::<8>() {
        nonce.iter_mut().rev().zip(checksum).for_each(|(byte, sum)| *byte ^= sum);
    }
    Ok(nonce)
}

fn next(source: &mut Option<Source>) -> Result<Nonce, CacheError> {
    let source = match source {
        Some(source) if source.left > 0 => source,
        spent => spent.insert(Source::seeded()?),
    };
    source.left -= 1;
    let mut nonce = Nonce::default();
    source.generator.fill_bytes(&mut nonce);
    Ok(nonce)
}

impl Source {
    fn seeded() -> Result<Self, CacheError> {
        let mut seed = Key::try_generate().map_err(|error| {
            CacheError::with_source(ErrorKind::Encode, "the operating system's random source failed", error)
        })?;
        let generator = ChaCha20Rng::from_seed(seed.into());
        seed.as_mut_slice().zeroize();
        Ok(Self { generator, left: NONCES_PER_SEED })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn duplicated() -> Option<Source> {
        Some(Source { generator: ChaCha20Rng::from_seed([7; 32]), left: NONCES_PER_SEED })
    }

    #[test]
    fn no_nonce_comes_twice_in_any_thread() {
        let draw = || (0..10_000).map(|_| fresh(b"the same value").unwrap()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(draw)).collect();
        let all: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
    }

    #[test]
    fn a_generator_is_seeded_anew_before_it_is_used_up() {
        let (mut one, mut other) = (duplicated(), duplicated());
        for _ in 0..NONCES_PER_SEED {
            assert_eq!(next(&mut one).unwrap(), next(&mut other).unwrap());
        }
        assert_ne!(next(&mut one).unwrap(), next(&mut other).unwrap());
    }

    /// As in two processes after a fork.
    #[test]
    fn a_duplicated_generator_gives_different_values_different_nonces() {
        let after_a_fork = |clear: &[u8]| {
            SOURCE.set(duplicated());
            fresh(clear).unwrap()
        };
        assert_eq!(after_a_fork(b"value 1, checksum 1"), after_a_fork(b"value 1, checksum 1"));
        assert_ne!(after_a_fork(b"value 1, checksum 1"), after_a_fork(b"value 2, checksum 2"));
    }
}
