"""What the states do when things go wrong: a Redis that hangs, forgets or is full; a node with too many limits."""

from __future__ import annotations

import asyncio

import pytest
import redis

from penstock.adapters.state import redis_link
from penstock.adapters.state.embedded import EmbeddedState
from penstock.adapters.state.redis import RedisState
from penstock.kernel.clock import ManualClock
from penstock.kernel.errors import Invalid, Overloaded, TimedOut, Unavailable
from penstock.ports.state import Ask
from tests.contracts.shared_faults import once_back
from tests.services import RedisServer
from tests.support import run

ASK = Ask("acme|rpm", "bucket", 1_000, 60)


def asks_of_all_kinds(stem="acme|x"):
    return [Ask(f"{stem}{kind}", kind, 10, 60) for kind in ("bucket", "window", "slots")]


# ---------------------------------------------------------------------------------------------------- Redis


@pytest.fixture
def own_redis():
    """Give a Redis that this test may harm."""
    with RedisServer() as server:
        yield server


def test_a_hung_redis_is_given_up_on_and_found_again(own_redis):
    async def scenario():
        state = await RedisState.open(own_redis.url, timeout_s=0.05)
        await state.take([ASK], "r")
        own_redis.pause()
        for _ in range(redis_link.TRIP_AFTER):
            with pytest.raises(TimedOut):
                await state.take([ASK], "r")
        assert state.trips == 1
        # 5,000 waits of 50 ms would take four minutes: the ceiling of `run` holds only if nothing waits.
        for _ in range(5_000):
            with pytest.raises(Unavailable):
                await state.take([ASK], "r")
        assert not await state.healthy()
        own_redis.resume()
        await once_back(lambda: state.take([ASK], "r"))
        assert await state.healthy()
        assert state.trips == 1
        await state.close()

    run(scenario())


def test_waiting_calls_fail_with_the_batch_before_them(own_redis):
    async def scenario():
        state = await RedisState.open(own_redis.url, timeout_s=0.1)
        await state.take([ASK], "r")
        own_redis.pause()
        answers = await asyncio.gather(
            *(state.take([ASK], "r") for _ in range(1_000)), return_exceptions=True
        )
        assert all(isinstance(answer, TimedOut) for answer in answers)
        assert state.trips == 0  # one failure so far, however many calls it took with it
        own_redis.resume()
        await state.close()

    run(scenario())


def test_a_restarted_redis_is_served_again_and_learns_the_script(own_redis):
    async def scenario():
        state = await RedisState.open(own_redis.url, timeout_s=1.0)
        first = await state.take([ASK], "r")
        own_redis.kill()
        with pytest.raises(Unavailable):
            await state.take([ASK], "r")
        own_redis.start()
        again = await once_back(lambda: state.take([ASK], "r"))
        assert again.remaining == first.remaining == (999,)
        await state.close()

    run(scenario())


def test_a_forgotten_script_is_loaded_and_each_call_counts_once(fresh_redis):
    url = fresh_redis()

    async def scenario():
        state = await RedisState.open(url, timeout_s=2.0)
        with redis.Redis.from_url(url) as admin:
            admin.script_flush()
        slow = Ask("acme|rpd", "bucket", 1_000, 86_400)
        await asyncio.gather(*(state.take([slow], f"r{i}") for i in range(300)))
        assert (await state.peek([slow])).remaining == (700,)
        await state.close()

    run(scenario())


def test_calls_of_one_moment_share_round_trips_and_the_queue_is_bounded(fresh_redis, monkeypatch):
    url, trips = fresh_redis(), []
    honest = redis_link.RedisLink._round_trip

    async def counted(link, commands):
        trips.append(len(commands))
        return await honest(link, commands)

    monkeypatch.setattr(redis_link.RedisLink, "_round_trip", counted)

    async def scenario():
        state = await RedisState.open(url, timeout_s=2.0)
        await asyncio.gather(*(state.take([ASK], "r") for _ in range(300)))
        assert trips == [128, 128, 44]
        monkeypatch.setattr(redis_link, "QUEUE_MOST", 10)
        answers = await asyncio.gather(*(state.take([ASK], "r") for _ in range(25)), return_exceptions=True)
        assert sum(isinstance(answer, Overloaded) for answer in answers) == 15
        await state.close()

    run(scenario())


def test_a_caller_that_goes_away_disturbs_nobody(fresh_redis):
    url = fresh_redis()

    async def scenario():
        state = await RedisState.open(url, timeout_s=2.0)
        calls = [asyncio.create_task(state.take([ASK], f"r{i}")) for i in range(20)]
        await asyncio.sleep(0)
        for call in calls[::2]:
            call.cancel()
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert [isinstance(answer, asyncio.CancelledError) for answer in answers] == [True, False] * 10
        assert (await state.take([ASK], "r")).refused == -1
        await state.close()

    run(scenario())


def test_every_key_expires_and_carries_the_tenant_as_hash_tag(fresh_redis):
    url = fresh_redis()

    async def scenario():
        state = await RedisState.open(url, prefix="gate", timeout_s=2.0)
        await state.take(asks_of_all_kinds(), "r")
        claim = await state.claim("acme|job", "a", 5)
        await state.release(claim)
        await state.claim("acme|job2", "a", 5)
        await state.close()

    run(scenario())
    with redis.Redis.from_url(url, decode_responses=True) as admin:
        keys = list(admin.scan_iter())
        assert len(keys) == 5
        assert all("{acme}|" in key and key.startswith("gate:") for key in keys)
        assert all(0 < admin.pttl(key) <= 90_000_000 for key in keys)


def test_a_whole_bucket_leaves_nothing_behind(fresh_redis):
    url = fresh_redis()

    async def scenario():
        state = await RedisState.open(url, timeout_s=2.0)
        asks = [ask for ask in asks_of_all_kinds() if ask.kind != "window"]
        await state.take(asks, "r")
        await state.give_back(asks, "r")
        await state.peek(asks_of_all_kinds("acme|never"))
        await state.close()

    run(scenario())
    with redis.Redis.from_url(url) as admin:
        assert admin.dbsize() == 0


def test_a_redis_that_evicts_is_refused():
    options = {"maxmemory": "50mb", "maxmemory-policy": "allkeys-lru"}
    with RedisServer(options) as server, pytest.raises(Invalid, match="noeviction"):
        run(RedisState.open(server.url))


def test_a_full_redis_is_unavailable_and_says_why():
    async def fill(state):
        for i in range(100_000):
            await state.take([Ask(f"acme|{i}", "bucket", 10, 60)], "r")

    async def scenario(url):
        state = await RedisState.open(url, timeout_s=2.0)
        with pytest.raises(Unavailable, match="out of memory"):
            await fill(state)
        assert state.trips == 0
        await state.close()

    with RedisServer(options={"maxmemory": "2mb"}) as server:
        run(scenario(server.url))


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "redis://no-such-host.invalid/0"])
def test_opening_an_unreachable_redis_is_unavailable(url):
    with pytest.raises(Unavailable):
        run(RedisState.open(url))


@pytest.mark.parametrize(
    ("url", "prefix"), [("http://127.0.0.1", "p"), ("redis://h", "a{b"), ("redis://h", "")]
)
def test_opening_with_nonsense_is_invalid(url, prefix):
    with pytest.raises(Invalid):
        run(RedisState.open(url, prefix=prefix))


def test_a_closed_state_is_unavailable(redis_url):
    async def scenario():
        state = await RedisState.open(redis_url, timeout_s=2.0)
        await state.close()
        with pytest.raises(Unavailable):
            await state.take([ASK], "r")

    run(scenario())


# ------------------------------------------------------------------------------------------- in the process


def test_keys_in_use_are_never_forgotten_and_new_ones_are_refused_and_counted():
    async def scenario():
        clock = ManualClock()
        state = EmbeddedState(clock, max_keys=100)
        for i in range(100):
            assert (await state.take([Ask(f"acme|{i}", "bucket", 1, 60)], "r")).refused == -1
        for _ in range(3):
            with pytest.raises(Overloaded):
                await state.take([Ask("acme|0", "bucket", 5, 60), Ask("acme|new", "bucket", 1, 60)], "r")
        assert state.refused_keys == 3
        for i in range(1, 100):
            assert (await state.take([Ask(f"acme|{i}", "bucket", 1, 60)], "r")).refused == 0
        clock.advance(60)
        assert (await state.take([Ask("acme|new", "bucket", 1, 60)], "r")).refused == -1
        assert state.refused_keys == 3

    run(scenario())


def test_a_refusal_for_want_of_room_leaves_what_was_taken_before():
    async def scenario():
        state = EmbeddedState(ManualClock(), max_keys=2)
        one, two, three = (Ask(f"acme|{i}", "bucket", 5, 60) for i in range(3))
        await state.take([one, two], "r")
        with pytest.raises(Overloaded):
            await state.take([one, two, three], "r")
        assert (await state.peek([one, two])).remaining == (4, 4)

    run(scenario())


def test_memory_follows_the_keys_in_use_not_the_keys_ever_seen():
    async def scenario():
        clock = ManualClock()
        state = EmbeddedState(clock)
        for i in range(20_000):
            await state.take(asks_of_all_kinds(f"t{i}|x"), "r")
            await state.claim(f"t{i}|job", "a", 1)
            clock.advance(1)
        # 60 keys of each kind are in use at a time; the sweep may lag behind by as many again.
        assert len(state._meters) < 3 * 60 * 4
        assert len(state._leases.entries) < 10
        assert len(state._table.turns) == len(state._meters)

    run(scenario())


def test_a_closed_embedded_state_is_unavailable():
    async def scenario():
        state = EmbeddedState(ManualClock())
        await state.close()
        assert not await state.healthy()
        with pytest.raises(Unavailable):
            await state.take([ASK], "r")

    run(scenario())
