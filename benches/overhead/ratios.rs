//! A table of ratios from interleaved rounds: noise that lasts longer than a round meets every contender alike.

use tokio::runtime::Runtime;

use crate::contenders::{Bound, Group};

const ROUNDS: usize = 15;
const OPERATIONS: u64 = 100_000;

/// Prints the table; answers whether every bound holds.
pub(crate) fn report(runtime: &Runtime, groups: &[Group]) -> bool {
    let mut all_hold = true;
    for group in groups {
        let mut nanos = vec![Vec::with_capacity(ROUNDS); group.contenders.len()];
        for round in 0..=ROUNDS {
            for (contender, nanos) in group.contenders.iter().zip(&mut nanos) {
                let took = (contender.run)(runtime, OPERATIONS);
                // The first round warms up.
                if round > 0 {
                    nanos.push(took.as_nanos() as f64 / OPERATIONS as f64);
                }
            }
        }
        let medians: Vec<f64> = nanos.into_iter().map(median).collect();
        let median_of = |name: &str| {
            let at = group.contenders.iter().position(|contender| contender.name == name);
            medians[at.unwrap_or_else(|| panic!("no contender is called {name}"))]
        };
        let base = median_of(group.base);
        println!("\n{:<34} {:>8}  {:>8}  {:>10}", group.name, "ns/op", "ratio", "added ns");
        for (contender, &nanos) in group.contenders.iter().zip(&medians) {
            let verdict = contender.bound.map_or(String::new(), |bound| {
                let (value, limit, text) = match bound {
                    Bound::Ratio(limit) => {
                        (nanos / base, limit, format!("at most {limit} of {}", group.base))
                    }
                    Bound::Added(limit, other) => {
                        let ratio = (nanos - base) / (median_of(other) - base);
                        (ratio, limit, format!("adds {ratio:.3} of what {other} adds, at most {limit}"))
                    }
                };
                all_hold &= value <= limit;
                format!("  {} {text}", if value <= limit { "ok:" } else { "MISSED:" })
            });
            let ratio = nanos / base;
            println!("{:<34} {nanos:>8.1}  {ratio:>8.2}  {:>10.1}{verdict}", contender.name, nanos - base);
        }
    }
    all_hold
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
