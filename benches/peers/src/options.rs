//! What the command line says.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::contenders::{self, Failure};
use crate::workload::{MAIN, Workload};

pub const HELP: &str = "\
cachex beside other Redis clients, in one run

    --only A,B            only these contenders (see below)
    --workload A,B        only these: get-128, set-128, mget-128, get-4k, set-4k, mget-4k
    --callers N,M         numbers of callers; 1,64,512,2048 for get-128 and 1,64,512 for the others unless told
    --rounds N            rounds per cell; 5 for get-128 and 3 for the others unless told
    --seconds S           length of a round; 0.4 for get-128 and 0.2 for the others unless told
    --workers N           worker threads of the runtime; 2 unless told
    --out DIR             writes redis-peers.md, redis-peers.csv and redis-peers-get.svg there
    --quick               one round of 0.05 s per cell: tells whether everything works, and nothing else
    --help

CACHEX_BENCH_CHECK=1 makes a target that is missed, or was not measured, a failure.
";

/// How long a cell is measured.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    pub rounds: usize,
    pub time: Duration,
}

#[derive(Debug)]
pub struct Options {
    only: Option<Vec<String>>,
    pub workloads: Vec<Workload>,
    callers: Option<Vec<usize>>,
    rounds: Option<usize>,
    time: Option<Duration>,
    pub workers: usize,
    pub out: Option<PathBuf>,
    pub quick: bool,
    pub check: bool,
}

impl Options {
    /// `None` when help was asked for.
    pub fn parse(arguments: Vec<OsString>) -> Result<Option<Self>, Failure> {
        let mut arguments = pico_args::Arguments::from_vec(arguments);
        if arguments.contains(["-h", "--help"]) {
            return Ok(None);
        }
        let options = Self {
            only: arguments.opt_value_from_fn("--only", contenders_named)?,
            workloads: arguments
                .opt_value_from_fn("--workload", list::<Workload>)?
                .unwrap_or_else(|| Workload::ALL.to_vec()),
            callers: arguments.opt_value_from_fn("--callers", |text| list(text).and_then(above_zero))?,
            rounds: arguments.opt_value_from_fn("--rounds", one_above_zero)?,
            time: arguments.opt_value_from_fn("--seconds", seconds)?,
            workers: arguments.opt_value_from_fn("--workers", one_above_zero)?.unwrap_or(2),
            out: arguments.opt_value_from_os_str("--out", |text| Ok::<_, String>(PathBuf::from(text)))?,
            quick: arguments.contains("--quick"),
            check: std::env::var_os("CACHEX_BENCH_CHECK").is_some_and(|value| value == "1"),
        };
        match arguments.finish().first() {
            Some(unknown) => Err(format!("unknown argument `{}`; see --help", unknown.display()).into()),
            None => Ok(Some(options)),
        }
    }

    pub fn wants(&self, id: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.iter().any(|name| name == id))
    }

    /// The numbers of callers. The others scale as the main workload does, so they go without the largest.
    pub fn callers(&self, workload: Workload) -> &[usize] {
        match &self.callers {
            Some(callers) => callers,
            None if workload == MAIN => &[1, 64, 512, 2_048],
            None => &[1, 64, 512],
        }
    }

    pub fn effort(&self, workload: Workload) -> Effort {
        let (rounds, millis) = match (self.quick, workload == MAIN) {
            (true, _) => (1, 50),
            (false, true) => (5, 400),
            (false, false) => (3, 200),
        };
        Effort {
            rounds: self.rounds.unwrap_or(rounds),
            time: self.time.unwrap_or(Duration::from_millis(millis)),
        }
    }
}

fn list<T: std::str::FromStr<Err: ToString>>(text: &str) -> Result<Vec<T>, String> {
    text.split(',')
        .map(|item| item.trim().parse().map_err(|e: T::Err| format!("`{item}`: {}", e.to_string())))
        .collect()
}

fn contenders_named(text: &str) -> Result<Vec<String>, String> {
    let names: Vec<String> = list(text)?;
    let known = contenders::ids();
    match names.iter().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(format!("no contender `{name}`; there are {}", known.join(", "))),
        None => Ok(names),
    }
}

fn above_zero(numbers: Vec<usize>) -> Result<Vec<usize>, String> {
    if numbers.contains(&0) { Err("must be above zero".to_owned()) } else { Ok(numbers) }
}

fn one_above_zero(text: &str) -> Result<usize, String> {
    let number = text.parse().map_err(|e| format!("`{text}`: {e}"))?;
    above_zero(vec![number]).map(|numbers| numbers[0])
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|e| format!("`{text}`: {e}"))?;
    // Below a millisecond the clock of the scheduler is measured.
    if !(0.001..=600.0).contains(&seconds) {
        return Err(format!("`{text}`: must be from 0.001 to 600"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Option<Options>, Failure> {
        Options::parse(arguments.iter().map(OsString::from).collect())
    }

    #[test]
    fn defaults() {
        let options = parse(&[]).expect("nothing to reject").expect("no help asked for");
        assert!(options.wants("redis") && options.wants("fred"));
        assert_eq!(options.workloads.len(), 6);
        assert_eq!(options.callers(MAIN), [1, 64, 512, 2_048]);
        assert_eq!(options.effort(MAIN).rounds, 5);
        assert_eq!(options.out, None);
    }

    #[test]
    fn everything_told() {
        let told = [
            "--only",
            "redis,cachex",
            "--workload",
            "set-4k",
            "--callers",
            "8",
            "--seconds",
            "0.1",
            "--quick",
        ];
        let options = parse(&told).expect("all is known").expect("no help asked for");
        assert!(options.wants("redis") && !options.wants("fred"));
        assert_eq!(options.callers(options.workloads[0]), [8]);
        let effort = options.effort(MAIN);
        assert_eq!((effort.rounds, effort.time), (1, Duration::from_millis(100)));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (arguments, part) in [
            (["--only", "redes"], "redes"),
            (["--workload", "get-129"], "get-129"),
            (["--callers", "0"], "above zero"),
            (["--rounds", "many"], "many"),
            (["--seconds", "0"], "0.001"),
            (["--fast", "yes"], "--fast"),
        ] {
            let error = parse(&arguments).expect_err("it is wrong").to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
