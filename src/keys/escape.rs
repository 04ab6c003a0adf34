//! How a part is written so that its end is always its end.

use std::fmt::{self, Write as _};

use super::KeyError;

/// The words in an entity's place that name another kind of key.
pub(super) const LIST: &str = "list";
pub(super) const SESSION: &str = "session";

/// What may not stand for itself: the separator, the escape, what Redis Cluster takes for a hash tag (so that no part
/// decides where a key is placed), and control characters, which a key may not hold.
fn is_special(c: char) -> bool {
    matches!(c, ':' | '%' | '{' | '}') || c.is_control()
}

/// Appends a part, escaped.
pub(super) fn push(out: &mut String, part: &'static str, text: &dyn fmt::Display) -> Result<(), KeyError> {
    let start = out.len();
    let written = write!(Escaping(out), "{text}");
    // A `Display` that fails leaves nothing to tell: what it wrote is not what it means.
    if written.is_err() || out.len() == start {
        return Err(KeyError::Empty { part });
    }
    Ok(())
}

/// Appends the name of an entity: escaped, and never one of the words that name another kind of key.
pub(super) fn push_entity(out: &mut String, entity: &str) -> Result<(), KeyError> {
    let mut chars = entity.chars();
    if matches!(entity, LIST | SESSION)
        && let Some(first) = chars.next()
    {
        escape(out, first);
        out.push_str(chars.as_str());
        return Ok(());
    }
    push(out, "entity", &entity)
}

/// The text of an escaped part; `None` when [`push`] would not have written it so.
pub(super) fn unescape(escaped: &str) -> Option<String> {
    let text = decode(escaped)?;
    let mut again = String::with_capacity(escaped.len());
    push(&mut again, "part", &text).ok()?;
    (again == escaped).then_some(text)
}

/// The text of an escaped name of an entity; `None` when [`push_entity`] would not have written it so.
pub(super) fn unescape_entity(escaped: &str) -> Option<String> {
    let text = decode(escaped)?;
    let mut again = String::with_capacity(escaped.len());
    push_entity(&mut again, &text).ok()?;
    (again == escaped).then_some(text)
}

fn escape(out: &mut String, c: char) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in c.encode_utf8(&mut [0; 4]).bytes() {
        out.push('%');
        out.push(char::from(HEX[usize::from(byte >> 4)]));
        out.push(char::from(HEX[usize::from(byte & 15)]));
    }
}

fn decode(escaped: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut rest = escaped.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first == b'%' {
            let [high, low, tail @ ..] = tail else { return None };
            let digit =
                |digit: &u8| char::from(*digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            bytes.push(digit(high)? << 4 | digit(low)?);
            rest = tail;
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

/// Writes escaped text.
struct Escaping<'a>(&'a mut String);

impl fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(is_special) {
            self.0.push_str(&rest[..at]);
            let mut chars = rest[at..].chars();
            if let Some(special) = chars.next() {
                escape(self.0, special);
            }
            rest = chars.as_str();
        }
        self.0.push_str(rest);
        Ok(())
    }
}
