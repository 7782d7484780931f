"""The service: the cache before the tokens, lengths before the queue, and each text's trouble told by its place."""

from __future__ import annotations

import asyncio

import pytest

from penstock.embedding.serving.service import EmbeddingService
from penstock.embedding.serving.tokens import CHARS_PER_TOKEN, SLICE_CHARS, TEXT_CHARS_MOST, cut
from penstock.kernel.clock import ManualClock
from penstock.kernel.errors import Invalid, NotFound, Overloaded, Unavailable
from penstock.kernel.settings_embedding import BATCHES_MOST, EmbeddingSettings
from tests.counting_encoder import FIRST, LAST, CountingEncoder, number_of, unit_vector
from tests.support import run


def service(encoder: CountingEncoder, **settings) -> EmbeddingService:
    return EmbeddingService([encoder], EmbeddingSettings(**settings), ManualClock())


def ids_of(text: str) -> tuple[int, ...]:
    return (FIRST, *map(number_of, text.split()), LAST)


def journey(steps, **fields) -> None:
    async def whole() -> None:
        encoder = CountingEncoder(**fields)
        it = service(encoder)
        try:
            await steps(it, encoder)
        finally:
            await it.close()
        assert encoder.closed == 1

    run(whole())


def computed(encoder: CountingEncoder) -> list[tuple[int, ...]]:
    return [row for _, rows in encoder.batches for row in rows]


def test_vectors_come_in_order_with_the_models_own_count_of_tokens() -> None:
    async def steps(it: EmbeddingService, encoder: CountingEncoder) -> None:
        got = await it.embed(["one", "two words", ""], model="counting", tenant="a")
        assert got.vectors == tuple(unit_vector(ids_of(text)) for text in ("one", "two words", ""))
        assert (got.tokens, got.cached, got.truncated) == (3 + 4 + 2, 0, ())
        assert (await it.embed([], model="counting", tenant="a")).vectors == ()

    journey(steps)


def test_a_text_seen_before_is_neither_tokenized_nor_computed_and_counts_the_same() -> None:
    async def steps(it: EmbeddingService, encoder: CountingEncoder) -> None:
        first = await it.embed(["one", "two words", "ONE"], model="counting", tenant="a")
        assert len(computed(encoder)) == 2
        again = await it.embed(["two words", "one", "three"], model="counting", tenant="a")
        assert (again.cached, again.tokens) == (2, 4 + 3 + 3)
        assert again.vectors[0] == first.vectors[1]
        assert encoder.tokenized == [["one", "two words"], ["three"]]
        assert len(computed(encoder)) == 3

    journey(steps)


def test_another_tenant_is_never_served_what_one_has_computed() -> None:
    async def steps(it: EmbeddingService, encoder: CountingEncoder) -> None:
        mine = await it.embed(["secret"], model="counting", tenant="a")
        theirs = await it.embed(["secret"], model="counting", tenant="b")
        assert mine.vectors == theirs.vectors
        assert theirs.cached == 0
        assert len(computed(encoder)) == 2

    journey(steps)


def test_each_purpose_has_its_prefix() -> None:
    async def steps(it: EmbeddingService, encoder: CountingEncoder) -> None:
        question = await it.embed(["lake"], model="counting", tenant="a", purpose="query")
        passage = await it.embed(["lake"], model="counting", tenant="a")
        assert question.vectors == (unit_vector(ids_of("query: lake")),)
        assert passage.vectors == (unit_vector(ids_of("passage: lake")),)

    journey(steps, query_prefix="query: ", passage_prefix="passage: ")


def test_a_text_too_long_is_refused_before_the_queue_by_place_count_and_limit() -> None:
    async def steps(it: EmbeddingService, encoder: CountingEncoder) -> None:
        fits, over, far = "w " * 62, "w " * 63, "w " * 99
        assert (await it.embed([fits], model="counting", tenant="a")).tokens == 64
        before = len(encoder.batches)
        with pytest.raises(Invalid) as refused:
            await it.embed(["a", over, "b", far], model="counting", tenant="a")
        error = refused.value
        assert (error.field, error.value, error.limit, error.reason) == (
            "input[1]", 65, 64, "context_length_exceeded",
        )  # fmt: skip
        assert len(encoder.batches) == before

    journey(steps)


@pytest.mark.parametrize("verb", ["embed", "token_vectors"])
def test_a_text_of_far_too_many_letters_is_refused_before_it_is_tokenized(verb: str) -> None:
    async def steps(it: EmbeddingService, encoder: CountingEncoder) -> None:
        asked, most = getattr(it, verb), 64 * CHARS_PER_TOKEN
        blank = f"a{' ' * (most - 2)}b"
        await asked([blank], model="counting", tenant="a")
        with pytest.raises(Invalid) as refused:
            await asked(["a", f"{blank}!"], model="counting", tenant="a")
        error = refused.value
        assert (error.field, error.value, error.limit, error.reason) == (
            "input[1]", most + 1, most, "context_length_exceeded",
        )  # fmt: skip
        assert "characters" in error.message
        assert encoder.tokenized == [[blank]]
        for side, end in (("start", "last"), ("end", "first")):
            await asked([f"first {'w ' * most} last"], model="counting", tenant="a", truncate=side)
            ((text,),) = encoder.tokenized[-1:]
            assert len(text) == most
            assert end in text

    journey(steps)


def test_a_text_cut_by_its_letters_is_told_however_few_tokens_are_left_and_however_known_it_is() -> None:
    async def steps(it: EmbeddingService, encoder: CountingEncoder) -> None:
        blank = f"a{' ' * 64 * CHARS_PER_TOKEN}b"
        for cached in (0, 1):
            got = await it.embed(["z", blank], model="counting", tenant="a", truncate="end")
            assert (got.truncated, got.tokens) == ((1,), 3 + 3)
            assert got.vectors[1] == unit_vector(ids_of("a"))
            assert got.cached == 2 * cached

    journey(steps)


def test_no_call_holds_more_tokens_than_are_read_and_one_slices() -> None:
    async def steps(it: EmbeddingService, encoder: CountingEncoder) -> None:
        many = [f"{number} {'w ' * 4_000}" for number in range(20)]
        with pytest.raises(Invalid, match=r"input\[0\].*4003 tokens"):
            await it.embed(many, model="counting", tenant="a")
        assert encoder.tokenized == [many[:1]]
        got = await it.embed(many, model="counting", tenant="a", truncate="end")
        assert got.truncated == tuple(range(20))
        assert encoder.tokenized[1:] == [[each] for each in many]
        kept = sum(map(len, computed(encoder)))
        assert kept == got.tokens == 20 * 64

    journey(steps)


def test_the_same_text_twice_is_cut_twice() -> None:
    async def steps(it: EmbeddingService, encoder: CountingEncoder) -> None:
        long = "w " * 80
        got = await it.embed([long, "a", long], model="counting", tenant="a", truncate="end")
        assert (got.truncated, got.tokens) == ((0, 2), 64 + 3 + 64)

    journey(steps)


@pytest.mark.parametrize("side", ["start", "end"])
def test_a_text_is_cut_where_its_caller_says_and_the_answer_tells_which(side) -> None:
    async def steps(it: EmbeddingService, encoder: CountingEncoder) -> None:
        words = [f"w{number}" for number in range(80)]
        got = await it.embed(["a", " ".join(words), "b"], model="counting", tenant="a", truncate=side)
        kept = words[:61] if side == "end" else words[-61:]
        assert got.vectors[1] == unit_vector(ids_of(" ".join(["query:", *kept])))
        assert (got.truncated, got.tokens) == ((1,), 4 + 64 + 4)
        again = await it.embed([" ".join(words)], model="counting", tenant="a", truncate=side)
        assert again.truncated == (0,)  # what was cut is not kept: its key does not say where

    journey(steps, passage_prefix="query: ")


def test_a_cut_keeps_the_marks() -> None:
    async def steps(it: EmbeddingService, encoder: CountingEncoder) -> None:
        (tokens,) = await it.tokenize(["a b c d"], model="counting")
        assert tokens.spans == ((0, 0), (0, 1), (2, 3), (4, 5), (6, 7), (0, 0))
        assert cut(tokens, 4, "end") == ids_of("a b")
        assert cut(tokens, 4, "start") == ids_of("c d")
        assert cut(tokens, 2, "start") == (FIRST, LAST)

    journey(steps)


def test_tokens_may_come_with_or_without_the_models_marks() -> None:
    async def steps(it: EmbeddingService, encoder: CountingEncoder) -> None:
        whole = ids_of("two words")
        got = await it.embed_tokens([whole, whole[1:-1]], model="counting", tenant="a")
        assert got.vectors == (unit_vector(whole),) * 2
        assert got.tokens == 8
        with pytest.raises(Invalid, match=r"input\[1\].*no token"):
            await it.embed_tokens([whole, (5, 1 << 24)], model="counting", tenant="a")
        with pytest.raises(Invalid, match="too long"):
            await it.embed_tokens([tuple([5] * 63)], model="counting", tenant="a")
        assert (
            await it.embed_tokens([tuple(range(5, 68))], model="counting", tenant="a", truncate="end")
        ).truncated == (0,)

    journey(steps)


def test_a_number_that_is_no_token_is_told_as_it_was_given() -> None:
    async def steps(it: EmbeddingService, encoder: CountingEncoder) -> None:
        for stranger in (-7, 1 << 24):
            with pytest.raises(Invalid) as refused:
                await it.embed_tokens([(5,), (5, stranger, 6)], model="counting", tenant="a")
            assert (refused.value.field, refused.value.value) == ("input[1]", stranger)

    journey(steps)


@pytest.mark.parametrize("with_marks", [True, False])
@pytest.mark.parametrize("side", ["start", "end"])
def test_tokens_are_cut_between_the_marks_and_only_what_is_left_is_looked_at(
    side: str, with_marks: bool
) -> None:
    async def steps(it: EmbeddingService, encoder: CountingEncoder) -> None:
        inside = tuple(range(100, 200))
        strange = (*inside, *([-1] * 1_000)) if side == "end" else (*([-1] * 1_000), *inside)
        given = (FIRST, *strange, LAST) if with_marks else strange
        got = await it.embed_tokens([(5,), given], model="counting", tenant="a", truncate=side)
        kept = (FIRST, *(inside[:62] if side == "end" else inside[-62:]), LAST)
        assert got.vectors[1] == unit_vector(kept)
        assert (got.truncated, got.tokens) == ((1,), 3 + 64)
        with pytest.raises(Invalid) as refused:  # its length is what is wrong first
            await it.embed_tokens([(5,), given], model="counting", tenant="a")
        assert (refused.value.field, refused.value.value) == ("input[1]", 1_102)
        assert refused.value.reason == "context_length_exceeded"

    journey(steps)


def test_a_text_that_cannot_be_computed_is_named_by_its_place_among_all() -> None:
    async def steps(it: EmbeddingService, encoder: CountingEncoder) -> None:
        await it.embed(["kept", "known"], model="counting", tenant="a")
        encoder.refused.add(number_of("poison"))
        neighbours = asyncio.create_task(it.embed(["sound"], model="counting", tenant="b"))
        with pytest.raises(Invalid) as bad:
            await it.embed(["kept", "known", "new", "poison"], model="counting", tenant="a")
        assert bad.value.field == "input[3]"
        encoder.poison.add(number_of("killer"))
        with pytest.raises(Unavailable, match=r"input\[1\]"):
            await it.embed(["kept", "killer"], model="counting", tenant="a")
        assert (await neighbours).vectors == (unit_vector(ids_of("sound")),)

    journey(steps)


@pytest.mark.parametrize("verb", ["embed", "token_vectors", "tokenize"])
def test_half_a_surrogate_pair_is_told_by_place_and_never_reaches_the_encoder(verb: str) -> None:
    async def steps(it: EmbeddingService, encoder: CountingEncoder) -> None:
        more = {} if verb == "tokenize" else {"tenant": "a"}
        with pytest.raises(Invalid, match=r"input\[1\] is no text.*character 2"):
            await getattr(it, verb)(["a", "bc\ud800"], model="counting", **more)
        assert not encoder.tokenized
        await getattr(it, verb)(["a\0b", "🦆"], model="counting", **more)

    journey(steps)


def test_token_vectors_are_one_row_a_token() -> None:
    async def steps(it: EmbeddingService, encoder: CountingEncoder) -> None:
        (matrix,) = await it.token_vectors(["two words"], model="counting", tenant="a")
        assert matrix == b"".join(unit_vector([each]) for each in ids_of("two words"))

    journey(steps)


def test_a_model_is_known_by_both_its_names_and_a_stranger_is_told_which_there_are() -> None:
    async def steps(it: EmbeddingService, encoder: CountingEncoder) -> None:
        assert it.spec("counting") is it.spec("local/counting") is encoder.spec
        with pytest.raises(NotFound, match="local/counting"):
            it.spec("other")
        assert not encoder.tokenized

    journey(steps)
    with pytest.raises(NotFound, match=r"penstock\[local\]"):
        EmbeddingService([], EmbeddingSettings(), ManualClock()).spec("local/counting")


def test_a_long_call_is_tokenized_in_slices_between_which_others_go() -> None:
    async def steps(it: EmbeddingService, encoder: CountingEncoder) -> None:
        many = [f"text {number} {'x' * 1_000}" for number in range(40)]
        long = asyncio.create_task(it.tokenize(many, model="counting"))
        another = asyncio.create_task(it.tokenize([each.upper() for each in many], model="counting"))
        await asyncio.sleep(0)
        await it.tokenize(["short"], model="counting")
        told = await asyncio.gather(long, another)
        assert [len(each) for each in told] == [40, 40]
        assert [tokens.ids for tokens in told[0]] == [tokens.ids for tokens in await encoder.tokenize(many)]
        assert encoder.tokenizing_most <= 2  # one slice, and the short one
        sliced = encoder.tokenized[:-1]
        assert sliced.index(["short"]) <= 2
        assert max(sum(map(len, texts)) for texts in sliced) <= SLICE_CHARS
        second = next(at for at, texts in enumerate(sliced) if texts[0].startswith("TEXT"))
        assert second <= 3  # long ones take turns
        (alone,) = await it.tokenize(["y" * 10_000], model="counting")
        assert len(alone.ids) == 3

    journey(steps)


def test_too_much_that_waits_for_its_tokens_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.embedding.serving.tokens.WAITING_CHARS_MOST", 20_000)

    async def steps(it: EmbeddingService, encoder: CountingEncoder) -> None:
        first = asyncio.create_task(it.tokenize(["x" * 15_000], model="counting"))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await it.tokenize(["x" * 5_001], model="counting")
        await first
        assert len(await it.tokenize(["x" * 30_000], model="counting")) == 1

    journey(steps)


def test_tokens_of_a_text_without_end_are_not_made() -> None:
    async def steps(it: EmbeddingService, encoder: CountingEncoder) -> None:
        assert len(await it.tokenize(["x" * TEXT_CHARS_MOST], model="counting")) == 1
        with pytest.raises(Invalid, match=r"input\[1\].*131073 characters"):
            await it.tokenize(["a", "x" * (TEXT_CHARS_MOST + 1)], model="counting")
        assert len(encoder.tokenized) == 1

    journey(steps)


@pytest.mark.parametrize(
    ("settings", "processes", "places"),
    [
        ({}, (1, 1), (2, 2)),
        ({}, (4, 3), (8, 6)),
        ({}, (4, 1_000), (8, BATCHES_MOST)),
        ({"query_batches": 1, "ingest_batches": 5}, (4, 3), (1, 5)),
    ],
)
def test_two_batches_are_under_way_for_each_process_unless_the_settings_say_otherwise(
    settings, processes, places
) -> None:
    async def whole() -> None:
        query, ingest = processes
        encoder = CountingEncoder(query_processes=query, ingest_processes=ingest)
        it = service(encoder, query_batch_tokens=64, ingest_batch_tokens=64, **settings)
        encoder.gate.clear()
        found = []
        for lane in ("query", "ingest"):
            before = len(encoder.batches)
            texts = [f"{number} {lane} {'w ' * 60}" for number in range(BATCHES_MOST + 10)]
            task = asyncio.create_task(it.embed(texts, model="counting", tenant=lane, lane=lane))
            for _ in range(800):
                await asyncio.sleep(0)
            found.append(len(encoder.batches) - before)
            task.cancel()
        assert tuple(found) == places
        await it.close()

    run(whole())


def test_warming_starts_every_process_and_computes_in_each_lane() -> None:
    async def steps(it: EmbeddingService, encoder: CountingEncoder) -> None:
        await it.warm()
        assert encoder.warmed == 1
        assert [lane for lane, _ in encoder.batches] == ["query", "ingest"]

    journey(steps)


def test_an_answer_is_the_same_in_either_lane_and_the_lane_is_the_encoders() -> None:
    async def steps(it: EmbeddingService, encoder: CountingEncoder) -> None:
        await it.embed(["a"], model="counting", tenant="a", lane="ingest")
        assert [lane for lane, _ in encoder.batches] == ["ingest"]

    journey(steps)
