"""Ours twice more: with nothing kept of requests and nobody looking, and with traces kept and the console open."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.bench.peers.base import ROOT, NotRunnable
from tests.bench.peers.penstock import Penstock

VIEWERS = 4


class Unseen(Penstock):
    """No trace store, no viewer: what the spine had."""

    name = "penstock-unseen"
    title = "Penstock, no traces kept"
    does = "as `penstock`, with traces.store = false"

    def stores(self) -> str:
        return "\n[traces]\nstore = false\n"


class Seen(Penstock):
    """Traces kept, and four people looking on: two console pages live, two live streams of the API."""

    name = "penstock-seen"
    title = "Penstock, traces kept and the console open"
    does = "as `penstock`, with the trace store and four live views"

    def __init__(self, upstream_port: int) -> None:
        super().__init__(upstream_port)
        self._viewers: subprocess.Popen[str] | None = None
        self.read: dict[str, int] = {}

    def after_start(self) -> None:
        super().after_start()
        command = (sys.executable, "-m", "tests.bench.viewers", f"http://127.0.0.1:{self.port}", self._owner)
        self._viewers = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        said = self._viewers.stdout.readline() if self._viewers.stdout else ""
        if not said or json.loads(said)["watching"] != VIEWERS:
            raise NotRunnable(f"{self.name}: nobody could look on: {said!r}")

    def stop(self) -> None:
        viewers, self._viewers = self._viewers, None
        if viewers is not None:
            try:
                said, _ = viewers.communicate("", timeout=10)
                self.read = json.loads(said)
            finally:
                viewers.kill()
        super().stop()
