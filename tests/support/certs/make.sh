#!/usr/bin/env bash
# Makes the certificates of this folder anew: an authority, and a server and a client signed by it. Needs openssl.
# The authority's key is thrown away. Valid for a hundred years, so that tests do not fail on a calendar date.
set -euo pipefail
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

new() { openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 36500 "$@" 2>/dev/null; }

new -x509 -subj "/CN=cachex test authority" -keyout "$work/ca.key" -out ca.crt \
    -addext "basicConstraints=critical,CA:true" -addext "keyUsage=critical,keyCertSign"
sign() {
    local name=$1 subject=$2 extensions=$3
    new -subj "$subject" -keyout "$name.key" -out "$work/$name.csr"
    openssl x509 -req -in "$work/$name.csr" -CA ca.crt -CAkey "$work/ca.key" -CAcreateserial -CAserial "$work/serial" \
        -days 36500 -extfile <(printf '%s\n' "basicConstraints=critical,CA:false" "$extensions") \
        -out "$name.crt" 2>/dev/null
}
sign server "/CN=localhost" $'subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth'
sign client "/CN=cachex test client" "extendedKeyUsage=clientAuth"
