"""A lane's line: every bound is told, large calls enter by instalments, both kinds of results share it."""

from __future__ import annotations

import asyncio

import pytest

from penstock.embedding.serving.line import LARGE_MOST, LaneBounds, Line
from penstock.embedding.serving.window import Work
from penstock.kernel.clock import ManualClock
from penstock.kernel.errors import Overloaded
from tests.counting_encoder import CountingEncoder, unit_vector
from tests.support import run
from tests.unit.embedding.batch_scene import asked, batcher, texts, turns


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
        assert it.tallies()["query"].refused == 1
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


def test_a_large_call_locks_nobody_out_and_is_computed_whole() -> None:
    async def whole() -> None:
        encoder = CountingEncoder()
        encoder.gate.clear()
        it = batcher(encoder, queue_tokens=400)
        flood = texts(300)
        large = asked(it, flood)
        await turns()
        assert it.waiting_tokens("query") == 2_900  # told whole: it is what to scale on
        for number in range(10):  # one after the other, so that each meets the line as the last has left it
            calm = asked(it, texts(1, start=9_000 + number), tenant="b")
            await turns()
            encoder.gate.set()
            assert await calm == [unit_vector(texts(1, start=9_000 + number)[0])]
            encoder.gate.clear()
        before = [rows for _, rows in encoder.batches]
        assert not large.done()
        assert max(sum(map(len, rows)) for rows in before) <= 100
        own = asked(it, texts(1, start=9_500))  # and its own tenant may ask for something besides
        encoder.gate.set()
        assert len(await own) == 1
        assert await large == list(map(unit_vector, flood))
        computed = [ids for _, rows in encoder.batches for ids in rows]
        assert sorted(computed) == sorted([*flood, *texts(10, start=9_000), *texts(1, start=9_500)])
        assert it.waiting_tokens("query") == 0
        await it.close()

    run(whole())


def test_large_calls_hold_no_more_than_one_tenants_share_and_are_bounded_in_number() -> None:
    async def whole() -> None:
        encoder = CountingEncoder()
        encoder.gate.clear()
        it = batcher(encoder, queue_tokens=1_000)
        larges = []
        for number in range(1, LARGE_MOST + 1):
            larges.append(asked(it, texts(200, start=10_000 * number), tenant=f"t{number}"))
            await turns()
            with pytest.raises(Overloaded, match="large calls") as full:  # one such a tenant
                await it.compute(texts(200, start=500), lane="query", tenant=f"t{number}")
            assert full.value.retry_after_s
        with pytest.raises(Overloaded, match="large calls"):
            await it.compute(texts(200, start=500), lane="query", tenant="new")
        small = [asked(it, texts(25, start=1_000 * number), tenant=f"s{number}") for number in (1, 2)]
        await turns()
        assert not any(each.done() for each in small)
        with pytest.raises(Overloaded, match="queue for query work"):  # small ones fill it as ever
            await it.compute(texts(25, start=3_000), lane="query", tenant="s3")
        encoder.gate.set()
        assert {len(each) for each in await asyncio.gather(*larges)} == {200}
        assert {len(each) for each in await asyncio.gather(*small)} == {25}
        await it.close()

    run(whole())


def test_a_large_call_goes_on_before_a_line_that_others_keep_full() -> None:
    async def whole() -> None:
        encoder = CountingEncoder()
        it = batcher(encoder, queue_tokens=200)
        ended = asyncio.Event()

        async def flooding(tenant: str) -> None:
            number = 0
            while not ended.is_set():
                number += 1
                try:
                    await it.compute(texts(8, start=number * 100), lane="query", tenant=tenant)
                except Overloaded:
                    await asyncio.sleep(0)

        floods = [asyncio.create_task(flooding(f"f{number}")) for number in range(6)]
        await turns()
        assert len(await it.compute(texts(60, start=7_000_000), lane="query", tenant="a")) == 60
        ended.set()
        await asyncio.gather(*floods)
        await it.close()

    run(whole())


def test_a_large_call_given_up_leaves_nothing_behind() -> None:
    async def whole() -> None:
        encoder = CountingEncoder()
        encoder.gate.clear()
        it = batcher(encoder, queue_tokens=400)
        large = asked(it, texts(300))
        await turns()
        begun = len(encoder.batches)
        large.cancel()
        await turns()
        assert it.waiting_tokens("query") == 0
        encoder.gate.set()
        assert len(await it.compute(texts(100, start=5_000), lane="query", tenant="a")) == 100
        computed = [ids for _, rows in encoder.batches[begun:] for ids in rows]
        assert sorted(computed) == texts(100, start=5_000)
        assert it.tallies()["query"].dropped == 290
        await it.close()

    run(whole())


def test_a_text_larger_than_the_queue_may_enter_it_empty() -> None:
    async def whole() -> None:
        it = batcher(CountingEncoder(), queue_tokens=5)
        assert len(await it.compute(texts(5), lane="query", tenant="a")) == 5
        assert await it.compute([], lane="query", tenant="a") == []
        await it.close()

    run(whole())


def test_what_was_to_be_computed_again_and_is_not_wanted_frees_its_tokens_and_nothing_else() -> None:
    line = Line("query", LaneBounds(batch_tokens=100, queue_tokens=200))

    def works(count: int) -> list[Work]:
        return [Work(ids, "a", 0.0, None, at) for at, ids in enumerate(texts(count))]

    line.enter(failed := works(10))
    batch = line.next(0.0)
    assert batch is not None
    line.put_again(failed[:5])
    line.put_again(failed[5:])
    assert line._window.oldest_s() is None  # they wait beside the window, and are no more in it
    line.leave(failed[3:])
    assert (line.tokens, line.tally.dropped) == (30, 7)
    line.enter(works(10))
    with pytest.raises(Overloaded, match="share"):
        line.enter(works(1))
    again = line.next(0.0)
    assert again is not None
    assert list(again.each()) == failed[:3]
    assert line.tokens == 100


def test_vectors_and_matrices_share_one_lane() -> None:
    async def whole() -> None:
        encoder = CountingEncoder()
        encoder.gate.clear()
        it = batcher(encoder, queue_tokens=200, places=2)
        kinds = []
        for at in range(1, 3):
            kinds.append(asked(it, texts(10, start=1_000 * at), matrices=at % 2 == 0))
            await turns()
        assert len(encoder.batches) == 2  # the lane's places, not each kind's
        kinds += [asked(it, texts(5, start=1_000 * at), matrices=at % 2 == 0) for at in range(3, 5)]
        await turns()
        with pytest.raises(Overloaded, match="share"):
            await it.compute(texts(1), lane="query", tenant="a", matrices=True)
        kinds.append(asked(it, texts(10, start=8_000), tenant="b", matrices=True))
        await turns()
        with pytest.raises(Overloaded, match="queue for"):
            await it.compute(texts(1), lane="query", tenant="c")
        encoder.gate.set()
        done = await asyncio.gather(*kinds)
        assert [len(each[0]) // 32 for each in done] == [1, 10, 1, 10, 10]  # no batch is of both kinds
        await it.close()

    run(whole())
