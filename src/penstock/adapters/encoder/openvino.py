"""A model in this machine, computed by OpenVINO in helper processes.

    tokenize ──▶ here, short texts at once, long ones on a thread
    encode ──▶ "query"   processes of ordinary priority
           └─▶ "ingest"  processes that get only the processor time nobody else wants (SCHED_IDLE)

Why processes: a lane that waits for the other's batch would take 50 ms for a query of 1 ms; threads of one process
cannot have priorities of their own in OpenVINO; and a fault in native code ends a helper, not the gateway. Which crews,
and what they reach: docs/decisions/019. Nothing is started and nothing is loaded before the first use; a lane's
first process starts with its first batch, the others once there is a batch more than those that run have taken on. A
batch goes to one that runs, if any does, however many others are dead.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal, get_args

import msgspec

from penstock.adapters.encoder.frames import POOLED, TOKENS, Start, batch_bytes, vectors_of
from penstock.adapters.encoder.models import MINILM, model
from penstock.adapters.encoder.tokens import Tokenizer
from penstock.adapters.helper_parent import Bounds, Helper, worker
from penstock.kernel.errors import Invalid, Unavailable
from penstock.kernel.settings_embedding import BATCHES_MOST
from penstock.ports.encoder import Lane, Tokenized

NEEDED: Final = ("openvino", "tokenizers", "safetensors", "numpy")
BF16_FLAGS: Final = frozenset({"avx512_bf16", "amx_bf16"})
PROCESSOR: Final = Path("/proc/cpuinfo")
WORKER: Final = "penstock.adapters.encoder.worker"
BOUNDS: Final[dict[Lane, Bounds]] = {
    "query": Bounds(waiting_most=BATCHES_MOST, answer_timeout_s=10.0),
    "ingest": Bounds(waiting_most=BATCHES_MOST, answer_timeout_s=120.0),
}
"""A batch takes 0.1 s; one at idle priority may wait for the processor much longer than that. One process takes on all
that a lane may have under way: the others may be dead.
"""
WARM: Final[dict[Lane, tuple[tuple[int, int], ...]]] = {
    "query": tuple((texts, tokens) for tokens in (8, 16, 24, 32) for texts in (1, 2, 3)),
    "ingest": (),
}
Precision = Literal["bf16", "fp32"]


class Crew(msgspec.Struct, frozen=True):
    """The processes of a lane, and the threads of each."""

    processes: int
    threads: int


class OpenVinoEncoder:
    """One packaged model. See the promises of the port."""

    def __init__(
        self,
        name: str = MINILM.name,
        *,
        precision: str = "auto",
        query: Crew | None = None,
        ingest: Crew | None = None,
    ) -> None:
        """Compute on all cores, each lane with the crew that fits them unless another is given.

        Raises ModuleNotFoundError for what is not installed, Invalid for a model or a precision that there is not.
        """
        for needed in NEEDED:
            if find_spec(needed) is None:
                raise ModuleNotFoundError(f"No module named '{needed}'", name=needed)
        if precision not in ("auto", *get_args(Precision)):
            raise Invalid(
                f"Nothing is computed in {precision}.", field="precision", limit=get_args(Precision)
            )
        packaged = model(name)
        folder = str(packaged.folder())
        self._tokenizer = Tokenizer(packaged)
        cores = len(os.sched_getaffinity(0))
        few, rest = min(cores, 4), max(1, cores // 4)
        crews: dict[Lane, Crew] = {"query": query or Crew(few, rest), "ingest": ingest or Crew(rest, few)}
        self.spec = msgspec.structs.replace(
            packaged.spec(best_precision() if precision == "auto" else precision),
            query_processes=crews["query"].processes,
            ingest_processes=crews["ingest"].processes,
        )
        self._lanes = {
            lane: [
                Helper(
                    worker(WORKER),
                    name=f"encoder ({lane})",
                    start=msgspec.json.encode(
                        Start(
                            folder,
                            packaged.weights_sha256,
                            packaged.pooling,
                            self.spec.precision,
                            crew.threads,
                            WARM[lane],
                        )
                    ),
                    idle=lane == "ingest",
                    bounds=BOUNDS[lane],
                )
                for _ in range(crew.processes)
            ]
            for lane, crew in crews.items()
        }

    @property
    def starts(self) -> int:
        """Return how often a process was started: more than there are processes says that some have ended."""
        return sum(each.starts for helpers in self._lanes.values() for each in helpers)

    async def tokenize(self, texts: Sequence[str]) -> Sequence[Tokenized]:
        """Return each text's tokens, marks included. Raises Invalid with the text's place in `field`."""
        return await self._tokenizer.tokenize(texts)

    async def encode(self, batch: Sequence[Sequence[int]], lane: Lane) -> Sequence[bytes]:
        """Return one vector a text of one batch."""
        return await self._computed(POOLED, batch, lane, [1] * len(batch))

    async def encode_tokens(self, batch: Sequence[Sequence[int]], lane: Lane) -> Sequence[bytes]:
        """Return one matrix a text: a row for each token."""
        return await self._computed(TOKENS, batch, lane, [len(text) for text in batch])

    async def warm(self) -> None:
        """Start every process of each lane. Raises Unavailable for one that does not start."""
        await asyncio.gather(*(each.start() for helpers in self._lanes.values() for each in helpers))

    async def close(self) -> None:
        """End the processes and the thread."""
        self._tokenizer.close()
        await asyncio.gather(*(each.close() for helpers in self._lanes.values() for each in helpers))

    async def _computed(
        self, wanted: int, batch: Sequence[Sequence[int]], lane: Lane, rows: list[int]
    ) -> Sequence[bytes]:
        self._check(batch)
        answer = await self._freest(lane).exchange(batch_bytes(wanted, batch))
        try:
            return vectors_of(answer, rows, self.spec.dimensions)
        except ValueError as error:
            raise Unavailable(f"The encoder failed: {error}.") from error

    def _freest(self, lane: Lane) -> Helper:
        """Return who has least to do of those who run; where none does, of those who may start soonest."""
        helpers = self._lanes[lane]
        freest = min(helpers, key=lambda each: (not each.running, each.away_s, each.under_way))
        if freest.under_way:
            for each in helpers:
                each.wake()
        return freest

    def _check(self, batch: Sequence[Sequence[int]]) -> None:
        """Refuse what no process could compute. Raises Invalid."""
        spec = self.spec
        longest = max(map(len, batch), default=0)
        if not batch or not all(batch):
            raise Invalid("A batch has texts, and a text has tokens.", field="batch")
        if longest > spec.max_tokens:
            raise Invalid("A text is too long.", field="batch", value=longest, limit=spec.max_tokens)
        if (padded := longest * len(batch)) > spec.batch_tokens:
            raise Invalid("A batch is too large.", field="batch", value=padded, limit=spec.batch_tokens)


def best_precision() -> Precision:
    """Return bf16 where the processor multiplies in it (twice as fast, and as good as lossless), else fp32."""
    try:
        flags = frozenset(PROCESSOR.read_text(encoding="ascii", errors="replace").split())
    except OSError:
        return "fp32"
    return "bf16" if flags & BF16_FLAGS else "fp32"
