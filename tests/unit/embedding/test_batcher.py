"""The batcher: queries go before ingest, a bad text fails alone, every bound is told, nobody is left waiting."""

from __future__ import annotations

import asyncio

import pytest

from penstock.embedding.serving.batcher import BadText, Batcher, LaneBounds
from penstock.kernel.clock import ManualClock
from penstock.kernel.errors import Overloaded, Unavailable
from tests.counting_encoder import CountingEncoder, unit_vector
from tests.support import run


def batcher(encoder: CountingEncoder, clock: ManualClock | None = None, **bounds) -> Batcher:
    chosen = LaneBounds(**{"batch_tokens": 100, "queue_tokens": 1_000, "places": 1, **bounds})
    return Batcher(encoder, {"query": chosen, "ingest": chosen}, clock or ManualClock())


def texts(count: int, length: int = 10, start: int = 1_000) -> list[tuple[int, ...]]:
    return [(start + number, *([7] * (length - 1))) for number in range(count)]


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def asked(it: Batcher, given, lane="query", tenant="a", **more) -> asyncio.Task[list[bytes]]:
    return asyncio.create_task(it.compute(given, lane=lane, tenant=tenant, **more))


def test_every_text_gets_its_own_vector_in_order() -> None:
    async def whole() -> None:
        encoder = CountingEncoder()
        it = batcher(encoder)
        given = [*texts(30), *texts(5, 40), *texts(3)]
        assert await it.compute(given, lane="query", tenant="a") == [unit_vector(each) for each in given]
        assert await it.compute(texts(2, 3), lane="query", tenant="a", rows=True) == [
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


def test_a_lane_that_is_full_says_when_to_come_again() -> None:
    async def whole() -> None:
        encoder, clock = CountingEncoder(), ManualClock()
        it = batcher(encoder, clock, queue_tokens=200)
        first = asked(it, texts(4, 25))
        await turns(2)
        clock.advance(0.5)  # 100 tokens in half a second
        await first
        assert it.tokens_per_s("query") == 200
        encoder.gate.clear()
        held = asked(it, texts(4, 25, start=5_000))
        await turns()
        waiting = [
            asked(it, texts(4, 25, start=9_000 + at), tenant=name) for at, name in ((0, "a"), (50, "b"))
        ]
        await turns()
        assert it.waiting_tokens("query") == 200
        with pytest.raises(Overloaded) as full:
            await it.compute(texts(1, 1), lane="query", tenant="c")
        assert full.value.retry_after_s == pytest.approx(1.0)
        assert (full.value.value, full.value.limit) == (201, 200)
        encoder.gate.set()
        await asyncio.gather(held, *waiting)
        assert it.tallies()["query", False].refused == 1
        await it.close()

    run(whole())


def test_one_tenant_has_no_more_than_its_share_of_a_lane() -> None:
    async def whole() -> None:
        encoder = CountingEncoder()
        encoder.gate.clear()
        it = batcher(encoder, queue_tokens=200)
        tasks = [asked(it, texts(4, 25))]
        await turns()
        tasks.append(asked(it, texts(4, 25, start=3_000)))
        await turns()
        with pytest.raises(Overloaded, match="share"):
            await it.compute(texts(1, 1, start=9_000), lane="query", tenant="a")
        tasks.append(asked(it, texts(4, 25, start=6_000), tenant="b"))
        await turns()
        encoder.gate.set()
        assert [len(each) for each in await asyncio.gather(*tasks)] == [4, 4, 4]
        await it.close()

    run(whole())


def test_a_call_larger_than_the_queue_may_enter_it_empty() -> None:
    async def whole() -> None:
        it = batcher(CountingEncoder(), queue_tokens=100)
        assert len(await it.compute(texts(50), lane="query", tenant="a")) == 50
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
        assert it.tallies()["query", False].failed == 1
        assert it.waiting_tokens("query") == 0
        await it.close()

    run(whole())


def test_an_encoder_that_dies_once_is_noticed_by_nobody() -> None:
    async def whole() -> None:
        encoder = CountingEncoder()
        encoder.fail_next = [Unavailable("The encoder has ended.")]
        it = batcher(encoder)
        assert await it.compute(texts(8), lane="query", tenant="a") == list(map(unit_vector, texts(8)))
        assert it.tallies()["query", False].retried == 2
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
        assert it.tallies()["query", False].dropped == 8
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
        tally = it.tallies()["ingest", False]
        assert (tally.batches, tally.texts, tally.tokens, tally.padded_tokens, tally.room_tokens) == (
            2, 20, 200, 200, 200,
        )  # fmt: skip
        await it.close()

    run(whole())
