//! Scripts that run on the server in one atomic step.

use std::fmt;

use redis::{Cmd, Value};

/// A script and the name by which a server that has seen it knows it.
#[derive(Debug)]
pub(super) struct Script {
    source: String,
    hash: String,
}

impl Script {
    pub(super) fn new(source: String) -> Self {
        let hash = redis::Script::new(&source).get_hash().to_owned();
        Self { source, hash }
    }
}

/// One run of a script on one key: a cluster knows by the key where it belongs.
pub(super) struct Invocation {
    script: &'static Script,
    key: String,
    args: Vec<String>,
}

impl Invocation {
    /// `key` is the key as the server knows it, `KEYS[1]` to the script; `args` are its `ARGV`.
    pub(super) fn new(script: &'static Script, key: String, args: Vec<String>) -> Self {
        Self { script, key, args }
    }

    /// The key as the server knows it.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// The short form, for a server that has seen the script.
    pub(super) fn by_hash(&self) -> Cmd {
        self.command("EVALSHA", &self.script.hash)
    }

    /// The form that every server understands. It may follow [`by_hash`](Self::by_hash) without doing anything twice: a
    /// server that does not know the script has done nothing.
    pub(super) fn by_source(&self) -> Cmd {
        self.command("EVAL", &self.script.source)
    }

    /// Whether this is what a server answers that has not seen the script.
    pub(super) fn is_unknown(reply: &Value) -> bool {
        matches!(reply, Value::ServerError(error) if error.code() == "NOSCRIPT")
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let bytes = script.len() + self.key.len() + 32 + self.args.iter().map(String::len).sum::<usize>();
        let mut command = Cmd::with_capacity(4 + self.args.len(), bytes);
        command.arg(name).arg(script).arg(1).arg(&self.key);
        for arg in &self.args {
            command.arg(arg);
        }
        command
    }
}

/// Without the key and the arguments, an owner among them.
impl fmt::Debug for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invocation").field("script", &self.script.hash).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_named_by_its_sha1() {
        // `SCRIPT LOAD "return 1"`
        assert_eq!(Script::new("return 1".to_owned()).hash, "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
    }
}
