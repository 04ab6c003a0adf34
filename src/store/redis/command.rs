//! From a request to the command, or the transaction, that does it in one atomic step on the server.

use std::time::Duration;

use cachex_core::{
    CacheError, CacheRequest, CacheResponse, Condition, ErrorKind, Expire, Increment, Intent, Key, Keys, Op,
    Set, SetMany, StoredBytes, Tags, Ttl,
};
use redis::{Cmd, Pipeline};

use super::lock;
use super::reply::Expected;
use super::script::Invocation;

/// The largest value, in bytes: what Redis itself takes with its default `proto-max-bulk-len`. It closes the connection
/// on more, under everyone who shares it.
const MAX_VALUE: usize = 512 * 1024 * 1024;

/// The name of the store in errors.
pub(super) const STORE: &str = "RedisStore";

/// What a request asks of the server.
#[derive(Debug)]
pub(super) enum Plan<P> {
    /// One command.
    Command(Cmd, Expected),
    /// MULTI, some commands, EXEC.
    Transaction(Pipeline, Expected),
    /// Invalidation messages for these keys.
    Publish(Keys),
    /// A subscription to them.
    Subscribe,
    /// A script on one key.
    Script(Invocation, Expected),
    /// The answer is known already.
    Answer(CacheResponse<P>),
    /// The store shall be closed.
    Close,
}

/// Decides how a request is served.
///
/// # Errors
///
/// `Unsupported`, `InvalidTtl` or `TooLarge`: the request cannot be served, and nothing is sent.
pub(super) fn plan<P: StoredBytes>(
    request: CacheRequest<P>,
    default_ttl: Option<Duration>,
) -> Result<Plan<P>, CacheError> {
    let op = request.op();
    Ok(match request {
        CacheRequest::Get(get) => {
            let (command, expected) = read(&[get.key], false);
            Plan::Command(command, expected)
        }
        CacheRequest::GetMany(get) => match get.keys.as_slice() {
            [] => Plan::Answer(CacheResponse::Many(Vec::new())),
            keys => {
                let (command, expected) = read(keys, true);
                Plan::Command(command, expected)
            }
        },
        CacheRequest::Set(set) => self::set(&set, default_ttl)?,
        CacheRequest::SetMany(set) => set_many(&set, default_ttl)?,
        CacheRequest::Delete(delete) => count("UNLINK", delete.keys.as_slice()),
        CacheRequest::Exists(exists) => count("EXISTS", exists.keys.as_slice()),
        CacheRequest::Ttl(ttl) => Plan::Command(keys_command("PTTL", &[ttl.key]), Expected::Ttl),
        CacheRequest::Expire(expire) => self::expire(&expire, default_ttl)?,
        CacheRequest::Increment(increment) => self::increment(&increment, default_ttl)?,
        CacheRequest::Publish(publish) if publish.keys.is_empty() => Plan::Answer(CacheResponse::Count(0)),
        CacheRequest::Publish(publish) => Plan::Publish(publish.keys),
        CacheRequest::Subscribe => Plan::Subscribe,
        CacheRequest::Lock(lock) => lock::acquire(&lock.key, lock.owner, lock.ttl)?,
        CacheRequest::ExtendLock(lock) => lock::extend(&lock.key, lock.owner, lock.ttl)?,
        CacheRequest::Unlock(lock) => lock::release(&lock.key, lock.owner),
        CacheRequest::Ping => Plan::Command(redis::cmd("PING"), Expected::Done),
        CacheRequest::Close => Plan::Close,
        _ => return Err(CacheError::unsupported(op, STORE)),
    })
}

/// Reads one key, or many.
pub(super) fn read(keys: &[Key], many: bool) -> (Cmd, Expected) {
    if many {
        (keys_command("MGET", keys), Expected::Values(keys.len()))
    } else {
        (keys_command("GET", keys), Expected::Value)
    }
}

fn set<P: StoredBytes>(set: &Set<P>, default_ttl: Option<Duration>) -> Result<Plan<P>, CacheError> {
    refuse_tags(&set.tags, Op::Set)?;
    let ttl = millis(set.ttl, default_ttl)?;
    let bytes = set.value.as_bytes();
    check_size(bytes.len())?;
    let condition = match (set.intent, set.condition) {
        (Intent::Write, Condition::Always) => None,
        (Intent::Write | Intent::Fill(_), Condition::IfAbsent) | (Intent::Fill(_), Condition::Always) => {
            Some("NX")
        }
        (Intent::Write, Condition::IfPresent) => Some("XX"),
        // A fill stores only where nothing is, this one only where something is.
        (Intent::Fill(_), Condition::IfPresent) => return Ok(Plan::Answer(CacheResponse::Applied(false))),
        _ => return Err(CacheError::new(ErrorKind::Unsupported, "RedisStore does not know this condition")),
    };
    let mut command = set_command(&set.key, bytes, ttl);
    if let Some(condition) = condition {
        command.arg(condition);
    }
    Ok(Plan::Command(command, Expected::Stored))
}

fn set_many<P: StoredBytes>(set: &SetMany<P>, default_ttl: Option<Duration>) -> Result<Plan<P>, CacheError> {
    refuse_tags(&set.tags, Op::SetMany)?;
    let ttl = millis(set.ttl, default_ttl)?;
    for (_, value) in &*set.entries {
        check_size(value.as_bytes().len())?;
    }
    if set.entries.is_empty() {
        return Ok(Plan::Answer(CacheResponse::Done));
    }
    if ttl.is_none() {
        let bytes =
            set.entries.iter().map(|(key, value)| key.as_str().len() + value.as_bytes().len()).sum::<usize>();
        let mut command = Cmd::with_capacity(1 + 2 * set.entries.len(), 4 + bytes);
        command.arg("MSET");
        for (key, value) in &*set.entries {
            command.arg(key.as_str()).arg(&value.as_bytes()[..]);
        }
        return Ok(Plan::Command(command, Expected::Done));
    }
    if let [(key, value)] = &*set.entries {
        return Ok(Plan::Command(set_command(key, value.as_bytes(), ttl), Expected::Done));
    }
    let commands = set.entries.iter().map(|(key, value)| set_command(key, value.as_bytes(), ttl));
    Ok(Plan::Transaction(transaction(commands), Expected::Done))
}

fn expire<P>(expire: &Expire, default_ttl: Option<Duration>) -> Result<Plan<P>, CacheError> {
    Ok(match millis(expire.ttl, default_ttl)? {
        Some(ttl) => {
            let mut command = keys_command("PEXPIRE", std::slice::from_ref(&expire.key));
            command.arg(ttl);
            Plan::Command(command, Expected::Flag)
        }
        // PERSIST answers 0 for a key that had no expiry just as for one that is not there.
        None => {
            let keys = std::slice::from_ref(&expire.key);
            let commands = [keys_command("PERSIST", keys), keys_command("EXISTS", keys)];
            Plan::Transaction(transaction(commands), Expected::LastFlag)
        }
    })
}

fn increment<P>(increment: &Increment, default_ttl: Option<Duration>) -> Result<Plan<P>, CacheError> {
    let ttl = millis(increment.ttl, default_ttl)?;
    let mut command = Cmd::with_capacity(3, 32 + increment.key.as_str().len());
    command.arg("INCRBY").arg(increment.key.as_str()).arg(increment.delta);
    Ok(match ttl {
        None => Plan::Command(command, Expected::Integer),
        // The lifetime belongs to the creation alone: an existing counter refuses the SET and keeps its own.
        Some(_) => {
            let mut create = set_command(&increment.key, b"0", ttl);
            create.arg("NX");
            Plan::Transaction(transaction([create, command]), Expected::LastInteger)
        }
    })
}

fn count<P>(name: &str, keys: &[Key]) -> Plan<P> {
    match keys {
        [] => Plan::Answer(CacheResponse::Count(0)),
        keys => Plan::Command(keys_command(name, keys), Expected::Count),
    }
}

fn keys_command(name: &str, keys: &[Key]) -> Cmd {
    // Room for one more short argument, as a lifetime.
    let bytes = keys.iter().map(|key| key.as_str().len()).sum::<usize>() + name.len() + 16;
    let mut command = Cmd::with_capacity(2 + keys.len(), bytes);
    command.arg(name);
    for key in keys {
        command.arg(key.as_str());
    }
    command
}

fn set_command(key: &Key, value: &[u8], ttl: Option<u64>) -> Cmd {
    let mut command = Cmd::with_capacity(6, 32 + key.as_str().len() + value.len());
    command.arg("SET").arg(key.as_str()).arg(value);
    if let Some(ttl) = ttl {
        command.arg("PX").arg(ttl);
    }
    command
}

/// Not the driver's own transactions: those lose count when the server refuses MULTI itself, as it does to a client
/// without credentials.
fn transaction(commands: impl IntoIterator<Item = Cmd, IntoIter: ExactSizeIterator>) -> Pipeline {
    let commands = commands.into_iter();
    let mut pipeline = Pipeline::with_capacity(commands.len() + 2);
    pipeline.cmd("MULTI");
    for command in commands {
        pipeline.add_command(command);
    }
    pipeline.cmd("EXEC");
    pipeline
}

/// The lifetime in milliseconds, or `None` for a key that does not expire.
fn millis(ttl: Ttl, default: Option<Duration>) -> Result<Option<u64>, CacheError> {
    let ttl = ttl.validated()?.resolve(default);
    // A validated lifetime is at most a hundred years: its milliseconds fit.
    Ok(ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)))
}

fn check_size(bytes: usize) -> Result<(), CacheError> {
    if bytes > MAX_VALUE {
        let message = format!("a value of {bytes} bytes, {MAX_VALUE} at most");
        return Err(CacheError::new(ErrorKind::TooLarge, message));
    }
    Ok(())
}

/// Storing the value without its tags would make it impossible to invalidate.
fn refuse_tags(tags: &Tags, op: Op) -> Result<(), CacheError> {
    if tags.is_empty() {
        return Ok(());
    }
    Err(CacheError::new(ErrorKind::Unsupported, "RedisStore does not support tags").with_op(op))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use cachex_core::{Encoded, FillToken, IntoTags, LockOwner};

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn key(text: &str) -> Key {
        Key::new(text).unwrap()
    }

    fn value(text: &'static str) -> Encoded {
        Encoded::from_bytes(Bytes::from_static(text.as_bytes()))
    }

    /// The words that go out, `;` between commands.
    fn words(request: CacheRequest<Encoded>, default_ttl: Option<Duration>) -> String {
        let packed = match plan(request, default_ttl).unwrap() {
            Plan::Command(command, _) => command.get_packed_command(),
            Plan::Transaction(pipeline, _) => pipeline.get_packed_pipeline(),
            Plan::Script(script, _) => script.by_hash().get_packed_command(),
            Plan::Answer(answer) => return format!("{answer:?}"),
            Plan::Publish(keys) => return format!("publish {}", keys.len()),
            Plan::Subscribe => return "subscribe".to_owned(),
            Plan::Close => return "close".to_owned(),
        };
        let text = String::from_utf8(packed).unwrap();
        let words = text.split("\r\n").filter(|word| !word.starts_with('$') && !word.is_empty());
        let words: Vec<_> = words.map(|word| if word.starts_with('*') { ";" } else { word }).collect();
        words.join(" ").trim_start_matches("; ").to_owned()
    }

    #[test]
    fn single_commands() {
        let k = || key("k");
        let ms = Duration::from_millis;
        let cases: [(CacheRequest<Encoded>, &str); 14] = [
            (CacheRequest::get(k()), "GET k"),
            (CacheRequest::get_many(vec![k(), key("l")]), "MGET k l"),
            (CacheRequest::set(k(), value("v"), None), "SET k v"),
            (CacheRequest::set(k(), value("v"), ms(1500)), "SET k v PX 1500"),
            (CacheRequest::set(k(), value("v"), Duration::from_micros(1)), "SET k v PX 1"),
            (CacheRequest::fill(k(), value("v"), ms(5), FillToken::UNFENCED), "SET k v PX 5 NX"),
            (Set::new(k(), value("v"), None).condition(Condition::IfPresent).into(), "SET k v XX"),
            (Set::new(k(), value("v"), None).condition(Condition::IfAbsent).into(), "SET k v NX"),
            (CacheRequest::delete(k()), "UNLINK k"),
            (CacheRequest::exists(vec![k(), k()]), "EXISTS k k"),
            (CacheRequest::ttl(k()), "PTTL k"),
            (CacheRequest::expire(k(), ms(7)), "PEXPIRE k 7"),
            (CacheRequest::increment(k(), -3, None), "INCRBY k -3"),
            (CacheRequest::Ping, "PING"),
        ];
        for (request, expected) in cases {
            assert_eq!(words(request, None), expected);
        }
    }

    #[test]
    fn transactions() {
        let k = || key("k");
        let entries = || vec![(k(), value("v").into()), (key("l"), value("w").into())];
        assert_eq!(words(CacheRequest::set_many(entries(), None), None), "MSET k v l w");
        assert_eq!(
            words(CacheRequest::set_many(entries(), MINUTE), None),
            "MULTI ; SET k v PX 60000 ; SET l w PX 60000 ; EXEC"
        );
        assert_eq!(words(CacheRequest::expire(k(), None), None), "MULTI ; PERSIST k ; EXISTS k ; EXEC");
        assert_eq!(
            words(CacheRequest::increment(k(), 1, MINUTE), None),
            "MULTI ; SET k 0 PX 60000 NX ; INCRBY k 1 ; EXEC"
        );
    }

    #[test]
    fn locks() {
        let (k, owner) = (|| key("k"), LockOwner(0xab));
        let tail = "1 k\u{1f}lock 000000000000000000000000000000ab";
        for (request, expected) in [
            (CacheRequest::lock(k(), owner, Duration::from_micros(1_500)), format!("{tail} 2")),
            (CacheRequest::extend_lock(k(), owner, MINUTE), format!("{tail} 60000")),
            (CacheRequest::unlock(k(), owner), tail.to_owned()),
        ] {
            let sent = words(request, Some(MINUTE));
            let (script, args) = sent.split_at("EVALSHA ".len() + 40);
            assert!(script.starts_with("EVALSHA "), "{sent}");
            assert_eq!(args.trim_start(), expected);
        }
    }

    #[test]
    fn the_default_lifetime_fills_in() {
        let k = || key("k");
        assert_eq!(words(CacheRequest::set(k(), value("v"), Ttl::Default), Some(MINUTE)), "SET k v PX 60000");
        assert_eq!(words(CacheRequest::set(k(), value("v"), Ttl::Default), None), "SET k v");
        assert_eq!(words(CacheRequest::set(k(), value("v"), Ttl::Never), Some(MINUTE)), "SET k v");
        assert_eq!(words(CacheRequest::expire(k(), Ttl::Default), Some(MINUTE)), "PEXPIRE k 60000");
    }

    #[test]
    fn nothing_is_sent_for_nothing() {
        assert_eq!(words(CacheRequest::get_many(vec![]), None), "Many([])");
        assert_eq!(words(CacheRequest::delete(vec![]), None), "Count(0)");
        assert_eq!(words(CacheRequest::publish(vec![]), None), "Count(0)");
        assert_eq!(words(CacheRequest::exists(vec![]), None), "Count(0)");
        assert_eq!(words(CacheRequest::set_many(vec![], MINUTE), None), "Done");
        let never = Set::new(key("k"), value("v"), None)
            .intent(Intent::Fill(FillToken::UNFENCED))
            .condition(Condition::IfPresent);
        assert_eq!(words(never.into(), None), "Applied(false)");
    }

    #[test]
    fn refusals() {
        let k = || key("k");
        let tags = || ["t"].into_tags().unwrap();
        let cases: [(CacheRequest<Encoded>, ErrorKind); 6] = [
            (CacheRequest::set(k(), value("v"), Duration::ZERO), ErrorKind::InvalidTtl),
            (CacheRequest::increment(k(), 1, Duration::MAX), ErrorKind::InvalidTtl),
            (Set::new(k(), value("v"), None).tags(tags()).into(), ErrorKind::Unsupported),
            (CacheRequest::add_tags(k(), tags()), ErrorKind::Unsupported),
            (CacheRequest::lock(k(), LockOwner(1), Duration::ZERO), ErrorKind::InvalidTtl),
            (CacheRequest::extend_lock(k(), LockOwner(1), Duration::MAX), ErrorKind::InvalidTtl),
        ];
        for (request, kind) in cases {
            let op = request.op();
            let error = plan(request, None).unwrap_err();
            assert_eq!(error.kind(), kind, "{op}");
        }
        let error = plan(CacheRequest::<Encoded>::invalidate_tags(tags()), None).unwrap_err();
        assert_eq!(error.to_string(), "invalidate_by_tag: RedisStore does not support invalidate_by_tag");
    }
}
