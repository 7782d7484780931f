"""The limit: the load generator talks to the upstream itself. What no gateway can beat on this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.bench.peers.base import Target


class Direct(Target):
    """No gateway at all."""

    name = "direct"
    title = "Direct to the upstream"
    does = "nothing: the load generator and the upstream share the machine"

    def command(self) -> Sequence[str]:
        """Nothing is ever started."""
        return ()

    @contextmanager
    def running(self) -> Iterator[Target]:
        """There is nothing to start; the upstream is proved all the same."""
        with tempfile.TemporaryDirectory(prefix="bench-direct-") as folder:
            self.folder = Path(folder)
            self.port = self.upstream_port
            self.prove()
            yield self
