//! Locks: one hash per lock, changed by one script per operation.
//!
//! | field | what it is |
//! |---|---|
//! | `owner` | who holds it, 32 hexadecimal digits; absent while nobody does |
//! | `until` | when that ends, in milliseconds of the server's clock; absent with `owner` |
//! | `fence` | the largest fencing token so far |
//!
//! The hash outlives the lock by a day, for its `fence`. A token is the larger of `fence + 1` and the server's clock in
//! microseconds. So it also grows when the hash is gone (expired, evicted, flushed, not replicated before a failover), as
//! long as the clock of the server, or of the replica that took its place, has not gone back by more than the time since. A
//! double, the number of Lua, counts microseconds exactly until the year 2255.
//!
//! Time is the server's alone: the clocks of the callers do not matter, and `TIME` in a script that writes needs Redis 5.

use std::sync::LazyLock;
use std::time::Duration;

use cachex_core::{CacheError, Key, LockOwner, Ttl};

use super::command::Plan;
use super::reply::Expected;
use super::script::{Invocation, Script};

/// What makes the name of the hash out of the name of the lock. No [`Key`] has a control character, so no entry of any user
/// has such a name; it is at the end, so that ACL patterns and hash tags apply as they do to entries.
const SUFFIX: &str = "\u{1f}lock";

/// What every script begins with.
const PRELUDE: &str = "
local time = redis.call('TIME')
local micros = time[1] * 1000000 + time[2]
local now = math.floor(micros / 1000)
local lock = redis.call('HMGET', KEYS[1], 'owner', 'until', 'fence')
local held = lock[1] and tonumber(lock[2] or 0) > now
local mine = held and lock[1] == ARGV[1]
local function keep(ttl) redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.max(ttl, 86400000))) end
";

/// Someone who holds the lock already is told the same token, and holds it for no shorter than he asks now: the answer to a
/// first attempt may have been lost.
const ACQUIRE: &str = "
if held and not mine then return false end
local ttl = tonumber(ARGV[2])
local last = tonumber(lock[3] or 0)
local fence, till = last, now + ttl
if mine then till = math.max(till, tonumber(lock[2])) else fence = math.max(last + 1, micros) end
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'until', string.format('%.0f', till),
    'fence', string.format('%.0f', fence))
keep(till - now)
return fence
";

/// `PEXPIRE` before `HSET`: a server that is out of memory refuses only scripts that begin with a write that may need some.
const EXTEND: &str = "
if not mine then return 0 end
local ttl = tonumber(ARGV[2])
keep(ttl)
redis.call('HSET', KEYS[1], 'until', string.format('%.0f', now + ttl))
return 1
";

const RELEASE: &str = "
if not mine then return 0 end
redis.call('HDEL', KEYS[1], 'owner', 'until')
keep(0)
return 1
";

static ACQUIRE_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new([PRELUDE, ACQUIRE].concat()));
static EXTEND_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new([PRELUDE, EXTEND].concat()));
static RELEASE_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new([PRELUDE, RELEASE].concat()));

pub(super) fn acquire<P>(key: &Key, owner: LockOwner, ttl: Duration) -> Result<Plan<P>, CacheError> {
    Ok(plan(&ACQUIRE_SCRIPT, key, vec![name(owner), millis(ttl)?], Expected::Locked))
}

pub(super) fn extend<P>(key: &Key, owner: LockOwner, ttl: Duration) -> Result<Plan<P>, CacheError> {
    Ok(plan(&EXTEND_SCRIPT, key, vec![name(owner), millis(ttl)?], Expected::Flag))
}

pub(super) fn release<P>(key: &Key, owner: LockOwner) -> Plan<P> {
    plan(&RELEASE_SCRIPT, key, vec![name(owner)], Expected::Flag)
}

fn plan<P>(script: &'static Script, key: &Key, args: Vec<String>, expected: Expected) -> Plan<P> {
    Plan::Script(Invocation::new(script, [key.as_str(), SUFFIX].concat(), args), expected)
}

fn name(LockOwner(owner): LockOwner) -> String {
    format!("{owner:032x}")
}

/// A lock's lifetime has the bounds of any other.
fn millis(ttl: Duration) -> Result<String, CacheError> {
    let ttl = Ttl::After(ttl).validated()?.resolve(None).unwrap_or_default();
    Ok(ttl.as_millis().to_string())
}
