//! What cachex is to reach, and whether it does.

use std::fmt;

use crate::contenders::BARE;
use crate::stats::{Cell, Standing};
use crate::workload::MAIN;

/// The stacks that the targets are about, the first that is there: as `BatchLayer` is meant for this load, it goes first.
const PLAIN: [&str; 2] = ["cachex-batch", "cachex"];
const SEALED: [&str; 2] = ["cachex-sealed-batch", "cachex-sealed"];

/// At so many callers, at least so many times the best peer.
const PLAIN_RATES: [(usize, f64); 4] = [(1, 0.95), (64, 1.2), (512, 1.8), (2_048, 2.0)];
const SEALED_RATES: [(usize, f64); 1] = [(512, 1.4)];

/// At so many callers the tail is no longer than the bare client's.
const TAIL_CALLERS: usize = 512;

/// One target and what was measured of it.
#[derive(Clone, Debug)]
pub struct Target {
    pub what: String,
    pub bound: String,
    /// `None` when this run did not measure it.
    pub found: Option<Found>,
}

#[derive(Clone, Debug)]
pub struct Found {
    pub met: bool,
    pub figure: String,
}

impl Target {
    pub fn met(&self) -> bool {
        self.found.as_ref().is_some_and(|found| found.met)
    }

    pub fn verdict(&self) -> &'static str {
        match &self.found {
            Some(found) if found.met => "met",
            Some(_) => "MISSED",
            None => "not measured",
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figure = self.found.as_ref().map_or("-", |found| found.figure.as_str());
        write!(f, "{:<12}  {:<58}  {:<20}  {figure}", self.verdict(), self.what, self.bound)
    }
}

/// All targets, in the light of these cells.
pub fn judge(cells: &[Cell]) -> Vec<Target> {
    let plain = PLAIN_RATES.iter().map(|(callers, bound)| rate(cells, "plain", &PLAIN, *callers, *bound));
    let sealed = SEALED_RATES
        .iter()
        .map(|(callers, bound)| rate(cells, "serialize + encrypt", &SEALED, *callers, *bound));
    plain.chain(sealed).chain([tail(cells)]).collect()
}

fn cell(cells: &[Cell], callers: usize) -> Option<&Cell> {
    cells.iter().find(|cell| cell.workload == MAIN && cell.callers == callers)
}

fn first<'a>(cell: &'a Cell, ids: &[&str]) -> Option<&'a Standing> {
    ids.iter().find_map(|id| cell.standing(id))
}

fn rate(cells: &[Cell], stack: &str, ids: &[&str], callers: usize, bound: f64) -> Target {
    let found = cell(cells, callers).and_then(|cell| {
        let (peer, ours) = (cell.best_peer()?, first(cell, ids)?);
        let best = ours.best();
        let default = ours.default().filter(|default| default.setting != best.setting);
        let default = default.map(|default| format!("; by default {:.2}", default.rate / peer));
        let figure = format!("{:.2} ({}{})", best.rate / peer, best.setting, default.unwrap_or_default());
        Some(Found { met: best.rate >= bound * peer, figure })
    });
    Target {
        what: format!("GETs, {stack}, {callers} caller{}", if callers == 1 { "" } else { "s" }),
        bound: format!("{bound} of the best peer"),
        found,
    }
}

fn tail(cells: &[Cell]) -> Target {
    let found = cell(cells, TAIL_CALLERS).and_then(|cell| {
        let (bare, ours) = (cell.standing(BARE)?.best(), first(cell, &PLAIN)?.best());
        let figure = format!("{:.0} µs beside {:.0} µs", ours.tail.p99, bare.tail.p99);
        Some(Found { met: ours.tail.p99 <= bare.tail.p99, figure })
    });
    Target {
        what: format!("p99 of GETs, plain, {TAIL_CALLERS} callers"),
        bound: "the bare client's".to_owned(),
        found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contenders::Kind;
    use crate::stats::{Figures, Tail};

    fn standing(id: &'static str, kind: Kind, rates: &[f64], p99: f64) -> Standing {
        let settings = rates.iter().enumerate().map(|(n, rate)| Figures {
            setting: format!("setting {n}"),
            is_default: n == 0,
            rate: *rate,
            slowest: *rate,
            fastest: *rate,
            tail: Tail { p50: 1.0, p99, p999: p99 },
        });
        Standing { id, title: id, kind, settings: settings.collect() }
    }

    fn at_512(plain: &[f64], p99: f64) -> Vec<Target> {
        let standings = vec![
            standing("cachex", Kind::Plain, plain, p99),
            standing(BARE, Kind::Peer, &[50.0, 60.0], 100.0),
            standing("fred", Kind::Peer, &[100.0, 80.0], 10.0),
        ];
        judge(&[Cell { workload: MAIN, callers: 512, standings }])
    }

    #[test]
    fn the_best_setting_of_each_counts() {
        let targets = at_512(&[90.0, 180.0], 100.0);
        let verdicts: Vec<_> = targets.iter().map(Target::verdict).collect();
        assert_eq!(
            verdicts,
            ["not measured", "not measured", "met", "not measured", "not measured", "met"],
            "{targets:#?}"
        );
        let figure = &targets[2].found.as_ref().expect("measured").figure;
        assert_eq!(figure, "1.80 (setting 1; by default 0.90)");
    }

    #[test]
    fn what_falls_short_is_missed() {
        let targets = at_512(&[179.0], 101.0);
        assert_eq!((targets[2].verdict(), targets[5].verdict()), ("MISSED", "MISSED"));
    }
}
