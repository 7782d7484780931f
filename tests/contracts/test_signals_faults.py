"""What Redis signals do when Redis is killed, loses its data, drops the listener or goes silent."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import pytest
import redis

from penstock.adapters.signals import redis as adapter
from penstock.adapters.signals.redis import RedisSignals
from penstock.kernel.errors import Invalid, Overloaded, Unavailable
from tests.contracts.engines import Relay
from tests.contracts.shared_faults import once_back
from tests.services import RedisServer
from tests.support import run


def test_a_redis_that_lost_everything_goes_on_with_higher_versions():
    async def scenario(server):
        signals = await RedisSignals.open(server.url)
        ear = await signals.subscribe("keys")
        first = await signals.publish("keys", b"1")
        assert (await ear.next(5.0)).version == first
        server.kill()
        with pytest.raises(Unavailable):
            await signals.publish("keys", b"lost")
        server.start()
        second = await once_back(lambda: signals.publish("keys", b"2"))
        signal = await ear.next(5.0)
        assert second > first
        assert (signal.version, signal.body, signal.missed) == (second, b"2", True)
        assert signals.reconnects >= 1
        await signals.close()

    with RedisServer() as server:
        run(scenario(server))


def test_a_dropped_listener_is_replaced(fresh_redis):
    url = fresh_redis()

    async def scenario():
        signals = await RedisSignals.open(url, timeout_s=5.0)
        ear = await signals.subscribe("keys")
        for i in range(5):
            with redis.Redis.from_url(url) as admin:
                admin.client_kill_filter(_type="pubsub")
            await signals.publish("keys", b"%d" % i)
            assert (await ear.next(5.0)).body == b"%d" % i
        assert signals.reconnects >= 1
        await signals.close()

    run(scenario())


def test_a_silent_listener_is_found_out_by_ping(fresh_redis, monkeypatch):
    monkeypatch.setattr(adapter, "BEAT_S", 0.05)
    url = fresh_redis()

    async def scenario():
        async with Relay(urlsplit(url).port) as relay:
            signals = await RedisSignals.open(
                url.replace(str(urlsplit(url).port), str(relay.port)), timeout_s=0.2
            )
            assert signals.reconnects == 0
            relay.cut()
            while signals.reconnects < 2:
                await asyncio.sleep(0.01)
            await signals.close()

    run(scenario())


def test_a_quiet_listener_that_answers_pings_is_left_alone(fresh_redis, monkeypatch):
    monkeypatch.setattr(adapter, "BEAT_S", 0.01)
    url = fresh_redis()

    async def scenario():
        signals = await RedisSignals.open(url, timeout_s=5.0)
        await asyncio.sleep(0.3)
        assert signals.reconnects == 0
        ear = await signals.subscribe("keys")
        await signals.publish("keys", b"x")
        assert (await ear.next(5.0)).body == b"x"
        assert signals.late == 0
        await signals.close()

    run(scenario())


def test_calls_in_flight_are_bounded(fresh_redis, monkeypatch):
    monkeypatch.setattr(adapter, "CALLS_MOST", 20)
    url = fresh_redis()

    async def scenario():
        signals = await RedisSignals.open(url, timeout_s=5.0)
        answers = await asyncio.gather(
            *(signals.publish("keys", b"x") for _ in range(50)), return_exceptions=True
        )
        assert sum(isinstance(answer, Overloaded) for answer in answers) == 30
        await signals.close()

    run(scenario())


def test_opening_what_is_not_there_says_so():
    with pytest.raises(Unavailable):
        run(RedisSignals.open("redis://127.0.0.1:1/0"))
    with pytest.raises(Invalid):
        run(RedisSignals.open("http://127.0.0.1"))
