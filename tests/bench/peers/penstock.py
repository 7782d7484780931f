"""Ours, as a user runs it: the real command, a config file, every mandatory step of the pipeline on.

What "everything on" means here: a 256-bit key, five levels of tenancy with a daily budget each, request
and token limits at organisation, team and key, a concurrency limit at the key, a priced model, the journalled ledger,
audit records into the stream, Prometheus metrics.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection
from pathlib import Path

from tests.bench.peers.base import ROOT, NotRunnable, Target

_COMMAND = ROOT / ".venv" / "bin" / "penstock"
_PLENTY = 1_000_000_000
_RICH_NANOS = 10**15

_CONFIG = """\
discover = false

[server]
host = "127.0.0.1"
port = {port}

[store]
data = "{folder}/data"
{stores}
[[providers]]
name = "bench"
kind = "openai"
base_url = "http://127.0.0.1:{upstream_port}/v1"
models = ["{model}"]

[[prices]]
provider = "bench"
model = "{model}"
input = "0.15"
cached_input = "0.075"
output = "0.60"
context_window = 128000
max_output = 16384
"""


class Penstock(Target):
    """`penstock serve --config FILE`, one process on the embedded pair."""

    name = "penstock"
    title = "Penstock, everything on"
    does = (
        "keys, limits, holds at five levels, settlement, journalled ledger, audit, metrics; embedded stores"
    )

    def __init__(self, upstream_port: int) -> None:
        super().__init__(upstream_port)
        self._owner = f"pen-{secrets.token_hex(6)}-{secrets.token_urlsafe(32)}"
        self._key = ""

    def requires(self) -> Sequence[Path]:
        return (_COMMAND,)

    def stores(self) -> str:
        """Lines that move the stores elsewhere than the data folder."""
        return ""

    def key(self) -> Mapping[str, object]:
        """What the callers' key has besides."""
        return {}

    def command(self) -> Sequence[str]:
        config = self.folder / "penstock.toml"
        config.write_text(
            _CONFIG.format(
                port=self.port,
                upstream_port=self.upstream_port,
                folder=self.folder,
                model=self.model,
                stores=self.stores(),
            )
        )
        return (str(_COMMAND), "serve", "--config", str(config))

    def environment(self) -> Mapping[str, str]:
        return {"PENSTOCK_ADMIN_KEY": self._owner}

    def after_start(self) -> None:
        """Set limits and budgets at every level, and make the key the callers use."""
        caps = [{"window": "day", "limit_nanos": _RICH_NANOS}]
        rate = {"requests_per_minute": _PLENTY, "tokens_per_minute": _PLENTY}
        for level in ("org", "team", "project", "user"):
            limited = rate if level in ("org", "team") else {}
            self._manage("PUT", "/api/v1/scopes", {"level": level, "caps": caps, "rate": limited})
        made = self._manage(
            "POST",
            "/api/v1/keys",
            {"name": "bench", "caps": caps, "rate": {**rate, "concurrency": 100_000}, **self.key()},
        )
        self._key = str(made["token"])

    def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self._key}"}

    def _manage(self, method: str, path: str, body: Mapping[str, object]) -> dict[str, object]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            headers = {"Authorization": f"Bearer {self._owner}", "Content-Type": "application/json"}
            connection.request(method, path, json.dumps(body), headers)
            reply = connection.getresponse()
            text = reply.read()
        finally:
            connection.close()
        if reply.status not in (200, 201):
            raise NotRunnable(f"{method} {path} answered {reply.status}: {text[:300]!r}")
        return json.loads(text)
