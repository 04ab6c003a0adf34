//! Where, when and with what a run took place.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

use cachex_test_support::{RedisServer, Reply};

use crate::contenders::Failure;

/// The versions that were built, as cargo wrote them down.
const LOCK: &str = include_str!("../Cargo.lock");
const CLIENTS: [&str; 6] = ["redis", "deadpool-redis", "fred", "rustis", "redis-tower", "tokio"];

/// What a reader needs to judge the figures.
#[derive(Debug)]
pub struct Machine {
    pub lines: Vec<(&'static str, String)>,
    /// How much of the processor's time something else took just before, from 0 to 1.
    pub busy: f64,
}

impl Machine {
    pub async fn look(server: &RedisServer, workers: usize) -> Result<Self, Failure> {
        let busy = busy();
        let cores = std::thread::available_parallelism()?;
        let clients: Vec<String> = CLIENTS.iter().map(|name| format!("{name} {}", version(name))).collect();
        let lines = vec![
            ("date", run("date", &["-u", "+%F %H:%M UTC"])),
            ("commit", commit()),
            ("processor", format!("{}, {cores} cores", field("/proc/cpuinfo", "model name"))),
            ("system", run("uname", &["-sr"])),
            ("processor before the run", format!("{:.0} % busy", busy * 100.0)),
            (
                "server",
                format!(
                    "redis-server {}, on the same machine, over loopback TCP",
                    server_version(server).await
                ),
            ),
            ("clients", clients.join(", ")),
            ("compiler", format!("{}{}", run("rustc", &["--version"]), instructions())),
            ("runtime", format!("tokio, multi-threaded, {workers} workers")),
            ("command", command()),
        ];
        Ok(Self { lines, busy })
    }
}

/// Watches the processor for a second. The load average would still show the compiler that built this.
fn busy() -> f64 {
    let (busy, all) = ticks();
    thread::sleep(Duration::from_secs(1));
    let (busy_now, all_now) = ticks();
    (busy_now - busy) as f64 / (all_now - all).max(1) as f64
}

/// Clock ticks since the machine started: those that were not idle, and all.
fn ticks() -> (u64, u64) {
    let stat = read("/proc/stat");
    let ticks: Vec<u64> =
        stat.lines().next().unwrap_or("").split_whitespace().filter_map(|word| word.parse().ok()).collect();
    // The fourth and fifth are idle and waiting for a disk.
    let idle: u64 = ticks.iter().skip(3).take(2).sum();
    let all = ticks.iter().sum();
    (all - idle, all)
}

/// What was typed, less the path to the binary.
fn command() -> String {
    let check = std::env::var("CACHEX_BENCH_CHECK").map(|value| format!("CACHEX_BENCH_CHECK={value} "));
    let mut words = vec!["cargo run --release --manifest-path benches/peers/Cargo.toml --".to_owned()];
    words.extend(std::env::args().skip(1));
    format!("`{}{}`", check.unwrap_or_default(), words.join(" ").trim_end_matches(" --"))
}

/// Some codecs and hashes are quicker with AVX2, so it matters whether the compiler was allowed to use it.
fn instructions() -> &'static str {
    if cfg!(target_feature = "avx2") { ", built for AVX2" } else { ", built for the target's baseline" }
}

fn commit() -> String {
    let head = run("git", &["rev-parse", "--short", "HEAD"]);
    let dirty = !run("git", &["status", "--porcelain", "--untracked-files=no"]).is_empty();
    head + if dirty { ", with changes" } else { "" }
}

fn version(package: &str) -> &'static str {
    LOCK.split("[[package]]")
        .filter(|entry| entry.lines().any(|line| line == format!("name = \"{package}\"")))
        .find_map(|entry| entry.lines().find_map(|line| line.strip_prefix("version = \"")))
        .map_or("?", |version| version.trim_end_matches('"'))
}

async fn server_version(server: &RedisServer) -> String {
    let Reply::Bulk(info) = server.command(["INFO", "server"]).await else { return "?".to_owned() };
    let info = String::from_utf8_lossy(&info).into_owned();
    let version = info.lines().find_map(|line| line.strip_prefix("redis_version:"));
    version.unwrap_or("?").trim().to_owned()
}

fn field(path: &str, name: &str) -> String {
    let text = read(path);
    let line = text.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.split_once(':')).map_or("unknown", |(_, value)| value.trim()).to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_client_has_a_version() {
        for client in CLIENTS {
            assert!(version(client).starts_with(|c: char| c.is_ascii_digit()), "{client}");
        }
    }
}
