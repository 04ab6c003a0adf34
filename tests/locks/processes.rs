//! Several processes and one server: the second process is this test binary, started again.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use cachex::core::Encoded;
use cachex::store::redis::RedisStore;
use cachex::{Cache, ErrorKind, LockGuard};
use cachex_test_support::RedisServer;

use super::PATIENCE;

const CONTENDERS: usize = 64;
const INCREMENTS: usize = 10_000;

/// What the second process is to do, and where.
const JOB: &str = "CACHEX_LOCKS_JOB";
const URL: &str = "CACHEX_LOCKS_URL";
const FILE: &str = "CACHEX_LOCKS_FILE";

fn cache(url: &str) -> Cache<Encoded, RedisStore> {
    Cache::new(RedisStore::builder().url(url).response_timeout(PATIENCE).build().unwrap())
}

/// This process again, told to do `job`.
fn second_process(job: &str, server: &RedisServer, file: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "processes::the_second_process", "--nocapture", "--test-threads=1"])
        .env(JOB, job)
        .env(URL, server.url())
        .env(FILE, file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// A test of its own only in a process that was told what to do.
#[test]
fn the_second_process() {
    let Ok(job) = std::env::var(JOB) else { return };
    let (url, file) = (std::env::var(URL).unwrap(), PathBuf::from(std::env::var_os(FILE).unwrap()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    match job.as_str() {
        "increment" => runtime.block_on(increment(&url, &file, CONTENDERS / 2, INCREMENTS / 2)),
        "hold" => runtime.block_on(hold(&url)),
        other => panic!("no such job: {other}"),
    }
}

/// So many contenders that together add so much to the number in a file, reading and writing it.
async fn increment(url: &str, file: &Path, contenders: usize, increments: usize) {
    let cache = cache(url);
    let contend = |n: usize| {
        let (cache, file) = (cache.clone(), file.to_owned());
        tokio::spawn(async move {
            let turns = increments / contenders + usize::from(n < increments % contenders);
            for _ in 0..turns {
                let guard = cache.lock("counter", PATIENCE, PATIENCE).await.unwrap();
                let number: u64 = std::fs::read_to_string(&file).unwrap().parse().unwrap();
                // Others of this process get every chance to be in the way.
                tokio::task::yield_now().await;
                std::fs::write(&file, (number + 1).to_string()).unwrap();
                assert!(guard.release().await.unwrap());
            }
        })
    };
    let contenders: Vec<_> = (0..contenders).map(contend).collect();
    for contender in contenders {
        contender.await.unwrap();
    }
}

#[tokio::test]
async fn sixty_four_contenders_in_two_processes_count_exactly() {
    let server = RedisServer::start().await;
    let file = server.dir().join("counter");
    std::fs::write(&file, "0").unwrap();
    let mut second = second_process("increment", &server, &file);
    increment(&server.url(), &file, CONTENDERS / 2, INCREMENTS / 2).await;
    let ended = tokio::task::spawn_blocking(move || second.wait()).await.unwrap().unwrap();
    assert!(ended.success());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), INCREMENTS.to_string());
}

const SHORT: Duration = Duration::from_millis(600);

/// Takes the lock, and then does what it is told, a word a line.
async fn hold(url: &str) {
    let guard = cache(url).lock("resource", SHORT, PATIENCE).await.unwrap();
    say(&format!("token {}", guard.fencing_token().0));
    loop {
        match next_line().await.as_deref() {
            Some("look") => say(if guard.is_lost() { "lost" } else { "held" }),
            Some("why") => say(guard.lost().await.kind().as_str()),
            _ => return release(guard).await,
        }
    }
}

async fn release(guard: LockGuard) {
    say(if guard.release().await.unwrap() { "released" } else { "nothing to release" });
}

async fn next_line() -> Option<String> {
    let line = tokio::task::spawn_blocking(|| std::io::stdin().lines().next()).await.unwrap();
    line.map(Result::unwrap)
}

/// The test harness writes to the same output: what we say is marked.
fn say(words: &str) {
    println!("\n> {words}");
    std::io::stdout().flush().unwrap();
}

/// A process that holds the lock.
struct Holder {
    child: Child,
    ears: ChildStdin,
    mouth: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Holder {
    fn start(server: &RedisServer) -> Self {
        let mut child = second_process("hold", server, Path::new(""));
        let (ears, mouth) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, ears, mouth: BufReader::new(mouth).lines() }
    }

    fn hear(&mut self) -> String {
        let said = self
            .mouth
            .by_ref()
            .map(Result::unwrap)
            .find_map(|line| line.strip_prefix("> ").map(str::to_owned));
        said.expect("the holder says something")
    }

    fn ask(&mut self, question: &str) -> String {
        writeln!(self.ears, "{question}").unwrap();
        self.hear()
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the lock protects: it remembers the largest token it has seen.
#[derive(Default)]
struct Resource {
    largest: u64,
}

impl Resource {
    fn write(&mut self, token: u64) -> bool {
        let accepted = token >= self.largest;
        self.largest = self.largest.max(token);
        accepted
    }
}

#[tokio::test]
async fn a_holder_that_was_stopped_learns_of_it_and_its_late_write_is_refused() {
    let server = RedisServer::start().await;
    let mut resource = Resource::default();
    let mut holder = Holder::start(&server);
    let said = holder.hear();
    let first: u64 = said.strip_prefix("token ").unwrap().parse().unwrap();
    assert!(resource.write(first));

    // It extends by itself: held for far longer than its lifetime.
    let cache = cache(&server.url());
    let error = cache.lock("resource", SHORT, SHORT * 3).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LockHeld);
    assert_eq!(holder.ask("look"), "held");

    holder.signal("-STOP");
    let guard = cache.lock("resource", SHORT, PATIENCE).await.unwrap();
    let second = guard.fencing_token().0.get();
    assert!(second > first);
    assert!(resource.write(second));

    holder.signal("-CONT");
    assert_eq!(holder.ask("look"), "lost", "with its first look");
    assert_eq!(holder.ask("why"), "lock_lost");
    assert!(!resource.write(first), "the late write is refused");
    assert_eq!(holder.ask("release"), "nothing to release");
    assert!(!guard.is_lost(), "and the new holder still holds it");
    assert!(resource.write(second));
    assert!(guard.release().await.unwrap());
}

#[tokio::test]
async fn a_holder_that_was_killed_keeps_others_out_for_its_lifetime_only() {
    let server = RedisServer::start().await;
    let mut holder = Holder::start(&server);
    holder.hear();
    holder.signal("-KILL");
    let cache = cache(&server.url());
    assert!(cache.lock("resource", SHORT, PATIENCE).await.is_ok());
}
