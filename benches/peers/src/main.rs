//! cachex beside other Redis clients: the same work through each, in one process, on one server. See the README.

mod contenders;
mod load;
mod machine;
mod options;
mod plot;
mod report;
mod stats;
mod targets;
mod workload;

use std::process::ExitCode;

use cachex_test_support::RedisServer;
use tokio::runtime::{Builder, Runtime};

use crate::contenders::{Contender, Failure, PLAIN, Setting, Target};
use crate::load::Load;
use crate::machine::Machine;
use crate::options::Options;
use crate::stats::{Cell, Figures, Round, Standing};
use crate::workload::{Size, Workload};

/// How many values one MSET carries while the server is filled.
const FILL: usize = 500;

/// Above this share of the processor something else was using the machine.
const QUIET: f64 = 0.1;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args_os().skip(1).collect()) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{}\ncontenders: {}\n", options::HELP, contenders::ids().join(", "));
            return ExitCode::SUCCESS;
        }
        Err(e) => {
            eprintln!("peers: {e}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) if !options.check => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("peers: {e}");
            ExitCode::FAILURE
        }
    }
}

/// Tells whether every target was met.
fn run(options: &Options) -> Result<bool, Failure> {
    let runtime = Builder::new_multi_thread().worker_threads(options.workers).enable_all().build()?;
    let server = runtime.block_on(RedisServer::builder().try_start())?;
    let machine = runtime.block_on(Machine::look(&server, options.workers))?;
    for (name, value) in &machine.lines {
        println!("{name}: {value}");
    }
    let target = Target { url: server.url(), addr: server.addr().to_string() };
    runtime.block_on(fill(&target.url))?;
    let contenders = runtime.block_on(contenders::connect(&target, |id| options.wants(id)))?;

    let mut cells = Vec::new();
    for &workload in &options.workloads {
        for &callers in options.callers(workload) {
            let cell = measure(&runtime, &contenders, options, workload, callers)?;
            println!("{}", report::table(&cell).trim_end());
            cells.push(cell);
        }
    }

    let targets = targets::judge(&cells);
    println!("\nTargets");
    for target in &targets {
        println!("{target}");
    }
    let warning = warning(options, &machine);
    if let Some(warning) = &warning {
        println!("\n{warning}");
    }
    if let Some(folder) = &options.out {
        report::write(folder, &machine, &cells, &targets, warning.as_deref())?;
        println!("\nwritten to {}", folder.display());
    }
    Ok(targets.iter().all(targets::Target::met))
}

/// Why the figures should not be believed, if so.
fn warning(options: &Options, machine: &Machine) -> Option<String> {
    if options.quick {
        Some("This was a quick run: it tells that everything works, its figures tell nothing.".to_owned())
    } else if machine.busy > QUIET {
        Some(format!("The machine was {:.0} % busy when the run began: measure again.", machine.busy * 100.0))
    } else {
        None
    }
}

/// Stores the values that all share who do not seal.
async fn fill(url: &str) -> Result<(), Failure> {
    let mut connection = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
    for size in Size::ALL {
        let indices: Vec<usize> = size.indices().collect();
        for some in indices.chunks(FILL) {
            let mut command = redis::cmd("MSET");
            for &index in some {
                command.arg(size.key(PLAIN, index).as_str()).arg(size.value(index).as_ref());
            }
            command.exec_async(&mut connection).await?;
        }
    }
    Ok(())
}

/// Measures everyone, in turns: what changes on the machine meanwhile changes for all.
fn measure(
    runtime: &Runtime,
    contenders: &[Contender],
    options: &Options,
    workload: Workload,
    callers: usize,
) -> Result<Cell, Failure> {
    let effort = options.effort(workload);
    let entries: Vec<(&Contender, &Setting)> = contenders
        .iter()
        .flat_map(|contender| contender.settings.iter().map(move |setting| (contender, setting)))
        .collect();
    let mut rounds: Vec<Vec<Round>> = vec![Vec::with_capacity(effort.rounds); entries.len()];
    for round in 0..effort.rounds {
        // Each round begins with another, so that nobody always follows the same neighbour's warm or cold caches.
        let first = round * entries.len() / effort.rounds;
        for place in (first..entries.len()).chain(0..first) {
            let (contender, setting) = entries[place];
            let load = Load { workload, callers, time: effort.time, seed: round as u64 };
            let result = setting.drive.run(runtime, load);
            rounds[place].push(result.map_err(|e| {
                format!("{}, {}, {workload}, {callers} callers: {e}", contender.title, setting.label)
            })?);
        }
    }
    let mut rounds = rounds.iter();
    let standings = contenders.iter().map(|contender| Standing {
        id: contender.id,
        title: contender.title,
        kind: contender.kind,
        settings: (contender.settings.iter().zip(&mut rounds))
            .map(|(setting, rounds)| Figures::new(setting.label.clone(), setting.is_default, rounds))
            .collect(),
    });
    Ok(Cell { workload, callers, standings: standings.collect() })
}
