//! The part of RESP that answers to reads consist of: bulk strings, alone or in an array, and refusals.
//!
//! Replies are read as they come in: a value is handed on as soon as all of it is there, so that a large reply is looked at
//! once and not again with every packet.

use bytes::{Buf, BytesMut};
use cachex_core::Key;

/// The largest value, as the server has it with its default `proto-max-bulk-len`.
const MAX_BULK: u64 = 512 * 1024 * 1024;

/// No refusal of a server is longer, by far.
const MAX_LINE: usize = 64 * 1024;

/// What came is not what a server answers to a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Malformed;

/// How far the reading of a reply has come.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum Progress {
    /// All of it was read.
    Done,
    /// There was a refusal; its line, from the `-` to the line feed. More values may follow, for nobody.
    Refused(BytesMut),
    /// It goes on for this many bytes at least.
    Short(usize),
}

/// Asks for one value, or for many.
pub(super) fn ask(output: &mut BytesMut, keys: &[Key], many: bool) {
    let text: usize = keys.iter().map(|key| key.as_str().len() + 16).sum();
    output.reserve(text + 32);
    let (command, words) = if many { ("$4\r\nMGET", keys.len() + 1) } else { ("$3\r\nGET", 2) };
    head(output, b'*', words);
    output.extend_from_slice(command.as_bytes());
    output.extend_from_slice(b"\r\n");
    for key in keys {
        head(output, b'$', key.as_str().len());
        output.extend_from_slice(key.as_str().as_bytes());
        output.extend_from_slice(b"\r\n");
    }
}

fn head(output: &mut BytesMut, kind: u8, number: usize) {
    // The length of most keys, and the size of most batches: one store.
    if number < 100 {
        let digits = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        return match digits {
            [b'0', one] => output.extend_from_slice(&[kind, one, b'\r', b'\n']),
            [ten, one] => output.extend_from_slice(&[kind, ten, one, b'\r', b'\n']),
        };
    }
    // No number is longer.
    let mut digits = [0; 20];
    let (mut at, mut rest) = (digits.len(), number);
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    output.extend_from_slice(&[kind]);
    output.extend_from_slice(&digits[at..]);
    output.extend_from_slice(b"\r\n");
}

/// A reply under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reply {
    /// How many elements are still to be read: the reply itself before its head is known, then the values in it.
    left: u64,
    /// How many values it must have, when it is an array whose head is still to come.
    array: Option<u64>,
}

impl Reply {
    /// One value, or nothing.
    pub(super) const ONE: Self = Self { left: 1, array: None };

    /// An array of so many.
    pub(super) fn many(values: usize) -> Self {
        Self { left: 1, array: Some(values as u64) }
    }

    /// So many replies more, each of one value or nothing.
    pub(super) fn add(&mut self, replies: usize) {
        self.left += replies as u64;
    }

    /// Whether all of it was read.
    pub(super) fn is_over(&self) -> bool {
        self.left == 0
    }

    /// Takes what is there out of `input`, and hands each value to `sink`, with how many come after it.
    pub(super) fn read(
        &mut self,
        input: &mut BytesMut,
        mut sink: impl FnMut(Option<&[u8]>, usize),
    ) -> Result<Progress, Malformed> {
        let mut at = 0;
        let progress = loop {
            if self.left == 0 {
                break Progress::Done;
            }
            let bytes = &input[at..];
            if bytes.first() == Some(&b'-') {
                let Some(end) = line(bytes)? else { break Progress::Short(1) };
                // A server refuses all of it. A proxy may refuse one value: that is an answer too, and the others are
                // still to come.
                self.left -= 1;
                input.advance(at);
                return Ok(Progress::Refused(input.split_to(end)));
            }
            let Some((kind, number, start)) = number(bytes)? else { break Progress::Short(1) };
            match (kind, self.array, u64::try_from(number)) {
                (b'*', Some(expected), Ok(values)) if values == expected => {
                    (self.array, self.left) = (None, values);
                    at += start;
                }
                (b'$', None, Ok(len)) if len <= MAX_BULK => {
                    let end = start + len as usize;
                    if bytes.len() < end + 2 {
                        break Progress::Short(end + 2 - bytes.len());
                    }
                    if bytes[end..end + 2] != *b"\r\n" {
                        return Err(Malformed);
                    }
                    self.left -= 1;
                    sink(Some(&bytes[start..end]), self.left as usize);
                    at += end + 2;
                }
                (b'$', None, Err(_)) if number == -1 => {
                    self.left -= 1;
                    sink(None, self.left as usize);
                    at += start;
                }
                _ => return Err(Malformed),
            }
        };
        input.advance(at);
        Ok(progress)
    }
}

/// What nobody waits for any more, still to come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stale {
    /// Whole elements, those within an array included once its head is known.
    elements: u64,
    /// Bytes of a value whose head was read.
    bytes: u64,
}

impl Stale {
    /// Adds what is left of a reply.
    pub(super) fn add(&mut self, reply: Reply) {
        self.elements = self.elements.saturating_add(reply.left);
    }

    /// How many elements are to come, as far as it is known.
    pub(super) fn elements(&self) -> u64 {
        self.elements
    }

    pub(super) fn is_none(&self) -> bool {
        self.elements == 0 && self.bytes == 0
    }

    /// Takes what is there of it out of `input`; `Some` tells how many bytes are missing, at least. What is malformed stays
    /// there.
    pub(super) fn skip(&mut self, input: &mut BytesMut) -> Result<Option<usize>, Malformed> {
        loop {
            let passed = usize::try_from(self.bytes).map_or(input.len(), |bytes| bytes.min(input.len()));
            input.advance(passed);
            self.bytes -= passed as u64;
            if self.bytes > 0 {
                return Ok(Some(1));
            }
            if self.elements == 0 {
                return Ok(None);
            }
            let (within, bytes, end) = match input.first() {
                None => return Ok(Some(1)),
                Some(b'$' | b'*') => match number(input)? {
                    None => return Ok(Some(1)),
                    Some((_, -1, end)) => (0, 0, end),
                    Some((b'*', values, end)) => (u64::try_from(values).map_err(|_| Malformed)?, 0, end),
                    Some((_, len, end)) => match u64::try_from(len) {
                        Ok(len) if len <= MAX_BULK => (0, len + 2, end),
                        _ => return Err(Malformed),
                    },
                },
                Some(b'+' | b'-' | b':') => match line(input)? {
                    None => return Ok(Some(1)),
                    Some(end) => (0, 0, end),
                },
                Some(_) => return Err(Malformed),
            };
            self.elements = (self.elements - 1).checked_add(within).ok_or(Malformed)?;
            self.bytes = bytes;
            input.advance(end);
        }
    }
}

/// The end of the line that `bytes` begin with, if it is there.
pub(super) fn line(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    match bytes.iter().take(MAX_LINE).position(|&byte| byte == b'\n') {
        Some(at) if at > 0 && bytes[at - 1] == b'\r' => Ok(Some(at + 1)),
        Some(_) => Err(Malformed),
        None if bytes.len() >= MAX_LINE => Err(Malformed),
        None => Ok(None),
    }
}

/// The type and the number of a line, and where it ends, if all of it is there.
fn number(bytes: &[u8]) -> Result<Option<(u8, i64, usize)>, Malformed> {
    let Some((&kind, rest)) = bytes.split_first() else { return Ok(None) };
    let negative = rest.first() == Some(&b'-');
    let digits = &rest[usize::from(negative)..];
    let mut number = 0_i64;
    for (at, &byte) in digits.iter().enumerate() {
        match byte {
            // No number that matters has more.
            b'0'..=b'9' if at < 18 => number = number * 10 + i64::from(byte - b'0'),
            b'\r' if at > 0 => {
                let end = 1 + usize::from(negative) + at + 2;
                return match digits.get(at + 1) {
                    Some(b'\n') => Ok(Some((kind, if negative { -number } else { number }, end))),
                    Some(_) => Err(Malformed),
                    None => Ok(None),
                };
            }
            _ => return Err(Malformed),
        }
    }
    Ok(None)
}
