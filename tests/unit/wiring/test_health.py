"""Health: asked in the background, answered from memory."""

from __future__ import annotations

import asyncio

import pytest

from penstock.kernel.errors import Unavailable
from penstock.wiring import health as module
from penstock.wiring.health import Health
from tests.support import run


async def yes() -> bool:
    return True


async def no() -> bool:
    return False


async def down() -> bool:
    raise Unavailable


async def gone() -> bool:
    raise ConnectionResetError


async def hangs() -> bool:
    await asyncio.sleep(3600)
    return True


@pytest.mark.parametrize(
    ("question", "works"), [(yes, True), (no, False), (down, False), (gone, False), (hangs, False)]
)
def test_a_store_works_when_it_says_so_in_time(monkeypatch, question, works):
    monkeypatch.setattr(module, "PATIENCE_S", 0.01)
    health = Health()
    health.watch("store", question)
    assert health.works("store")
    run(health.tick())
    assert health.works("store") is works


def test_one_that_hangs_hides_none_of_the_others(monkeypatch):
    monkeypatch.setattr(module, "PATIENCE_S", 0.01)
    health = Health()
    for name, question in (("a", hangs), ("b", yes), ("c", down)):
        health.watch(name, question)
    run(health.tick())
    assert [health.works(name) for name in "abc"] == [False, True, False]


def test_one_that_comes_back_works_again():
    answers = [False, True]

    async def question() -> bool:
        return answers.pop(0)

    health = Health()
    health.watch("store", question)
    run(health.tick())
    run(health.tick())
    assert health.works("store")
