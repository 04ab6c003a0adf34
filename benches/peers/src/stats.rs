//! From rounds to figures.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::contenders::{Failure, Kind};
use crate::workload::Workload;

/// Latencies are told apart to one part in a thousand.
const DIGITS: u8 = 3;
/// The longest that is told apart from longer ones.
const LONGEST: Duration = Duration::from_secs(60);

/// What one round came to.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// Operations per second; an MGET is one.
    pub rate: f64,
    pub tail: Tail,
}

/// Latencies in microseconds; not a number where none was sampled.
#[derive(Clone, Copy, Debug)]
pub struct Tail {
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
}

impl Round {
    pub fn new(count: u64, elapsed: Duration, latencies: &[Duration]) -> Result<Self, Failure> {
        let mut histogram = Histogram::<u32>::new_with_bounds(1, nanos(LONGEST), DIGITS)?;
        for latency in latencies {
            histogram.saturating_record(nanos(*latency));
        }
        let at = |quantile| {
            let nothing = histogram.is_empty();
            if nothing { f64::NAN } else { histogram.value_at_quantile(quantile) as f64 / 1_000.0 }
        };
        let tail = Tail { p50: at(0.5), p99: at(0.99), p999: at(0.999) };
        Ok(Self { rate: count as f64 / elapsed.as_secs_f64(), tail })
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// All rounds of one setting, as medians.
#[derive(Clone, Debug)]
pub struct Figures {
    pub setting: String,
    pub is_default: bool,
    pub rate: f64,
    pub slowest: f64,
    pub fastest: f64,
    pub tail: Tail,
}

impl Figures {
    pub fn new(setting: String, is_default: bool, rounds: &[Round]) -> Self {
        let of = |figure: fn(&Round) -> f64| median(rounds.iter().map(figure).collect());
        let rates = || rounds.iter().map(|round| round.rate);
        Self {
            setting,
            is_default,
            rate: of(|round| round.rate),
            slowest: rates().fold(f64::INFINITY, f64::min),
            fastest: rates().fold(0.0, f64::max),
            tail: Tail {
                p50: of(|round| round.tail.p50),
                p99: of(|round| round.tail.p99),
                p999: of(|round| round.tail.p999),
            },
        }
    }
}

/// The middle value; of an even number the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[half],
        _ => f64::midpoint(values[half - 1], values[half]),
    }
}

/// A contender's figures in one cell, one for each setting; never empty.
#[derive(Clone, Debug)]
pub struct Standing {
    pub id: &'static str,
    pub title: &'static str,
    pub kind: Kind,
    pub settings: Vec<Figures>,
}

impl Standing {
    /// The setting that counts.
    pub fn best(&self) -> &Figures {
        self.settings
            .iter()
            .fold(&self.settings[0], |best, next| if next.rate > best.rate { next } else { best })
    }

    /// What a user gets who sets nothing, where that was measured.
    pub fn default(&self) -> Option<&Figures> {
        self.settings.iter().find(|figures| figures.is_default)
    }
}

/// Everyone's figures for one workload and number of callers.
#[derive(Clone, Debug)]
pub struct Cell {
    pub workload: Workload,
    pub callers: usize,
    pub standings: Vec<Standing>,
}

impl Cell {
    /// The highest rate of any peer in any setting.
    pub fn best_peer(&self) -> Option<f64> {
        let peers = self.standings.iter().filter(|standing| standing.kind == Kind::Peer);
        peers.map(|standing| standing.best().rate).max_by(f64::total_cmp)
    }

    pub fn standing(&self, id: &str) -> Option<&Standing> {
        self.standings.iter().find(|standing| standing.id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn a_round_tells_rate_and_tail() {
        let latencies: Vec<_> = (1..=1_000).map(Duration::from_micros).collect();
        let round = Round::new(500, Duration::from_millis(250), &latencies).expect("bounds are right");
        assert_eq!(round.rate, 2_000.0);
        for (found, wanted) in [(round.tail.p50, 500.0), (round.tail.p99, 990.0), (round.tail.p999, 999.0)] {
            assert!((found - wanted).abs() <= wanted / 500.0, "{found} instead of {wanted}");
        }
    }
}
