"""The batcher: queries go before ingest, a bad text fails alone, nobody is left waiting."""

from __future__ import annotations

import asyncio

import pytest

from penstock.embedding.serving.batcher import BadText
from penstock.kernel.clock import ManualClock
from penstock.kernel.errors import Unavailable
from tests.counting_encoder import CountingEncoder, unit_vector
from tests.support import run
from tests.unit.embedding.batch_scene import asked, batcher, texts, turns


def test_every_text_gets_its_own_vector_in_order() -> None:
    async def whole() -> None:
        encoder = CountingEncoder()
        it = batcher(encoder)
        given = [*texts(30), *texts(5, 40), *texts(3)]
        assert await it.compute(given, lane="query", tenant="a") == [unit_vector(each) for each in given]
        assert await it.compute(texts(2, 3), lane="query", tenant="a", matrices=True) == [
            b"".join(unit_vector([token]) for token in each) for each in texts(2, 3)
        ]
        before = len(encoder.batches)
        both = await asyncio.gather(asked(it, texts(1)), asked(it, texts(1), tenant="b"))
        assert both == [[unit_vector(texts(1)[0])]] * 2
        assert [rows for _, rows in encoder.batches[before:]] == [texts(1)]
        await it.close()

    run(whole())


def test_who_comes_in_one_turn_goes_together_and_a_lone_text_waits_for_nobody() -> None:
    async def whole() -> None:
        encoder = CountingEncoder()
        it = batcher(encoder)
        await it.compute(texts(1), lane="query", tenant="a")
        await asyncio.gather(*[asked(it, texts(1, start=number)) for number in range(10)])
        assert [len(rows) for _, rows in encoder.batches] == [1, 10]
        await it.close()

    run(whole())


def test_a_query_goes_before_all_ingest_that_waits() -> None:
    async def whole() -> None:
        encoder = CountingEncoder()
        it = batcher(encoder, queue_tokens=100_000, places=1)
        ingest = asked(it, texts(200), "ingest")
        await turns()
        encoder.gate.clear()
        await turns()
        queries = [asked(it, texts(1, start=50_000 + number), "query", "b") for number in range(25)]
        await turns()
        begun = len(encoder.batches)
        encoder.gate.set()
        await asyncio.gather(*queries)
        assert [lane for lane, _ in encoder.batches[begun : begun + 2]] == ["query"] * 2
        await ingest
        await it.close()

    run(whole())


def test_ingest_goes_on_under_queries_that_never_end() -> None:
    async def whole() -> None:
        encoder, clock = CountingEncoder(), ManualClock()
        it = batcher(encoder, clock, queue_tokens=100_000)
        ended = asyncio.Event()

        async def querying(number: int) -> None:
            while not ended.is_set():
                number += 1
                clock.advance(0.05)
                await it.compute(texts(1, 90, start=number * 1_000_000), lane="query", tenant="q")

        queries = [asyncio.create_task(querying(number * 1_000)) for number in range(5)]
        await turns()
        assert len(await it.compute(texts(5), lane="ingest", tenant="a")) == 5
        ended.set()
        await asyncio.gather(*queries)
        lanes = [lane for lane, _ in encoder.batches]
        assert lanes[: lanes.index("ingest")].count("query") > 10
        await it.close()

    run(whole())


@pytest.mark.parametrize("kind", ["poison", "refused"])
def test_a_bad_text_fails_alone_and_by_its_place(kind: str) -> None:
    async def whole() -> None:
        encoder = CountingEncoder()
        it = batcher(encoder, batch_tokens=1_000)
        good = texts(31)
        getattr(encoder, kind).add(666)
        bad = asked(it, [*texts(2, start=8_000), (666, *([7] * 9))], tenant="b")
        sound = [asked(it, [each]) for each in good]
        assert [(await each)[0] for each in sound] == [unit_vector(each) for each in good]
        with pytest.raises(BadText) as failed:
            await bad
        assert failed.value.at == 2
        assert sum((666, *([7] * 9)) in rows for _, rows in encoder.batches) <= 3
        assert it.tallies()["query"].failed == 1
        assert it.waiting_tokens("query") == 0
        await it.close()

    run(whole())


def test_an_encoder_that_dies_once_is_noticed_by_nobody() -> None:
    async def whole() -> None:
        encoder = CountingEncoder()
        encoder.fail_next = [Unavailable("The encoder has ended.")]
        it = batcher(encoder)
        assert await it.compute(texts(8), lane="query", tenant="a") == list(map(unit_vector, texts(8)))
        assert it.tallies()["query"].retried == 2
        await it.close()

    run(whole())


def test_an_encoder_that_asks_for_patience_gets_it_and_for_too_much_does_not() -> None:
    async def whole() -> None:
        encoder = CountingEncoder()
        encoder.fail_next = [Unavailable("It starts anew.", retry_after_s=0.0) for _ in range(7)]
        it = batcher(encoder)
        assert len(await it.compute(texts(3), lane="query", tenant="a")) == 3
        encoder.fail_next = [Unavailable("It starts anew.", retry_after_s=0.0) for _ in range(9)]
        with pytest.raises(BadText):
            await it.compute(texts(3), lane="query", tenant="a")
        encoder.fail_next = [Unavailable("It starts anew.", retry_after_s=60.0)]
        with pytest.raises(BadText):
            await it.compute(texts(3), lane="query", tenant="a")
        assert len(await it.compute(texts(3), lane="query", tenant="a")) == 3
        await it.close()

    run(whole())


def test_one_pause_counts_once_however_many_batches_run_into_it() -> None:
    async def whole() -> None:
        encoder, clock = CountingEncoder(), ManualClock()
        it = batcher(encoder, clock, batch_tokens=10, places=8)
        task = asked(it, texts(8))
        for _ in range(5):
            encoder.fail_next = [Unavailable("It starts anew.", retry_after_s=0.01) for _ in range(8)]
            begun = len(encoder.batches)
            while len(encoder.batches) < begun + 8:
                await asyncio.sleep(0.001)
            await turns()
            assert not encoder.fail_next
            assert not task.done()
            clock.advance(0.02)
        assert await task == list(map(unit_vector, texts(8)))
        await it.close()

    run(whole())


def test_ingest_that_failed_is_computed_again_under_queries_that_never_end() -> None:
    async def whole() -> None:
        encoder, clock = CountingEncoder(), ManualClock()
        it = batcher(encoder, clock, queue_tokens=100_000)
        encoder.gate.clear()
        failed = asked(it, texts(5), "ingest")
        await turns()

        async def querying(number: int) -> None:
            for at in range(200):
                if failed.done():
                    return
                clock.advance(0.05)
                await it.compute(texts(1, 90, start=number * 1_000 + at), lane="query", tenant="q")

        queries = [asyncio.create_task(querying(number)) for number in range(10, 15)]
        await turns()
        encoder.fail_next = [
            Unavailable("The encoder has ended.")
        ]  # the ingest's: it was the first to be begun
        encoder.gate.set()
        await turns(3)
        encoder.gate.clear()
        await turns()
        assert it.waiting_tokens("ingest") == 50
        clock.advance(0.5)
        assert it.oldest_wait_s("ingest") >= 0.5
        encoder.gate.set()
        assert await failed == list(map(unit_vector, texts(5)))
        assert not any(each.done() for each in queries)
        await asyncio.gather(*queries)
        await it.close()

    run(whole())


def test_what_failed_is_not_computed_again_for_a_caller_who_gave_up() -> None:
    async def whole() -> None:
        encoder, clock = CountingEncoder(), ManualClock()
        it = batcher(encoder, clock, batch_tokens=50)
        encoder.fail_next = [Unavailable("It starts anew.", retry_after_s=1.0)]
        gone = asked(it, texts(5))
        await turns()
        assert it.waiting_tokens("query") == 50
        gone.cancel()
        await turns()
        assert it.waiting_tokens("query") == 0
        encoder.gate.clear()
        clock.advance(2.0)
        late = asked(it, texts(5, start=3_000))
        await turns()
        encoder.fail_next = [Unavailable("The encoder has ended.")]
        late.cancel()
        await turns()
        encoder.gate.set()
        await turns()
        assert [rows for _, rows in encoder.batches] == [texts(5), texts(5, start=3_000)]
        assert it.tallies()["query"].dropped == 10
        await it.close()

    run(whole())


def test_a_caller_who_gives_up_leaves_nothing_behind() -> None:
    async def whole() -> None:
        encoder = CountingEncoder()
        encoder.gate.clear()
        it = batcher(encoder, batch_tokens=80)
        running, gone, kept = (asked(it, texts(8, start=start)) for start in (1_000, 2_000, 3_000))
        await turns()
        gone.cancel()
        await turns()
        encoder.gate.set()
        assert len(await running) == len(await kept) == 8
        computed = {ids[0] for _, rows in encoder.batches for ids in rows}
        assert computed == {*range(1_000, 1_008), *range(3_000, 3_008)}
        assert it.tallies()["query"].dropped == 8
        assert it.waiting_tokens("query") == 0
        await it.close()

    run(whole())


def test_closing_tells_everybody() -> None:
    async def whole() -> None:
        encoder = CountingEncoder()
        encoder.gate.clear()
        it = batcher(encoder)
        tasks = [asked(it, texts(5, start=number * 100)) for number in range(1, 9)]
        await turns()
        await it.close()
        await it.close()
        told = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(each, Unavailable) for each in told)
        with pytest.raises(Unavailable):
            await it.compute(texts(1), lane="query", tenant="a")

    run(whole())


def test_figures_tell_what_waits_and_for_how_long() -> None:
    async def whole() -> None:
        encoder, clock = CountingEncoder(), ManualClock()
        encoder.gate.clear()
        it = batcher(encoder, clock)
        tasks = [asked(it, texts(10), "ingest"), asked(it, texts(10, start=5_000), "ingest")]
        await turns()
        clock.advance(3.0)
        assert (it.waiting_tokens("ingest"), it.waiting_tokens("query")) == (100, 0)
        assert (it.oldest_wait_s("ingest"), it.oldest_wait_s("query")) == (3.0, 0.0)
        encoder.gate.set()
        await asyncio.gather(*tasks)
        tally = it.tallies()["ingest"]
        assert (tally.batches, tally.texts, tally.tokens, tally.padded_tokens, tally.room_tokens) == (
            2, 20, 200, 200, 200,
        )  # fmt: skip
        await it.close()

    run(whole())
