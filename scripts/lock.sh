#!/usr/bin/env bash
# Resolve pyproject.toml into hash-locked requirement files that name no host. Each file is resolved within the one
# before it, so that installing a later one never changes what an earlier one installed.
# usage: scripts/lock.sh [--upgrade]
set -euo pipefail
python=${PYTHON:-python3}
cd "$(dirname "$0")/.."

lock() {
    local name=$1
    shift
    "$python" -m piptools compile pyproject.toml --quiet --no-config --no-header --strip-extras --allow-unsafe \
        --generate-hashes --build-deps-for editable --no-build-isolation \
        --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-emit-options \
        --output-file "requirements/$name.txt" "${upgrade[@]}" "$@"
    echo "requirements/$name.txt: $(grep -c '==' "requirements/$name.txt") packages" >&2
}

upgrade=("$@")
engines=(--extra redis --extra postgres --extra otel --extra lake)
lock base
lock test --constraint requirements/base.txt "${engines[@]}" --extra test
lock check --constraint requirements/test.txt "${engines[@]}" --extra test --extra check
lock browser --constraint requirements/test.txt "${engines[@]}" --extra test --extra browser
lock build --constraint requirements/test.txt --extra build
