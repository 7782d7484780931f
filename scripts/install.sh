#!/usr/bin/env bash
# Install requirements/NAME.txt (every file checked against its hash) and Penstock itself, editable. A lock is whole
# (tests/unit/house/test_locks.py), so nothing beyond it is asked for: not PyTorch, not a sender of telemetry.
# usage: scripts/install.sh PYTHON NAME...
set -euo pipefail
python=$1
shift
cd "$(dirname "$0")/.."

pip=("$python" -m pip --quiet --disable-pip-version-check install --no-deps)
for name in "$@"; do
    echo "installing requirements/$name.txt" >&2
    "${pip[@]}" --require-hashes --requirement "requirements/$name.txt"
done
"${pip[@]}" --no-build-isolation --editable .
