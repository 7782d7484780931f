#!/usr/bin/env bash
# Install the rivals of the embedding bench into .venv-embed-bench (about 5 GB: PyTorch brings CUDA along), and make
# sure that wrk is there. A repeat installs nothing.
# usage: tests/bench/embedding_install.sh PYTHON
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$1
lock=requirements/bench_embedding.txt
stamp=.venv-embed-bench/.installed

if ! command -v wrk >/dev/null; then
    echo "wrk is missing. Debian: apt-get install wrk" >&2
    exit 1
fi
if [ -e "$stamp" ] && cmp -s "$lock" "$stamp"; then
    exit 0
fi
echo "installing $lock" >&2
"$python" -m venv .venv-embed-bench
.venv-embed-bench/bin/python -m pip --quiet --disable-pip-version-check install --require-hashes --no-deps \
    --requirement "$lock"
cp "$lock" "$stamp"
