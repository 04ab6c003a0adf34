//! What the layers cost: each alone and all together, beside bare caches and tower-resilience, in one run.
//!
//! Every read depends on the value just read: the value holds the index of the next key. Otherwise the processor works on
//! several reads at once, and a table of random reads flatters whoever does the least between two of them.
//!
//! `cargo bench --bench overhead` prints a table of ratios first, from interleaved rounds, then criterion's own
//! figures. `-- --ratios` prints the table only, `-- --ratios 100k` only the groups with that in their name; with
//! `CACHEX_BENCH_CHECK=1` a ratio above its bound fails the run.

mod contenders;
mod ratios;

use std::time::Duration;

use criterion::{Criterion, Throughput};

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let ratios_only = std::env::args().any(|arg| arg == "--ratios");
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    let groups = || {
        let mut groups = contenders::groups(&runtime);
        groups.retain(|group| group.name.contains(&filter));
        groups
    };

    println!("\n# Nobody listens: no tracing subscriber, no metrics recorder");
    let within_bounds = ratios::report(&runtime, &groups());

    println!("\n# With a Prometheus recorder; the bounds are for the case above");
    metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder().expect("the only recorder");
    let groups = groups();
    ratios::report(&runtime, &groups);
    if std::env::var_os("CACHEX_BENCH_CHECK").is_some() && !within_bounds {
        std::process::exit(1);
    }
    if ratios_only {
        return;
    }
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    for group in &groups {
        let mut bench = criterion.benchmark_group(group.name);
        bench.throughput(Throughput::Elements(1));
        for contender in &group.contenders {
            bench.bench_function(contender.name, |b| {
                b.iter_custom(|count| (contender.run)(&runtime, count));
            });
        }
        bench.finish();
    }
    criterion.final_summary();
}
