"""A whole deployment at DEBUG with a canary for every secret, and a time it does not forget.

Providers that refuse, break off, stall and tell the caller's credentials back; clients with wrong keys and malformed
requests; stores that go away; `kill -9` and a second start. Promise: everything the deployment says is collected, raw:
standard output and error, every reply, metrics, the API's own description; its files are there to be read.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import resource
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from penstock.simulator.server import SimulatorOptions, run_simulator
from tests.canaries import canary, key, secret_part
from tests.raw_upstream import DONE, FIRST, RawUpstream, Script, Wire, text
from tests.services import free_port
from tests.stage import until

ROOT = Path(__file__).resolve().parents[1]
UP_S = 15.0
_BEARER = re.compile(rb"authorization: *bearer +(\S+)", re.IGNORECASE)
CONFIG = """\
discover = false
[server]
port = {port}
[audit]
log_level = "DEBUG"
request_log = true
[resilience]
backoff_base_s = 0.01
[store]
data = "{data}"
{stores}
[[providers]]
name = "sim"
kind = "openai"
base_url = "{sim}"
secret = "sim-key"
models = ["sim/model"]
free = true
[[providers]]
name = "evil"
kind = "openai"
base_url = "{evil}"
secret = "evil-key"
models = [{models}]
free = true
first_byte_s = 0.5
[[providers]]
name = "wrong"
kind = "openai"
base_url = "{sim}"
secret = "evil-key"
models = ["refused"]
free = true
[[providers]]
name = "gone"
kind = "openai"
base_url = "http://127.0.0.1:9/v1"
secret = "evil-key"
models = ["gone"]
free = true
"""


def _told(wire: Wire) -> str:
    """The key that the gateway sent."""
    found = _BEARER.search(wire.head)
    return found[1].decode() if found else ""


async def _tells_it_in_an_error(wire: Wire) -> None:
    error = {"message": f"Incorrect API key provided: {_told(wire)}.", "type": "invalid_request_error"}
    await wire.reply(401, json.dumps({"error": {**error, "code": "invalid_api_key"}}).encode())


async def _tells_it_in_a_page(wire: Wire) -> None:
    await wire.reply(500, b"<pre>" + wire.head + b"</pre>", "text/html")


async def _tells_it_in_a_bad_request(wire: Wire) -> None:
    message = {"error": {"message": "bad header", "param": _told(wire), "debug": wire.head.decode("latin-1")}}
    await wire.reply(400, json.dumps(message).encode())


async def _tells_it_with_200(wire: Wire) -> None:
    await wire.reply(200, json.dumps({"error": {"message": f"key {_told(wire)} is blocked"}}).encode())


async def _tells_it_in_the_middle(wire: Wire) -> None:
    await wire.stream()
    await wire.send(FIRST + text("The "))
    await asyncio.sleep(0.05)
    await wire.send(b'data: {"error":{"message":"key ' + _told(wire).encode() + b' expired"}}\n\n')


async def _tells_it_as_nonsense(wire: Wire) -> None:
    await wire.stream()
    await wire.send(FIRST + text("The "))
    await asyncio.sleep(0.05)
    await wire.send(b"data: {" + _told(wire).encode() + b"\n\n" + DONE)


async def _stalls(wire: Wire) -> None:
    await asyncio.sleep(5)
    await wire.whole()


EVIL: dict[str, Script] = {
    "error": _tells_it_in_an_error,
    "page": _tells_it_in_a_page,
    "bad": _tells_it_in_a_bad_request,
    "with-200": _tells_it_with_200,
    "middle": _tells_it_in_the_middle,
    "nonsense": _tells_it_as_nonsense,
    "stall": _stalls,
}
WEIGHTS = dict.fromkeys(
    (
        "rate_limit",
        "server_error",
        "overloaded",
        "reset",
        "cut",
        "malformed_line",
        "error_mid_stream",
        "quota",
    ),
    0.08,
)


@dataclass(slots=True)
class Planted:
    """The secrets, and everything the deployment said. Nothing of `secrets` may be in `said` or in its files."""

    folder: Path
    port: int
    owner: str = field(default_factory=key)
    secrets: dict[str, str] = field(default_factory=dict[str, str])
    said: dict[str, bytes] = field(default_factory=dict[str, bytes])
    replies: int = 0

    @property
    def data(self) -> Path:
        """Its data folder."""
        return self.folder / "data"

    @property
    def on_purpose(self) -> list[Path]:
        """Files into which a secret was put on purpose: the configuration and the secrets."""
        return [self.folder / "penstock.toml", *(self.data / "secrets").glob("*")]

    def heard(self, place: str, raw: bytes) -> None:
        """Keep what came back, replies of one kind together."""
        self.replies += 1
        self.said[place] = self.said.get(place, b"") + raw


PROVIDER_KEY = "provider's key"


def plant(
    folder: Path, upstreams: Mapping[str, str], provider_key: str, stores: str = "", **more: str
) -> Planted:
    """Write the configuration and the secret files of a deployment; `more` are secrets that `stores` holds."""
    it = Planted(folder, free_port())
    it.secrets |= {
        PROVIDER_KEY: provider_key,
        "another provider's key": canary(),
        "pepper": canary(64),
        **more,
    }
    it.secrets["owner's key"] = secret_part(it.owner)
    kept = it.data / "secrets"
    kept.mkdir(parents=True, mode=0o700)
    for name, secret in (("sim-key", PROVIDER_KEY), ("evil-key", "another provider's key")):
        (kept / name).write_text(it.secrets[secret])
        (kept / name).chmod(0o600)
    models = ", ".join(f'"{name}"' for name in EVIL)
    config = CONFIG.format(port=it.port, data=it.data, stores=stores, models=models, **upstreams)
    (folder / "penstock.toml").write_text(config)
    return it


@asynccontextmanager
async def upstreams(provider_key: str) -> AsyncIterator[dict[str, str]]:
    """Run the providers; gives their addresses."""
    options = SimulatorOptions(seed=8, weights=WEIGHTS, key=provider_key)
    async with RawUpstream(EVIL) as evil:
        simulator = await run_simulator(options)
        try:
            yield {"sim": simulator.url, "evil": evil.url}
        finally:
            await simulator.close()


@asynccontextmanager
async def running(it: Planted, end: signal.Signals = signal.SIGTERM) -> AsyncIterator[None]:
    """Run `penstock serve`, collecting all it says, and end it by `end`: SIGABRT makes it tell where it was."""
    env = {"PENSTOCK_ADMIN_KEY": it.owner, "PENSTOCK_SECRET_PEPPER": it.secrets["pepper"]}
    process = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-X",
            "dev",
            "-m",
            "penstock.cli",
            "serve",
            f"--config={it.folder / 'penstock.toml'}",
        ),
        cwd=it.folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src"), "PYTHONASYNCIODEBUG": "1", **env},
        stdout=-1,
        stderr=-1,
        preexec_fn=_without_core_file,
    )
    collecting = asyncio.create_task(process.communicate())
    try:
        await until(lambda: _answers(it.port, collecting), UP_S)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(end)
        out, err = await collecting
        it.heard("standard output", out)
        it.heard("standard error", err)


def _without_core_file() -> None:
    """An image of all memory holds every secret, whoever makes it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


async def _answers(port: int, collecting: asyncio.Task[tuple[bytes, bytes]]) -> bool:
    if collecting.done():
        out, err = collecting.result()
        raise RuntimeError(f"it did not start: {(out + err).decode(errors='replace')[-2000:]}")
    with contextlib.suppress(OSError):
        return b" 200 " in await send(
            port, b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n"
        )
    return False


async def command(it: Planted, *words: str) -> None:
    """Run `penstock WORDS` on the deployment's settings, and keep what it says."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "penstock.cli", *words, f"--config={it.folder / 'penstock.toml'}"),
        cwd=it.folder,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT / "src"),
            "PENSTOCK_SECRET_PEPPER": it.secrets["pepper"],
        },
        stdout=-1,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    it.heard(f"`penstock {' '.join(words)}`", out)


async def send(port: int, raw: bytes, limit_s: float = 5.0) -> bytes:
    """Send raw bytes; return all that comes back until the end, or until `limit_s`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    got = b""
    try:
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(limit_s):
                writer.write(raw)
                while piece := await reader.read(65536):
                    got += piece
    finally:
        writer.close()
    return got
