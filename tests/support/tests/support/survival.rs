//! No server outlives its owner, and no test runs without one.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use cachex_test_support::{RedisServer, eventually};

use crate::SOON;

fn exists(pid: u32) -> bool {
    signal("0", pid)
}

fn signal(name: &str, pid: impl ToString) -> bool {
    let mut kill = Command::new("sh");
    kill.args(["-c", r#"kill -"$1" "$2""#, "sh", name, &pid.to_string()]).stderr(Stdio::null());
    kill.status().expect("sh runs").success()
}

/// A process that owns a server: the process, the server's pid and directory.
fn owner() -> (Child, u32, PathBuf) {
    let mut owner = Command::new(env!("CARGO_BIN_EXE_hold-redis"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the owner starts");
    let mut line = String::new();
    BufReader::new(owner.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    let (pid, dir) = line.trim().split_once(' ').expect("a pid and a directory");
    (owner, pid.parse().expect("a pid"), dir.into())
}

#[tokio::test]
async fn a_dropped_server_is_gone_with_its_directory() {
    let server = RedisServer::start().await;
    let (pid, dir) = (server.pid().expect("running"), server.dir().to_owned());
    assert!(exists(pid) && dir.exists());
    drop(server);
    assert!(!exists(pid), "the server outlived its handle");
    assert!(!dir.exists());
}

#[tokio::test]
async fn a_dropped_frozen_server_is_gone_too() {
    let server = RedisServer::start().await;
    let pid = server.pid().expect("running");
    server.pause().await;
    drop(server);
    assert!(!exists(pid));
}

#[tokio::test]
async fn a_cancelled_start_leaves_no_server_behind() {
    let log = tempfile::NamedTempFile::new().expect("a file");
    let starting = RedisServer::builder().arg("logfile", log.path().to_string_lossy()).try_start();
    let logged = || std::fs::read_to_string(log.path()).unwrap_or_default();
    tokio::select! {
        biased;
        _ = starting => panic!("`starting` is only begun"),
        () = std::future::ready(()) => {}
    }
    eventually(SOON, async || {
        let log = logged();
        let pid = log.split(':').next().and_then(|pid| pid.parse().ok());
        pid.is_some_and(|pid| !exists(pid))
    })
    .await;
}

#[tokio::test]
async fn no_server_outlives_a_killed_process() {
    let (mut owner, pid, dir) = owner();
    assert!(exists(pid) && dir.exists());
    owner.kill().expect("SIGKILL");
    owner.wait().expect("reaped");
    eventually(SOON, async || !exists(pid) && !dir.exists()).await;
}

#[tokio::test]
async fn not_even_a_frozen_one_does() {
    let (mut owner, pid, dir) = owner();
    assert!(signal("STOP", pid));
    owner.kill().expect("SIGKILL");
    owner.wait().expect("reaped");
    eventually(SOON, async || !exists(pid) && !dir.exists()).await;
}

/// What the kernel sends when a process group that has a stopped member is orphaned.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_hangup_does_not_end_the_supervision() {
    let (mut owner, pid, _) = owner();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields: Vec<_> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
    let group = fields[2];
    assert!(signal("HUP", format!("-{group}")));
    owner.kill().expect("SIGKILL");
    owner.wait().expect("reaped");
    eventually(SOON, async || !exists(pid)).await;
}

/// In a process of its own: the environment belongs to the whole process.
#[test]
fn a_missing_program_is_an_error_that_says_what_to_run() {
    let refused = Command::new(env!("CARGO_BIN_EXE_hold-redis"))
        .env("CACHEX_TEST_REDIS_SERVER", "no-such-redis-server")
        .stdin(Stdio::null())
        .output()
        .expect("the owner starts");
    assert!(!refused.status.success());
    let message = String::from_utf8_lossy(&refused.stderr);
    for part in ["`no-such-redis-server` is not installed", "scripts/test.sh", "apt-get install redis-server"]
    {
        assert!(message.contains(part), "{message}");
    }
}

#[tokio::test]
async fn another_program_can_be_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let program = dir.path().join("my redis");
    std::os::unix::fs::symlink(which("redis-server"), &program).expect("a link");
    let mut owner = Command::new(env!("CARGO_BIN_EXE_hold-redis"))
        .env("CACHEX_TEST_REDIS_SERVER", &program)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the owner starts");
    assert!(owner.wait().expect("it ends at the end of its input").success());
}

fn which(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| Path::exists(file));
    found.unwrap_or_else(|| panic!("{program} is not installed: run scripts/test.sh"))
}
