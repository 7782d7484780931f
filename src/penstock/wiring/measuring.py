"""What `penstock embed` measures on this machine: batches, throughput, quality, calibration.

Promises: what is measured is the product's own encoder, queue and search; a choice says what it was chosen from.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from penstock.embedding.search.calibration import MINILM, Curve, Sample, calibration_error, fitted
from penstock.embedding.search.quality import Judged, Measures, agreement, measured
from penstock.embedding.search.rerank import LATE, NONE
from penstock.embedding.serving.service import EmbeddingService
from penstock.kernel.clock import SystemClock
from penstock.kernel.settings_embedding import EmbeddingSettings
from penstock.ports.encoder import Encoder, Lane
from penstock.ports.index import Precision
from penstock.wiring.laboratory import default_model, laboratory, open_encoder

TUNED: Final = (64, 128, 256, 512, 1024, 2048, 4096)
TUNE_TOKENS: Final = 64
TUNE_S: Final = 1.0
TUNE_ROUNDS_MOST: Final = 200
WAIT_MS: Final = 25.0
"""A batch for callers who wait takes no longer: one that comes behind it has twice that."""
ENOUGH: Final = 0.95
"""Of the best throughput: a smaller batch that has it is better, for whoever comes behind it."""
BENCH_TOKENS: Final = (16, 64, 256)
BENCH_AT_ONCE: Final = 256
CALLERS: Final = 2
"""One computes while the other is answered and asks again."""
DIGITS: Final = 7
PRECISIONS: Final[tuple[tuple[Precision, float], ...]] = (("fp32", 4), ("fp16", 2), ("int8", 1))


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """How long one batch takes, alone in its lane."""

    tokens: int
    texts: int
    p50_ms: float
    p99_ms: float
    tokens_per_s: float


class Tuned(msgspec.Struct, frozen=True, kw_only=True):
    """A curve of batches, and what it says to set."""

    model: str
    batches: tuple[Batch, ...]
    query_batch_tokens: int
    ingest_batch_tokens: int


class Speed(msgspec.Struct, frozen=True, kw_only=True):
    """Throughput with texts of so many tokens; 0 is all lengths mixed."""

    tokens: int
    texts_per_s: float
    tokens_per_s: float


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """A stored precision: bytes of a vector, share of the exact ten nearest found, measures if judged."""

    name: str
    bytes_each: int
    agreement: float
    measures: Measures | None = None


class Quality(msgspec.Struct, frozen=True, kw_only=True):
    """What a judged set showed."""

    documents: int
    chunks: int
    questions: int
    ways: Mapping[str, Measures]
    precisions: tuple[Stored, ...]


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """A curve that was fitted; `error` is how far it is from what it was fitted on (expected calibration error)."""

    evidence: str
    curve: Curve
    error: float


# ---------------------------------------------------------------------------------------------------------------- speed


async def tune_all(settings: EmbeddingSettings) -> Tuned:
    """Measure batches of every size of `TUNED` that the model takes, in the lane of callers who wait."""
    encoder = open_encoder(settings)
    try:
        sizes = [tokens for tokens in TUNED if tokens <= encoder.spec.batch_tokens]
        batches = tuple([await _batch(encoder, tokens, "query") for tokens in sizes])
    finally:
        await encoder.close()
    query, ingest = chosen(batches)
    return Tuned(
        model=default_model(encoder), batches=batches, query_batch_tokens=query, ingest_batch_tokens=ingest
    )


def chosen(batches: Sequence[Batch]) -> tuple[int, int]:
    """Return the tokens of a batch for callers who wait, and for the background.

    The first is the largest that takes at most `WAIT_MS` (the smallest there is where none does), the second the
    smallest that has `ENOUGH` of the best throughput.
    """
    quick = [each.tokens for each in batches if each.p50_ms <= WAIT_MS]
    best = max(each.tokens_per_s for each in batches)
    return max(quick, default=batches[0].tokens), next(
        each.tokens for each in batches if each.tokens_per_s >= ENOUGH * best
    )


async def _batch(encoder: Encoder, tokens: int, lane: Lane) -> Batch:
    length = min(TUNE_TOKENS, encoder.spec.max_tokens)
    texts = await texts_of(encoder, length, max(tokens // length, 1))
    await encoder.encode(texts, lane)
    took_s: list[float] = []
    until_s = time.perf_counter() + TUNE_S
    while len(took_s) < TUNE_ROUNDS_MOST and (not took_s or time.perf_counter() < until_s):
        started_s = time.perf_counter()
        await encoder.encode(texts, lane)
        took_s.append(time.perf_counter() - started_s)
    took_s.sort()
    real = sum(map(len, texts))
    return Batch(
        tokens=tokens,
        texts=len(texts),
        p50_ms=round(took_s[len(took_s) // 2] * 1e3, 3),
        p99_ms=round(took_s[min(int(len(took_s) * 0.99), len(took_s) - 1)] * 1e3, 3),
        tokens_per_s=round(real * len(took_s) / sum(took_s), 1),
    )


async def texts_of(encoder: Encoder, tokens: int, texts: int, first: int = 0) -> list[tuple[int, ...]]:
    """Return texts of exactly so many tokens, the model's marks included; those from `first` on: no two are the same,
    for the same text is computed once.
    """
    start, *_, end = (await encoder.tokenize(["water"]))[0].ids
    words = (await encoder.tokenize(["river bank flow gate mill wheel lake rain"]))[0].ids[1:-1]
    base = len(words)
    return [
        (start, *[words[(text // base ** min(at, DIGITS) + at) % base] for at in range(tokens - 2)], end)
        for text in range(first, first + texts)
    ]


async def bench_all(settings: EmbeddingSettings, seconds: float) -> tuple[Speed, ...]:
    """Measure throughput of background work through the queue by length, and with all lengths mixed."""
    uncached = msgspec.structs.replace(settings, cache_bytes=0)
    encoder = open_encoder(uncached)
    service = EmbeddingService([encoder], uncached, SystemClock())
    try:
        found = [await _speed(service, encoder, (tokens,), seconds) for tokens in BENCH_TOKENS]
        mixed = await _speed(service, encoder, BENCH_TOKENS, seconds)
    finally:
        await service.close()
    return (*found, msgspec.structs.replace(mixed, tokens=0))


async def _speed(
    service: EmbeddingService, encoder: Encoder, lengths: Sequence[int], seconds: float
) -> Speed:
    model, size = default_model(encoder), BENCH_AT_ONCE // len(lengths) // CALLERS
    callers: list[list[tuple[int, ...]]] = []
    for caller in range(CALLERS):
        texts: list[tuple[int, ...]] = []
        for tokens in lengths:
            texts += await texts_of(encoder, min(tokens, encoder.spec.max_tokens), size, caller * size)
        callers.append(texts)
    await service.embed_tokens(callers[0], model=model, lane="ingest", tenant="lab")
    started_s = time.perf_counter()
    rounds = await asyncio.gather(*[_rounds(service, model, texts, started_s + seconds) for texts in callers])
    took_s = time.perf_counter() - started_s
    done = sum(rounds)
    return Speed(
        tokens=lengths[0],
        texts_per_s=round(done * len(callers[0]) / took_s, 1),
        tokens_per_s=round(done * sum(map(len, callers[0])) / took_s, 1),
    )


async def _rounds(
    service: EmbeddingService, model: str, texts: Sequence[tuple[int, ...]], until_s: float
) -> int:
    """Embed the texts again and again until a time; returns how often."""
    done = 0
    while time.perf_counter() < until_s:
        await service.embed_tokens(texts, model=model, lane="ingest", tenant="lab")
        done += 1
    return done


# -------------------------------------------------------------------------------------------------------------- quality


async def judge(settings: EmbeddingSettings, judged: Judged) -> Quality:
    """Measure a judged set: every way of searching (fp16, as collections are by default), every stored precision."""
    async with laboratory(settings) as (lab, model):
        shelves = {
            precision: await lab.fill(precision, model, judged.documents, precision=precision)
            for precision, _ in PRECISIONS
        }
        exact = [await lab.nearest(shelves["fp32"], asked.question, exact=True) for asked in judged.questions]
        stored: list[Stored] = []
        dimensions = len(next(iter(shelves["fp32"].vectors.values()), b"")) // 4
        for precision, width in PRECISIONS:
            found = [await lab.nearest(shelves[precision], asked.question) for asked in judged.questions]
            stored.append(_stored(precision, int(dimensions * width), found, exact, judged))
        alone, rescored = await lab.binary(shelves["fp32"], judged.questions)
        stored.append(_stored("binary", dimensions // 8, alone, exact, judged))
        stored.append(_stored("binary, 100 rescored", dimensions // 8, rescored, exact, judged))
        ways: dict[str, Measures] = {}
        if judged.is_labelled:
            relevant = [asked.relevant for asked in judged.questions]
            rankings = await lab.ways(shelves["fp16"], judged.questions)
            ways = {way: measured(each, relevant) for way, each in rankings.items()}
        return Quality(
            documents=len(judged.documents),
            chunks=shelves["fp16"].chunks,
            questions=len(judged.questions),
            ways=ways,
            precisions=tuple(stored),
        )


def _stored(name: str, size: int, found: list[list[str]], exact: list[list[str]], judged: Judged) -> Stored:
    relevant = [asked.relevant for asked in judged.questions]
    return Stored(
        name=name,
        bytes_each=size,
        agreement=agreement(found, exact),
        measures=measured(found, relevant) if judged.is_labelled else None,
    )


async def fit(settings: EmbeddingSettings, sets: Mapping[str, Judged]) -> tuple[Fit, ...]:
    """Fit the model's three curves to judged sets together, every question alike in its set, every set alike."""
    plain: list[Sample] = []
    late: list[Sample] = []
    async with laboratory(settings) as (lab, model):
        for number, judged in enumerate(sets.values()):
            shelf = await lab.fill(f"set-{number}", model, judged.documents, keep=True)
            plain += await lab.judged_passages(shelf, judged.questions, NONE)
            late += await lab.judged_passages(shelf, judged.questions, LATE)
    return (
        _fit("meaning + words", plain, MINILM.plain),
        _fit("meaning + words + late", late, MINILM.late),
        _fit("late", late, MINILM.tokens),
    )


def _fit(evidence: str, samples: Sequence[Sample], weights: Curve) -> Fit:
    curve = fitted(samples, weights)
    scored = [(curve.relevance(each.seen), each.relevant, each.weight) for each in samples]
    return Fit(evidence=evidence, curve=curve, error=round(calibration_error(scored), 4))
