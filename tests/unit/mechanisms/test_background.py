"""Work in the background waits no longer than it should, and ends in time, whatever it is at."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from penstock.mechanisms.background import let_end, woken
from tests.support import run

LONG_S = 600.0
"""Longer than any test may last: whoever waits for it hangs."""


def test_each_waking_ends_one_wait_and_so_does_the_time() -> None:
    """What came before the wait counts; what ended one wait does not end the next."""

    async def steps() -> None:
        wake = asyncio.Event()
        wake.set()
        await woken(wake, LONG_S)
        assert not wake.is_set()
        asyncio.get_running_loop().call_soon(wake.set)
        await woken(wake, LONG_S)
        assert not wake.is_set()
        await woken(wake, 0.01)
        assert not wake.is_set()

    run(steps(), ceiling_s=5.0)


def test_a_cancelled_wait_is_cancelled() -> None:
    async def steps() -> None:
        waiting = asyncio.create_task(woken(asyncio.Event(), LONG_S))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    run(steps(), ceiling_s=5.0)


def test_tasks_have_their_time_and_are_cancelled_and_waited_for_after_it() -> None:
    """One ends by itself, one fails, one would not end, one still has something to put away when it is cancelled."""

    async def steps() -> None:
        done: list[str] = []

        async def brief() -> None:
            await asyncio.sleep(0)
            done.append("brief")

        async def failing() -> None:
            await asyncio.sleep(0)
            raise ValueError("its own to tell")

        async def endless() -> None:
            await asyncio.Event().wait()

        async def tidy() -> None:
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            await asyncio.sleep(0)
            done.append("tidy")

        tasks = [asyncio.create_task(work()) for work in (brief, failing, endless, tidy)]
        await let_end(tasks, 0.01)
        assert all(task.done() for task in tasks)
        assert [task.cancelled() for task in tasks] == [False, False, True, False]
        assert done == ["brief", "tidy"]

    run(steps(), ceiling_s=5.0)


def test_nothing_waits_for_the_time_of_tasks_that_have_ended() -> None:
    async def steps() -> None:
        await let_end((), LONG_S)
        await let_end([asyncio.create_task(asyncio.sleep(0))], LONG_S)

    run(steps(), ceiling_s=5.0)
