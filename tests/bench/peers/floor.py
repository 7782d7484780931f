"""The floor: `tests/bench/floor.py` in a process of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.bench.floor import BEARER
from tests.bench.peers.base import PRODUCT_PYTHON, Target


class Floor(Target):
    """The least a Python gateway can do on uvloop and httptools."""

    name = "floor"
    title = "Python floor (uvloop + httptools)"
    does = "parses the JSON, checks one bearer key, copies the answer; no limits, no accounting"

    def command(self) -> Sequence[str]:
        ports = ("--port", str(self.port), "--upstream-port", str(self.upstream_port))
        return (str(PRODUCT_PYTHON), "-m", "tests.bench.floor", *ports)

    def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {BEARER}"}
