//! Just enough RESP2 to talk to a server behind the back of the code under test.
//!
//! Deliberately not the driver the library uses: a test that checks a driver with itself proves little. Blocking
//! sockets keep it independent of the runtime's clock.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// No such thing: a null bulk string or a null array.
    Nil,
    /// An integer.
    Int(i64),
    /// A status such as `OK` or `PONG`.
    Status(String),
    /// A string of bytes.
    Bulk(Vec<u8>),
    /// An error reply, its code word first, as in `WRONGTYPE Operation against a key …`.
    Error(String),
    /// Several replies.
    Array(Vec<Reply>),
}

impl Reply {
    /// The integer, if it is one.
    #[must_use]
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(n) => Some(*n),
            _ => None,
        }
    }

    /// The text of a status, an error or a bulk string in UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Status(text) | Self::Error(text) => Some(text),
            Self::Bulk(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// The elements, if it is an array.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Reply]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The bytes of a bulk string.
    #[must_use]
    pub fn into_bytes(self) -> Option<Vec<u8>> {
        match self {
            Self::Bulk(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Whether this is an error reply.
    #[must_use]
    pub fn is_error(&self) -> bool {
        matches!(self, Self::Error(_))
    }
}

/// One blocking connection. Every wait is bounded by the timeout given to `open`.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    pub(crate) fn open(addr: SocketAddr, password: Option<&str>, timeout: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&addr, timeout)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        let mut connection = Self { stream: BufReader::new(stream) };
        if let Some(password) = password
            && let Reply::Error(e) = connection.command(&[b"AUTH".as_slice(), password.as_bytes()])?
        {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, e));
        }
        Ok(connection)
    }

    pub(crate) fn command(&mut self, parts: &[impl AsRef<[u8]>]) -> io::Result<Reply> {
        let mut request = format!("*{}\r\n", parts.len()).into_bytes();
        for part in parts {
            let part = part.as_ref();
            request.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
            request.extend_from_slice(part);
            request.extend_from_slice(b"\r\n");
        }
        self.stream.get_mut().write_all(&request)?;
        self.reply()
    }

    /// Like [`command`](Self::command), with an error reply as an error.
    pub(crate) fn ask(&mut self, parts: &[impl AsRef<[u8]>]) -> io::Result<Reply> {
        match self.command(parts)? {
            Reply::Error(e) => Err(io::Error::other(e)),
            reply => Ok(reply),
        }
    }

    /// Like [`ask`](Self::ask), for a command that answers with text.
    pub(crate) fn ask_text(&mut self, parts: &[impl AsRef<[u8]>]) -> io::Result<String> {
        let reply = self.ask(parts)?;
        reply.as_str().map(str::to_owned).ok_or_else(|| malformed("something else instead of text"))
    }

    fn reply(&mut self) -> io::Result<Reply> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = String::from_utf8(line).map_err(|_| malformed("a line that is not UTF-8"))?;
        let line = line.strip_suffix("\r\n").ok_or_else(|| malformed("a line without an end"))?;
        let kind = line.chars().next();
        let rest = line.get(1..).unwrap_or_default();
        Ok(match kind {
            Some('+') => Reply::Status(rest.to_owned()),
            Some('-') => Reply::Error(rest.to_owned()),
            Some(':') => Reply::Int(number(rest)?),
            Some('$') => match usize::try_from(number(rest)?) {
                Err(_) => Reply::Nil,
                Ok(length) => Reply::Bulk(self.bulk(length)?),
            },
            Some('*') => match number(rest)? {
                n if n < 0 => Reply::Nil,
                n => Reply::Array((0..n).map(|_| self.reply()).collect::<io::Result<_>>()?),
            },
            _ => return Err(malformed(line)),
        })
    }

    fn bulk(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes)?;
        let mut end = [0; 2];
        self.stream.read_exact(&mut end)?;
        if &end != b"\r\n" {
            return Err(malformed("a bulk string without an end"));
        }
        Ok(bytes)
    }
}

fn number(text: &str) -> io::Result<i64> {
    text.parse().map_err(|_| malformed(text))
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not RESP2: {what:?}"))
}
