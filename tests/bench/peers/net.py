"""Our `net` alone: `tests/bench/net_proxy.py` in a process of its own."""

from __future__ import annotations

from collections.abc import Sequence

from tests.bench.peers.base import PRODUCT_PYTHON, Target


class Net(Target):
    """The lowest rung of ours: server and client with nothing between them."""

    name = "net"
    title = "Penstock's net alone"
    does = "all of the server's and client's own bounds, timers and checks; no key, no parsing, no accounting"

    def command(self) -> Sequence[str]:
        ports = ("--port", str(self.port), "--upstream-port", str(self.upstream_port))
        return (str(PRODUCT_PYTHON), "-m", "tests.bench.net_proxy", *ports)
