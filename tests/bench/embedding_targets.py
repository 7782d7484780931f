"""The servers of the embedding bench: the product's own command, and Infinity on each of its engines for this machine.

All serve the same weights on loopback. Ours keeps no vectors (`cache_bytes = 0`): what is measured is computed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from tests.bench.peers.base import ROOT, NotRunnable, Target
from tests.bench.peers.penstock import Penstock

RIVALS = ROOT / ".venv-embed-bench" / "bin"
DIMENSIONS = 384
QUEUE_TOKENS = 262_144
"""As many as the background lane holds: the bulk is sent to both, by one tenant, who may have half of it."""
SHORT = "Reset my card [nth 0000000000]"
"""14 tokens; the generator writes another number into each request, so that no two are alike."""


class Embedding(Target):
    """A server of vectors. `served` is the model's name there."""

    served = ""
    lane: Mapping[str, str] = MappingProxyType({})
    """Headers that say a request is background work, where the server knows such a thing."""

    def texts_body(self, texts: Sequence[str]) -> bytes:
        """Return the JSON of one request, as OpenAI's SDK sends it: vectors come in base64."""
        return json.dumps({"model": self.served, "input": list(texts), "encoding_format": "base64"}).encode()

    def body(self, *, stream: bool, paced: bool = False) -> bytes:
        """Return one short question; the generator looks for the number at the text's end."""
        return json.dumps({"model": self.served, "encoding_format": "base64", "input": SHORT}).encode()

    def prove(self) -> None:
        """One vector, of the right size; raises NotRunnable with what was wrong."""
        status, body = self._ask(self.texts_body(["one"]))
        vector = json.loads(body)["data"][0]["embedding"] if status == 200 else ""
        if len(vector) != DIMENSIONS * 4 * 4 // 3:
            raise NotRunnable(f"{self.name}: {status} {body[:300]!r}")


class Ours(Embedding, Penstock):
    """`penstock serve` with the model in this machine."""

    name = "penstock"
    title = "Penstock"
    does = "keys, limits, holds, settlement, audit; tokens counted and over-length refused before the queue"
    served = "local/all-MiniLM-L6-v2"
    path = "/v1/embeddings"
    lane = MappingProxyType({"X-Priority": "ingest"})

    def stores(self) -> str:
        return f"\n[embedding]\nwarm = true\ncache_bytes = 0\nquery_queue_tokens = {QUEUE_TOKENS}\n"


class Infinity(Embedding):
    """`infinity_emb v2` on one engine."""

    served = "all-MiniLM-L6-v2"
    path = "/embeddings"
    start_limit_s = 120.0
    does = "no keys, limits or accounts; what is too long is cut in silence"

    def __init__(self, engine: str, folder: Path, *, note: str = "") -> None:
        super().__init__(0)
        self.name = f"infinity-{engine}{note and '-' + note}"
        self.title = f"Infinity 0.0.78, {engine}{note and ' ' + note}"
        self._engine = engine
        self._model_folder = folder

    def requires(self) -> Sequence[Path]:
        return (RIVALS / "infinity_emb",)

    def command(self) -> Sequence[str]:
        return (
            str(RIVALS / "infinity_emb"),
            "v2",
            *("--model-id", str(self._model_folder), "--served-model-name", self.served),
            *("--engine", self._engine, "--device", "cpu", "--no-bettertransformer"),
            *("--host", "127.0.0.1", "--port", str(self.port), "--log-level", "error"),
        )

    def environment(self) -> Mapping[str, str]:
        return {
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_OFFLINE": "1",
            "DO_NOT_TRACK": "1",
            "INFINITY_ANONYMOUS_USAGE_STATS": "0",
        }
