#!/bin/sh
# Resolves every lock from pyproject.toml. Hashes in, index addresses out; one resolution for all Pythons and platforms.
set -eu
cd "$(dirname "$0")/.."
compile() { # OUTPUT ARGUMENTS...
    output=$1
    shift
    uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
        --custom-compile-command "make lock" --output-file "$output" "$@"
}
compile requirements.lock pyproject.toml
compile requirements-build.lock --group build -c requirements.lock
compile requirements-dev.lock pyproject.toml --group dev -c requirements.lock -c requirements-build.lock
compile requirements-oracle.lock --group oracle -c requirements-dev.lock
compile requirements-fuzz.lock --group fuzz -c requirements-dev.lock
compile requirements-peer.lock --group peer -c requirements-dev.lock
