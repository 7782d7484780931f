"""OpenVINO keeps every promise of the encoder port, on the real model and with real deaths; seeded bugs are caught."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from penstock.adapters import helper_parent
from penstock.adapters.encoder import openvino as adapter
from penstock.adapters.encoder.openvino import Crew, OpenVinoEncoder
from penstock.adapters.encoder.tokens import Tokenizer
from penstock.contracts.case import BrokenPromise
from penstock.contracts.encoder import CASES, EncoderHarness
from penstock.kernel.errors import Unavailable
from penstock.ports import encoder as port
from tests.contracts.file_harness import promises_checked, promises_of
from tests.contracts.not_tried import tried
from tests.support import run

ROOT = Path(__file__).parents[2]
SMALL = Crew(1, 1)
CASE = {name: case for name, _, case in CASES.cases}


def living(encoder: OpenVinoEncoder, lane: str = "") -> list[int]:
    """Return the processes of a lane, or of all."""
    helpers = [each for name, lane_s in encoder._lanes.items() if lane in ("", name) for each in lane_s]
    return [process.pid for each in helpers for process in each._alive]


@asynccontextmanager
async def made():
    """Give a harness on a fresh encoder."""
    encoder = OpenVinoEncoder(query=SMALL, ingest=SMALL)

    async def none(*_: object) -> OpenVinoEncoder:
        raise AssertionError("an encoder has no store and no time")

    def kill(lane: str) -> None:
        for pid in living(encoder, lane):
            os.kill(pid, signal.SIGKILL)

    try:
        yield EncoderHarness(
            port=encoder,
            advance=none,
            reopen=none,
            peer=none,
            kill=kill,
            processes=lambda: living(encoder),
        )
    finally:
        for each in [each for helpers in encoder._lanes.values() for each in helpers]:
            await each.close()
        await encoder.close()


async def on_openvino(case: Callable) -> None:
    async with made() as harness:
        await case(harness)


@pytest.mark.parametrize("case", CASE.values(), ids=CASE)
def test_openvino(case):
    run(tried("encoder/openvino", case, on_openvino(case)))


def test_every_promise_has_a_case():
    assert promises_checked(CASES) == promises_of(port)


# --------------------------------------------------------------------------------------------------- seeded bugs


def in_the_helper(name: str) -> Callable:
    """Start a helper in which a bug of tests/broken_encoder.py is seeded."""

    def seed(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(helper_parent, "_HOME", f"{ROOT / 'src'}:{ROOT}")
        patch.setattr(adapter, "worker", lambda _: (*helper_parent.worker("tests.broken_encoder"), name))

    return seed


def cuts(patch: pytest.MonkeyPatch) -> None:
    honest = Tokenizer._load

    def load(tokenizer: Tokenizer) -> object:
        loaded = honest(tokenizer)
        loaded.enable_truncation(128)
        return loaded

    patch.setattr(Tokenizer, "_load", load)


def pads(patch: pytest.MonkeyPatch) -> None:
    honest = Tokenizer._load

    def load(tokenizer: Tokenizer) -> object:
        loaded = honest(tokenizer)
        loaded.enable_padding(length=128)
        return loaded

    patch.setattr(Tokenizer, "_load", load)


def computes_whatever_comes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(OpenVinoEncoder, "_check", lambda encoder, batch: None)


def has_one_queue(patch: pytest.MonkeyPatch) -> None:
    honest = OpenVinoEncoder.__init__

    def init(encoder: OpenVinoEncoder, **given: object) -> None:
        honest(encoder, **given)
        encoder._lanes["query"] = encoder._lanes["ingest"]

    patch.setattr(OpenVinoEncoder, "__init__", init)


def leaves_its_processes(patch: pytest.MonkeyPatch) -> None:
    async def close(encoder: OpenVinoEncoder) -> None:
        for each in [each for helpers in encoder._lanes.values() for each in helpers]:
            each._closed = True
        encoder._tokenizer.close()

    patch.setattr(OpenVinoEncoder, "close", close)


def warms_a_lane(patch: pytest.MonkeyPatch) -> None:
    async def warm(encoder: OpenVinoEncoder) -> None:
        await encoder._lanes["query"][0].start()

    patch.setattr(OpenVinoEncoder, "warm", warm)


SEEDED = {
    "a_vector_depends_on_its_tokens_alone": ["padding_counts"],
    "one_vector_a_text_in_order": ["sorted_by_length", "not_normalised", "half_a_vector"],
    "one_row_a_token_in_order": ["rows_not_normalised", "padding_has_rows"],
    "what_cannot_be_computed_is_refused": [computes_whatever_comes],
    "tokens_are_never_cut_and_never_padded": [cuts, pads],
    "a_query_does_not_wait_for_the_ingest_queue": [has_one_queue],
    "close_leaves_nothing": [leaves_its_processes],
    "warm_starts_every_process": [warms_a_lane],
}
"""Which case catches which bug: a name is one of tests/broken_encoder.py."""


@pytest.mark.parametrize(
    ("case", "seed"), [(case, seed) for case, seeds in SEEDED.items() for seed in seeds], ids=str
)
def test_the_suite_catches(case, seed, monkeypatch):
    (seed if callable(seed) else in_the_helper(seed))(monkeypatch)
    with pytest.raises((BrokenPromise, Unavailable)):
        run(on_openvino(CASE[case]))
