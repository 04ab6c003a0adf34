//! Why a server did not start.

use std::fmt;
use std::io;
use std::time::Duration;

/// Why a server did not start.
///
/// `Debug` prints the same sentence as `Display`, so that `unwrap` and `expect` stay readable.
pub struct StartError(Kind);

pub(crate) enum Kind {
    Missing { program: String, variable: &'static str },
    Exited { what: String, log: String },
    Late { waited: Duration, last: String, log: String },
    Refused { what: &'static str, output: String },
    Io { doing: &'static str, source: io::Error },
}

impl StartError {
    /// `variable` names the environment variable with which another program can be chosen.
    pub(crate) fn missing(program: &str, variable: &'static str) -> Self {
        Self(Kind::Missing { program: program.to_owned(), variable })
    }

    /// A tool that sets the servers up said no.
    pub(crate) fn refused(what: &'static str, output: String) -> Self {
        Self(Kind::Refused { what, output })
    }

    pub(crate) fn exited(what: String, log: String) -> Self {
        Self(Kind::Exited { what, log })
    }

    pub(crate) fn late(waited: Duration, last: String, log: String) -> Self {
        Self(Kind::Late { waited, last, log })
    }

    pub(crate) fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self(Kind::Io { doing, source })
    }

    /// Whether the program itself is not installed.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self.0, Kind::Missing { .. })
    }

    /// Another process took the port between the probe and the server's own bind.
    pub(crate) fn lost_the_port(&self) -> bool {
        matches!(&self.0, Kind::Exited { log, .. } if log.contains("Address already in use"))
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Missing { program, variable } => write!(
                f,
                "`{program}` is not installed, and these tests do not run without a real server: run \
                 scripts/test.sh, which installs it, or `apt-get install redis-server`, or point \
                 {variable} at the binary"
            ),
            Kind::Exited { what, log } => {
                write!(f, "the server ended while starting ({what}); its log:\n{log}")
            }
            Kind::Late { waited, last, log } => {
                write!(f, "the server was not ready after {waited:?} (last: {last}); its log:\n{log}")
            }
            Kind::Refused { what, output } => write!(f, "{what} failed:\n{output}"),
            Kind::Io { doing, source } => write!(f, "{doing}: {source}"),
        }
    }
}

impl fmt::Debug for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0 {
            Kind::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
