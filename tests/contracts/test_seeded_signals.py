"""The suite finds bugs: seven and more are seeded into each signals engine, one at a time, and every one is caught."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from penstock.adapters.signals import redis as redis_adapter
from penstock.adapters.signals import topics
from penstock.adapters.signals.embedded import EmbeddedSignals
from penstock.adapters.signals.redis import RedisSignals
from penstock.adapters.signals.topics import Ear, Ears
from penstock.contracts.signals import CASES
from tests.contracts.engines import edited, first_broken
from tests.contracts.signal_engines import embedded_signals, redis_signals


def hides_that_some_were_missed(patch):
    """A queue that overflows is emptied without a word."""
    honest = Ear.hear

    def silent(ear, signal):
        honest(ear, signal)
        if ear._queue and ear._queue[-1].missed:
            ear._queue[-1] = msgspec.structs.replace(ear._queue[-1], missed=False)

    patch.setattr(Ear, "hear", silent)


def keeps_an_endless_queue(patch):
    """A slow subscriber's queue has no bound."""
    patch.setattr(topics, "QUEUE_MOST", 1 << 30)


def drops_the_newest_when_full(patch):
    """When a queue is full, what comes is lost instead of what was there."""
    honest = Ear.hear

    def stubborn(ear, signal):
        if len(ear._queue) < topics.QUEUE_MOST:
            honest(ear, signal)

    patch.setattr(Ear, "hear", stubborn)


def delivers_the_latest_first(patch):
    """The queue is a stack."""
    honest = Ear.next

    async def latest(ear, timeout_s):
        ear._queue.rotate(1)
        return await honest(ear, timeout_s)

    patch.setattr(Ear, "next", latest)


def still_hears_when_closed(patch):
    """Closing does not take the ear off its topic."""

    async def half_closed(ear):
        ear._wake()

    patch.setattr(Ear, "close", half_closed)


def wakes_nobody(patch):
    """A waiter finds out when its time is over."""
    patch.setattr(Ear, "_wake", lambda ear: None)


def mixes_topics_up(patch):
    """A topic is told to whoever listens to a name that begins alike."""
    honest = Ears.tell

    def loose(ears, signal):
        for topic in [topic for topic in ears.by_topic if signal.topic.startswith(topic)]:
            honest(ears, msgspec.structs.replace(signal, topic=topic))

    patch.setattr(Ears, "tell", loose)


def forgets_a_second_subscriber(patch):
    """Only one ear of each topic is told."""

    def first_only(ears, signal):
        for ear in list(ears.by_topic.get(signal.topic, ()))[:1]:
            ear.hear(signal)

    patch.setattr(Ears, "tell", first_only)


SHARED = [
    hides_that_some_were_missed,
    keeps_an_endless_queue,
    drops_the_newest_when_full,
    delivers_the_latest_first,
    still_hears_when_closed,
    wakes_nobody,
    mixes_topics_up,
    forgets_a_second_subscriber,
]


@pytest.mark.parametrize("seed", SHARED, ids=lambda seed: seed.__name__)
def test_the_suite_catches_embedded(seed, monkeypatch):
    seed(monkeypatch)
    assert first_broken(CASES, embedded_signals), seed.__doc__


class NeverCounts(EmbeddedSignals):
    """Every version is 1."""

    async def publish(self, topic, body):
        self._versions.pop(topic, None)
        return await super().publish(topic, body)


class RepeatsTheLast(EmbeddedSignals):
    """A new subscriber is told what was said before it came."""

    async def publish(self, topic, body):
        version = await super().publish(topic, body)
        self.last = topics.Signal(topic, version, body)
        return version

    async def subscribe(self, topic):
        ear = self._ears.listen(topic, 0)
        if getattr(self, "last", None) and self.last.topic == topic:
            ear.hear(self.last)
        return ear


@pytest.mark.parametrize("mutant", [NeverCounts, RepeatsTheLast])
def test_the_suite_catches_in_the_embedded_engine(mutant):
    assert first_broken(CASES, lambda: embedded_signals(mutant)), mutant.__doc__


# ------------------------------------------------------------------------------------------------- in Redis

SCRIPTS = {
    "does not keep the version": [("HSET', KEYS[1], 'previous'", "HSET', KEYS[1]..'x', 'previous'")],
    "does not keep the body": [("'body', ARGV[3]", "'body', ''")],
    "counts all topics together": [("KEYS[1]", "'penstock:signal:all'")],
    "sends the version before": [("'<ddI4', previous, version", "'<ddI4', previous - 1, previous")],
    "skips every tenth message": [
        ("redis.call('PUBLISH'", "if version % 10 == 0 then return text end redis.call('PUBLISH'")
    ],
}


@pytest.mark.parametrize("changes", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_the_suite_catches_in_the_script(changes, redis_url):
    class Mutant(RedisSignals):
        script = edited(RedisSignals.script, *changes)

    assert first_broken(CASES, lambda: redis_signals(redis_url, Mutant))


class NeverPolls(RedisSignals):
    """A lost message is lost."""

    async def _poll(self):
        await asyncio.Event().wait()


class BelievesThereWasNoGap(RedisSignals):
    """What was missed is not told."""

    def _hear(self, topic, previous, version, body):
        super()._hear(topic, self._seen.get(topic, 0), version, body)


class HearsEachTwice(RedisSignals):
    """A signal that came by itself is fetched as well."""

    def _hear(self, topic, previous, version, body):
        super()._hear(topic, previous, version, body)
        self._seen[topic] -= 1
        super()._hear(topic, previous, version, body)


class CountsInTwoSteps(RedisSignals):
    """The version is read, and then written."""

    async def publish(self, topic, body):
        version = await self.version(topic) + 1
        message = redis_adapter.HEADER.pack(version - 1, version, len(topic.encode())) + topic.encode() + body
        await self._redis.hset(
            self._key(topic), mapping={"version": version, "previous": version - 1, "body": body}
        )
        await self._redis.publish(self._channel(), message)
        return version


@pytest.mark.parametrize("mutant", [NeverPolls, BelievesThereWasNoGap, HearsEachTwice, CountsInTwoSteps])
def test_the_suite_catches_in_the_redis_engine(mutant, redis_url):
    assert first_broken(CASES, lambda: redis_signals(redis_url, mutant)), mutant.__doc__
