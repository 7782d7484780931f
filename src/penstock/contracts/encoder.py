"""What every encoder must keep: the promises of `ports/encoder.py` as cases.

A case that needs a helper's death uses `EncoderHarness.kill`; one that looks at what is left uses `processes`.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

from penstock.contracts.case import Contract, Harness, expect, expect_error, needs
from penstock.kernel.errors import Invalid, Unavailable
from penstock.ports.encoder import Encoder, Lane

CASES: Contract[Encoder] = Contract("encoder")

KILL = "kill a process of the encoder"
LOOK = "see the encoder's processes"
CLOSE_ENOUGH = 1 - 1e-3
TEXTS = (
    "How do I reset my password?",
    "a",
    "The capital of France is Paris, and the capital of Italy is Rome.",
    "def add(a, b):\n    return a + b",
    "naïve café — ÜBER 10 €",
)


@dataclass(slots=True)
class EncoderHarness(Harness[Encoder]):
    """A harness that may kill a lane's processes (-9) and list those that live."""

    kill: Callable[[Lane], None] | None = None
    processes: Callable[[], list[int]] | None = None


def numbers(vector: bytes) -> array[float]:
    """Return a vector's numbers."""
    return array("f", vector)


def cosine(one: bytes, other: bytes) -> float:
    """Return how alike two vectors of length 1 are."""
    return sum(a * b for a, b in zip(numbers(one), numbers(other), strict=True))


async def ids_of(encoder: Encoder, texts: Sequence[str]) -> list[tuple[int, ...]]:
    """Return the tokens of texts."""
    return [each.ids for each in await encoder.tokenize(texts)]


async def long_ids(encoder: Encoder, tokens: int) -> tuple[int, ...]:
    """Return a text of exactly so many tokens."""
    (words,) = await ids_of(encoder, ["every word of this sentence is a token and counts"])
    return (words[0], *islice(cycle(words[1:-1]), tokens - 2), words[-1])


def whole(encoder: Encoder, vectors: Sequence[bytes], rows: Sequence[int]) -> None:
    """Expect so many rows for each text, each of length 1."""
    size = encoder.spec.dimensions * 4
    found = [len(each) for each in vectors]
    expect(
        found == [count * size for count in rows], "one row each, in float32", found=found, rows=list(rows)
    )
    for each in vectors:
        for at in range(0, len(each), size):
            row = each[at : at + size]
            expect(abs(cosine(row, row) - 1) < 1e-3, "a row has length 1", found=cosine(row, row))


@CASES.case(1)
async def a_vector_depends_on_its_tokens_alone(h: Harness[Encoder]) -> None:
    """Alone, beside longer ones, in another order, in the other lane."""
    texts = [*await ids_of(h.port, TEXTS), await long_ids(h.port, h.port.spec.max_tokens)]
    alone = [(await h.port.encode([each], "query"))[0] for each in texts]
    together = await h.port.encode(texts, "query")
    backwards = (await h.port.encode(texts[::-1], "ingest"))[::-1]
    for at, vector in enumerate(alone):
        for other in (together[at], backwards[at]):
            expect(cosine(vector, other) > CLOSE_ENOUGH, "same tokens, same vector", at=at)
    matrices = await h.port.encode_tokens(texts, "query")
    for at, each in enumerate(texts):
        (matrix,) = await h.port.encode_tokens([each], "query")
        width = h.port.spec.dimensions * 4
        last = len(matrix) - width
        expect(len(matrix) == len(matrices[at]), "one row a token", at=at)
        expect(cosine(matrix[last:], matrices[at][last:]) > CLOSE_ENOUGH, "same tokens, same rows", at=at)


@CASES.case(2)
async def one_vector_a_text_in_order(h: Harness[Encoder]) -> None:
    """Whole, of length 1, and different texts differ."""
    texts = await ids_of(h.port, TEXTS)
    vectors = await h.port.encode(texts, "query")
    whole(h.port, vectors, [1] * len(texts))
    for at, each in enumerate(texts):
        (single,) = await h.port.encode([each], "query")
        likest = max(range(len(vectors)), key=lambda other: cosine(single, vectors[other]))
        expect(likest == at, "vectors come in the order of the texts", at=at, likest=likest)
    expect(cosine(vectors[0], vectors[3]) < 0.9, "different texts differ")


@CASES.case(2)
async def one_row_a_token_in_order(h: Harness[Encoder]) -> None:
    """As many rows as tokens, marks included; the longest batch allowed as well."""
    texts = await ids_of(h.port, TEXTS)
    whole(h.port, await h.port.encode_tokens(texts, "query"), list(map(len, texts)))
    longest = await long_ids(h.port, h.port.spec.max_tokens)
    batch = [longest] * (h.port.spec.batch_tokens // len(longest))
    matrices = await h.port.encode_tokens(batch, "ingest")
    expect([len(each) for each in matrices] == [len(matrices[0])] * len(batch), "all rows of all texts")
    expect(len(matrices[0]) == len(longest) * h.port.spec.dimensions * 4, "a row a token")


@CASES.case(2)
async def what_cannot_be_computed_is_refused(h: Harness[Encoder]) -> None:
    """At the bounds it is computed, over them it is not, and the next batch is."""
    spec = h.port.spec
    longest = await long_ids(h.port, spec.max_tokens)
    fits = spec.batch_tokens // spec.max_tokens
    whole(h.port, await h.port.encode([longest] * fits, "query"), [1] * fits)
    for bad in ([], [()], [longest, ()], [(*longest, 1)], [longest] * (fits + 1)):
        await expect_error(Invalid, h.port.encode(bad, "query"), "a batch out of bounds is refused")
        await expect_error(Invalid, h.port.encode_tokens(bad, "query"), "likewise for tokens")
    whole(h.port, await h.port.encode([longest], "query"), [1])


@CASES.case(3)
async def tokens_are_never_cut_and_never_padded(h: Harness[Encoder]) -> None:
    """However long or short the texts beside it are."""
    long = "word " * 2_000
    made = await h.port.tokenize(["", "one word", long])
    marks = len(made[0].ids)
    expect(len(made[1].ids) == marks + 2, "a short text is not padded", found=len(made[1].ids))
    expect(len(made[2].ids) == marks + 2_000, "a long text is not cut", found=len(made[2].ids))
    expect([len(each.spans) for each in made] == [len(each.ids) for each in made], "a span a token")
    expect(await h.port.tokenize([]) == [], "no texts, no tokens")


@CASES.case(3)
async def spans_say_where_a_token_stands(h: Harness[Encoder]) -> None:
    """In characters, whatever the alphabet; (0, 0) for a mark; and what is no text is named."""
    for text in (*TEXTS, "日本語のテキスト", "a\0b c", "é" * 40):
        (made,) = await h.port.tokenize([text])
        expect(made.spans[0] == made.spans[-1] == (0, 0), "marks stand nowhere", spans=made.spans)
        inside = made.spans[1:-1]
        expect(all(0 <= a < b <= len(text) for a, b in inside), "spans lie in the text", text=text)
        expect(list(inside) == sorted(inside), "in its order", spans=inside)
    (made,) = await h.port.tokenize(["Tokens stand somewhere"])
    words = ["Tokens stand somewhere"[a:b] for a, b in made.spans[1:-1]]
    expect("".join(words) == "Tokensstandsomewhere", "a span is its token's characters", words=words)
    error = await expect_error(Invalid, h.port.tokenize(["fine", "\ud800"]), "half a character is no text")
    expect("1" in getattr(error, "field", ""), "the text at fault is named", error=str(error))


@CASES.case(4)
async def a_query_does_not_wait_for_the_ingest_queue(h: Harness[Encoder]) -> None:
    """With eight full batches of background work before it, a short text is done before they are."""
    longest = await long_ids(h.port, h.port.spec.max_tokens)
    batch = [longest] * (h.port.spec.batch_tokens // len(longest))
    for lane in ("query", "ingest"):
        await h.port.encode([longest[:8]], lane)
    work = [asyncio.ensure_future(h.port.encode(batch, "ingest")) for _ in range(8)]
    await asyncio.sleep(0)
    await h.port.encode([longest[:8]], "query")
    left = sum(not each.done() for each in work)
    expect(left > 0, "the query was served first", left=left)
    for vectors in await asyncio.gather(*work):
        whole(h.port, vectors, [1] * len(batch))


@CASES.case(5)
async def a_death_in_mid_batch_is_told_and_mended(h: Harness[Encoder]) -> None:
    """What was computed there fails as Unavailable, the other lane does not notice, and the next batch is served."""
    able = h if isinstance(h, EncoderHarness) else None
    kill = needs(able.kill if able else None, KILL)
    longest = await long_ids(h.port, h.port.spec.max_tokens)
    batch = [longest] * (h.port.spec.batch_tokens // len(longest))
    lanes: tuple[tuple[Lane, Lane], ...] = (("query", "ingest"), ("ingest", "query"))
    for lane, other in lanes:
        await asyncio.gather(*(h.port.encode([longest], each) for each in (lane, other)))
        work = asyncio.ensure_future(h.port.encode(batch, lane))
        beside = asyncio.ensure_future(h.port.encode([longest], other))
        await asyncio.sleep(0)
        kill(lane)
        await expect_error(Unavailable, work, "who was computed there is told")
        whole(h.port, await beside, [1])
        whole(h.port, await mended(h.port, longest, lane), [1])


async def mended(encoder: Encoder, text: Sequence[int], lane: Lane) -> Sequence[bytes]:
    """Encode a text, as often as it takes until the process is there again; give up after ten seconds of refusals."""
    for _ in range(1_000):
        try:
            return await encoder.encode([text], lane)
        except Unavailable:
            await asyncio.sleep(0.01)
    return await encoder.encode([text], lane)


@CASES.case(6)
async def close_leaves_nothing(h: Harness[Encoder]) -> None:
    """Closed twice, and with work under way; what comes after is Unavailable."""
    longest = await long_ids(h.port, h.port.spec.max_tokens)
    await asyncio.gather(*(h.port.encode([longest], lane) for lane in ("query", "ingest")))
    work = asyncio.ensure_future(h.port.encode([longest], "ingest"))
    await asyncio.sleep(0)
    await asyncio.gather(h.port.close(), h.port.close())
    await h.port.close()
    await asyncio.wait([work])
    expect(work.done(), "what was under way has ended")
    work.exception()
    await expect_error(Unavailable, h.port.encode([longest], "query"), "a closed encoder computes nothing")
    await expect_error(Unavailable, h.port.tokenize(["word"]), "nor does it tokenize")
    able = h if isinstance(h, EncoderHarness) else None
    left = needs(able.processes if able else None, LOOK)()
    expect(not left, "no process is left", left=left)


@CASES.case(7)
async def warm_starts_every_process(h: Harness[Encoder]) -> None:
    """Once warm, as many batches as are computed at one time in each lane start nothing more."""
    able = h if isinstance(h, EncoderHarness) else None
    processes = needs(able.processes if able else None, LOOK)
    (text,) = await ids_of(h.port, ["warm"])
    await h.port.warm()
    before = sorted(processes())
    spec = h.port.spec
    most = spec.query_processes + spec.ingest_processes
    expect(len(before) == most, "every process has started", found=len(before), most=most)
    lanes: tuple[Lane, ...] = ("query",) * 2 * spec.query_processes + ("ingest",) * 2 * spec.ingest_processes
    await asyncio.gather(*(h.port.encode([text], lane) for lane in lanes))
    await h.port.warm()
    expect(sorted(processes()) == before, "nothing more was started")
