#!/usr/bin/env bash
# Runs every test, against real Redis servers. Installs redis-server first when it is missing.
#
#   scripts/test.sh                     everything, the explored schedules (tests/schedules) included
#   scripts/test.sh --test redis lock   further arguments go to `cargo test`
#
# The tests start servers of their own on free ports. They use no server that happens to run here, and nothing
# listens on 6379 for them.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n==> %s\n' "$*"; }

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        echo "scripts/test.sh: needs root (or sudo) to run: $*" >&2
        return 1
    fi
}

install_redis() {
    if command -v apt-get >/dev/null; then
        # The list of a fresh machine or container is often empty or stale.
        as_root apt-get update -qq
        as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get install -qq --yes --no-install-recommends redis-server </dev/null
    elif command -v dnf >/dev/null; then
        as_root dnf install --assumeyes --quiet redis || as_root dnf install --assumeyes --quiet valkey-compat-redis
    elif command -v apk >/dev/null; then
        as_root apk add --quiet redis
    elif command -v brew >/dev/null; then
        brew install --quiet redis
    else
        echo "scripts/test.sh: no package manager known to this script; install redis-server by hand" >&2
        return 1
    fi
}

server=${CACHEX_TEST_REDIS_SERVER:-redis-server}
if ! command -v "$server" >/dev/null; then
    if [ -n "${CACHEX_TEST_REDIS_SERVER:-}" ]; then
        echo "scripts/test.sh: CACHEX_TEST_REDIS_SERVER names '$server', which does not exist" >&2
        exit 1
    fi
    say "Installing redis-server"
    install_redis
    command -v "$server" >/dev/null || {
        echo "scripts/test.sh: the installation went through, but there is still no redis-server in PATH" >&2
        exit 1
    }
fi

say "Testing with $("$server" --version | cut -d ' ' -f 1-3)"
cargo test --workspace --all-features "$@"

if [ $# -eq 0 ]; then
    say "Exploring schedules"
    cargo test --quiet --manifest-path tests/schedules/Cargo.toml
fi
