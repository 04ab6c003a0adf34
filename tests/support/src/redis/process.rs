//! A server process that cannot outlive the process that started it.
//!
//! `Drop` is not enough: a test binary that is killed, aborts or exits with servers in statics runs no `Drop`.
//! `PR_SET_PDEATHSIG` (as in `setpriv --pdeath-sig`) is not the answer either: it fires when the *thread* that
//! spawned the child ends, and the test harness and tokio's blocking pool end threads all the time; besides, only
//! Linux has it. So a small shell stands between and holds the read end of a pipe from us: see `supervise.sh`.
//! As the server's parent it is also immune to recycled pids, and it leaves no zombies behind.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::eventually::POLL;

const SUPERVISE: &str = include_str!("supervise.sh");

/// How long the kernel may take to act on a signal.
const SIGNAL_DEADLINE: Duration = Duration::from_secs(10);

pub(crate) struct Supervised {
    shell: Child,
    owner: Option<ChildStdin>,
    server: u32,
}

impl Supervised {
    /// Starts `program` with `args`; its output is appended to `log`. `dir` is removed if this process dies.
    pub(crate) fn spawn(dir: &Path, log: &Path, program: &OsStr, args: &[&OsStr]) -> io::Result<Self> {
        let mut shell = Command::new("sh")
            .args(["-c", SUPERVISE, "sh"])
            .args([dir, log])
            .arg(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Its own group: Ctrl-C on the terminal goes to the tests alone, and their end ends the server.
            .process_group(0)
            .spawn()?;
        let owner = shell.stdin.take();
        let mut line = String::new();
        if let Some(stdout) = shell.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let server =
            line.trim().parse().map_err(|_| io::Error::other("the supervising shell did not start"))?;
        Ok(Self { shell, owner, server })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.server
    }

    /// The exit status, once the server has ended by itself or by a signal.
    pub(crate) fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.shell.try_wait()
    }

    /// SIGKILL, and waits for the end. Works on a frozen server too.
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        if let Some(mut owner) = self.owner.take() {
            // A broken pipe: the server ended before us and took the watcher with it.
            let _ = owner.write_all(b"kill\n");
            self.shell.wait()?;
        }
        Ok(())
    }

    /// SIGTERM, and waits for an orderly end; an error when it does not come within the deadline.
    pub(crate) fn terminate(&mut self, deadline: Duration) -> io::Result<()> {
        if self.try_wait()?.is_some() {
            return Ok(());
        }
        self.signal("CONT")?;
        self.signal("TERM")?;
        let start = Instant::now();
        while self.try_wait()?.is_none() {
            if start.elapsed() > deadline {
                return Err(io::Error::other(format!("still running {deadline:?} after SIGTERM")));
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// SIGSTOP: the kernel still accepts connections and bytes for it, but nobody answers.
    pub(crate) fn pause(&mut self) -> io::Result<()> {
        self.signal("STOP")?;
        self.wait_for_state(|state| state == 'T')
    }

    /// SIGCONT.
    pub(crate) fn resume(&mut self) -> io::Result<()> {
        self.signal("CONT")?;
        self.wait_for_state(|state| state != 'T')
    }

    fn signal(&mut self, name: &str) -> io::Result<()> {
        if let Some(status) = self.try_wait()? {
            return Err(io::Error::other(format!("the server has already ended: {}", describe(status))));
        }
        // The shell's own `kill`: /bin/kill is missing from small images.
        let sent = Command::new("sh")
            .args(["-c", r#"kill -"$1" "$2""#, "sh", name, &self.server.to_string()])
            .stderr(Stdio::null())
            .status()?;
        if sent.success() { Ok(()) } else { Err(io::Error::other(format!("SIG{name} could not be sent"))) }
    }

    /// Signals are asynchronous. Linux shows when one has taken effect; elsewhere having sent it must do.
    fn wait_for_state(&self, is: impl Fn(char) -> bool) -> io::Result<()> {
        let start = Instant::now();
        while let Some(state) = state(self.server) {
            if is(state) {
                return Ok(());
            }
            if start.elapsed() > SIGNAL_DEADLINE {
                return Err(io::Error::other(format!("the server is still in state {state}")));
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        // Nobody is left to hear of a failure, and the closing pipe kills the server in any case.
        let _ = self.kill();
    }
}

/// The one-letter state of `/proc/PID/stat`, the first field after the name in parentheses.
fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

/// The shell reports a signal as 128 + its number.
pub(crate) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) if code > 128 => format!("signal {}", code - 128),
        (Some(code), _) => format!("exit code {code}"),
        (None, signal) => format!("its supervisor ended by signal {signal:?}"),
    }
}
