#!/usr/bin/env bash
# Make sure that the browser tests have what they need: the system's Chromium (installed by its package manager where it
# is missing), and axe-core beside the console's libraries. Starts nothing. Exits 1 with the remedy.
# usage: PYTHON=.venv/bin/python scripts/chromium.sh
set -euo pipefail
cd "$(dirname "$0")/.."

install_chromium() {
    local root=()
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null && sudo -n true 2>/dev/null || return 1
        root=(sudo -n)
    fi
    command -v apt-get >/dev/null || return 1
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive sh -c \
        'apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core' >/dev/null 2>&1
}

if ! [ -x /usr/bin/chromium ]; then
    echo "installing chromium" >&2
    install_chromium && [ -x /usr/bin/chromium ] || {
        echo "/usr/bin/chromium is missing and could not be installed from here." >&2
        echo "Install it as an administrator (Debian: apt-get install chromium), then try again." >&2
        exit 1
    }
fi
PYTHON=${PYTHON:-python3} scripts/console.sh --dev
