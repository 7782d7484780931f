#!/usr/bin/env bash
# Install requirements/NAME.txt (every file checked against its hash) and Penstock itself, editable.
# usage: scripts/install.sh PYTHON NAME
set -euo pipefail
python=$1 name=$2
cd "$(dirname "$0")/.."

pip=("$python" -m pip --quiet --disable-pip-version-check install)
echo "installing requirements/$name.txt" >&2
"${pip[@]}" --require-hashes --requirement "requirements/$name.txt"
"${pip[@]}" --no-deps --no-build-isolation --editable .
