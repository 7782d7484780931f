"""The upstream as a process of the harness. It is not a target: its CPU is reported beside everybody's."""

from __future__ import annotations

from collections.abc import Sequence

from tests.bench.peers.base import PRODUCT_PYTHON, Target


class UpstreamProcess(Target):
    """`tests/bench/upstream.py` on a free port."""

    name = "upstream"
    title = "The provider that all call"

    def __init__(self) -> None:
        super().__init__(upstream_port=0)

    def command(self) -> Sequence[str]:
        return (str(PRODUCT_PYTHON), "-m", "tests.bench.upstream", "--port", str(self.port))
