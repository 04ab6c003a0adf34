#!/usr/bin/env bash
# Checks that every feature of every published crate builds alone: with no default features, with each feature by
# itself, with the defaults, and with all features. A warning is an error.
#
#   scripts/features.sh                 all published crates of the workspace
#   scripts/features.sh cachex-core     only those named
#
# `cargo hack --each-feature check` does the same; this needs nothing but cargo. Warnings are refused by clippy's
# own arguments, which reach the crate in question alone: RUSTFLAGS would reach its dependencies too, and compile
# them all once more.
set -euo pipefail
cd "$(dirname "$0")/.."

# The strings of `members = [...]`, on one line or several.
members() {
    awk '/^members *=/ { on = 1 }
         on { line = $0; while (match(line, /"[^"]*"/)) { print substr(line, RSTART + 1, RLENGTH - 2)
                                                          line = substr(line, RSTART + RLENGTH) } }
         on && /\]/ { exit }' Cargo.toml
}

# The value of a key in [package], without quotes.
package() {
    awk -v key="$2" '/^\[/ { on = ($0 == "[package]") }
                     on && $1 == key { sub(/^[^=]*= */, ""); gsub(/"/, ""); print; exit }' "$1"
}

# The keys of [features] but `default`, which is checked by itself.
features() {
    awk '/^\[/ { on = ($0 == "[features]") }
         on && match($0, /^[A-Za-z0-9_-]+ *=/) { name = $0; sub(/ *=.*/, "", name)
                                                 if (name != "default") print name }' "$1"
}

check() {
    printf '    %s\n' "$*"
    cargo clippy --quiet --lib --no-deps --package "$@" -- -D warnings </dev/null
    checked=$((checked + 1))
}

checked=0
for member in $(members); do
    manifest=$member/Cargo.toml
    name=$(package "$manifest" name)
    [ "$(package "$manifest" publish)" != false ] || continue
    [ $# -eq 0 ] || [[ " $* " == *" $name "* ]] || continue
    printf '%s\n' "$name"
    check "$name" --no-default-features
    for feature in $(features "$manifest"); do
        check "$name" --no-default-features --features "$feature"
    done
    check "$name"
    check "$name" --all-features
done

# A script that finds nothing to check must not look like one that found nothing wrong.
[ "$checked" -gt 0 ] || { echo "scripts/features.sh: no crate checked" >&2; exit 1; }
echo "$checked combinations build without a warning"
