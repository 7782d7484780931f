"""Starts that must be refused, each as an operator would make it: a file, an environment, a command line.

Promise: `attempt` runs the real command in a process of its own; a start that is not refused within its limit counts
as served, and is ended.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GOOD_KEY = "pen-AbCdEfGhIjKl-mNoPqRsTuVwXyZ0123456789aBcDeFgHiJkLmNoPqRs"
PEPPER = "5a" * 32
REFUSED_S = 8.0
BASE = """\
discover = false
[server]
port = 0
{server}
[store]
data = "{data}"
{store}
{rest}
"""


@dataclass(frozen=True)
class Start:
    """One start. `says` are words its refusal must have; `before` prepares the data folder."""

    name: str
    says: tuple[str, ...]
    server: str = ""
    store: str = ""
    rest: str = ""
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    arguments: tuple[str, ...] = ()
    before: Callable[[Path], None] = lambda _data: None


@dataclass(frozen=True)
class Refusal:
    """What came of it: exit code (None: it served), standard output and error together."""

    code: int | None
    said: str


def attempt(folder: Path, start: Start) -> Refusal:
    """Try one start in `folder`."""
    data = folder / "data"
    data.mkdir(parents=True, mode=0o700)
    start.before(data)
    config = folder / "penstock.toml"
    config.write_text(BASE.format(server=start.server, store=start.store, data=data, rest=start.rest))
    return serve(config, start.env, start.arguments)


def serve(
    config: Path, env: Mapping[str, str], arguments: tuple[str, ...] = (), limit_s: float = REFUSED_S
) -> Refusal:
    """Run `penstock serve` until it ends, or for `limit_s`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "penstock.cli", "serve", f"--config={config}", *arguments],
        cwd=config.parent,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src"), **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        return Refusal(None, process.communicate()[0])
    return Refusal(process.returncode, said)


def fault_of(start: Start, refusal: Refusal) -> str:
    """Return what is wrong with a refusal, "" for nothing."""
    if refusal.code is None:
        return f"{start.name}: it served"
    if refusal.code == 0 or refusal.code > 127 or refusal.code < 0:
        return f"{start.name}: exit code {refusal.code}: {refusal.said[-300:]}"
    if "Traceback" in refusal.said or "This is a bug" in refusal.said:
        return f"{start.name}: it broke: {refusal.said[-400:]}"
    missing = [word for word in start.says if word.lower() not in refusal.said.lower()]
    return f"{start.name}: nothing of {missing} in: {refusal.said[-400:]}" if missing else ""


def _secret(name: str, text: str, mode: int) -> Callable[[Path], None]:
    def write(data: Path) -> None:
        folder = data / "secrets"
        folder.mkdir(mode=0o700)
        (folder / name).write_text(text)
        (folder / name).chmod(mode)

    return write


_PROVIDER = '[[providers]]\nname = "v"\nkind = "openai"\nbase_url = "{}"\nmodels = ["m"]\nfree = true\n'
_WEAK = {
    "a well-known admin key": "changeme",
    "an admin key that is too short": "pen-AbCdEfGhIjKl-short",
    "an admin key of one letter": "pen-AbCdEfGhIjKl-" + "a" * 43,
}
STARTS: list[Start] = [
    Start("an open bind without host names", ("0.0.0.0", "allowed_hosts"), server='host = "0.0.0.0"'),  # noqa: S104 - the very bind that is to be refused
    Start("an open IPv6 bind", ("allowed_hosts",), server='host = "::"'),
    Start("a certificate without its key", ("tls_cert", "tls_key"), server='tls_cert = "x.pem"'),
    Start("a certificate that is not there", ("x.pem",), server='tls_cert = "x.pem"\ntls_key = "y.pem"'),
    *(Start(name, ("admin key",), env={"PENSTOCK_ADMIN_KEY": key}) for name, key in _WEAK.items()),
    Start("two processes on embedded stores", ("2 processes", "PostgreSQL"), arguments=("--workers=2",)),
    Start("no process", ("--workers",), arguments=("--workers=0",)),
    Start("an unknown key", ("server.prot", "unknown key"), server="prot = 1"),
    Start("an unknown section", ("sever", "unknown key"), rest="[sever]\nx = 1"),
    Start("an unknown variable", ("PENSTOCK_SERVER_PROT",), env={"PENSTOCK_SERVER_PROT": "1"}),
    Start("a wrong type", ("server.body_bytes",), server='body_bytes = "many"'),
    Start("a number out of bounds", ("server.in_flight",), server="in_flight = 0"),
    Start("two mistakes told at once", ("server.prot", "ledger.durability"), server="prot = 1",
          rest='[ledger]\ndurability = "none"'),
    Start("no TOML", ("not TOML",), rest="[[["),
    Start("an unknown store", ("mysql",), rest='[ledger]\nurl = "mysql://x"'),
    Start("an unknown state", ("memcached",), store='state_url = "memcached://x"'),
    Start("an address that is none", ("store.records_url", "%2F"), store='records_url = "postgresql://u:p@[::1/x"'),
    Start("a pepper that others can read", ("pepper", "0644", "chmod"), before=_secret("pepper", PEPPER, 0o644)),
    Start("a pepper that others can write", ("pepper", "0602"), before=_secret("pepper", PEPPER, 0o602)),
    Start("a pepper that is too short", ("pepper",), before=_secret("pepper", "abc", 0o600)),
    Start("an empty pepper", ("pepper", "empty"), before=_secret("pepper", "", 0o600)),
    Start("a provider's key that others can read", ("v-key", "0644"), before=_secret("v-key", "sk-1", 0o644),
          rest=_PROVIDER.format("https://v.example/v1") + 'secret = "v-key"'),
    Start("a provider's key that is not there", ("v-key",), rest=_PROVIDER.format("https://v.example/v1") +
          'secret = "v-key"'),
    Start("a provider without an address", ("base_url",), rest='[[providers]]\nname = "v"\nkind = "openai"'),
    Start("a password in an address", ("Credentials",), rest=_PROVIDER.format("https://u:p@v.example/v1")),
    Start("a route to nobody", ("unknown provider",),
          rest='[[routes]]\nmodel = "m"\ntargets = [{ provider = "nobody", model = "x" }]'),
    Start("a price that is no number", ("price",),
          rest='[[prices]]\nprovider = "v"\nmodel = "m"\ninput = "cheap"'),
    Start("a port above all ports", ("65535",), arguments=("--port=70000",)),
]  # fmt: skip
