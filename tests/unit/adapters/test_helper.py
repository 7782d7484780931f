"""A helper process may crash, hang, lie or complain: callers are told in time, and the next one is served."""

from __future__ import annotations

import ast
import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from penstock.adapters import helper_parent
from penstock.adapters.helper_parent import Bounds, Helper, worker
from penstock.kernel.errors import Invalid, Overloaded, Unavailable
from tests.support import run

ROOT = Path(__file__).parents[3]
HERE = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
QUICK = Bounds(again_s=0.01, grace_s=1.0)


def made(start: bytes = b"", *, threads: int = 1, idle: bool = False, bounds: Bounds = QUICK) -> Helper:
    """Return a helper whose process is tests/helper_worker.py."""
    command = (*worker("tests.helper_worker"), str(threads))
    return Helper(command, name="stand-in", start=start, idle=idle, environment=HERE, bounds=bounds)


@asynccontextmanager
async def started(
    start: bytes = b"", *, threads: int = 1, idle: bool = False, bounds: Bounds = QUICK
) -> AsyncIterator[Helper]:
    """Give a running one."""
    engine = made(start, threads=threads, idle=idle, bounds=bounds)
    try:
        await engine.start()
        yield engine
    finally:
        await engine.close()


def gone(pid: int) -> bool:
    """Tell whether a process is no more (a zombie is none)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state in "ZX"


async def until(happened: Callable[[], bool]) -> None:
    """Wait until it is so."""
    while not happened():
        await asyncio.sleep(0.005)


async def again(engine: Helper, question: bytes = b"back") -> bytes:
    """Ask until it is served."""
    while True:
        try:
            return await engine.exchange(question)
        except Unavailable:
            await asyncio.sleep(0.01)


def test_it_starts_at_the_first_exchange_and_not_before() -> None:
    async def work() -> None:
        engine = made(b"as told")
        assert (engine.starts, engine.running, engine.pid) == (0, False, None)
        answers = await asyncio.gather(*(engine.exchange(b"%d" % each) for each in range(20)))
        assert answers == [b"%d" % each for each in range(20)]
        assert (await engine.start(), engine.starts, engine.running) == (b"ready: as told", 1, True)
        await engine.close()

    run(work())


def test_answers_of_any_size_come_whole_and_what_a_library_prints_does_not_come() -> None:
    async def work() -> None:
        async with started() as engine:
            sizes = [0, 1, 65_535, 65_536, 3_000_001]
            echoed = await asyncio.gather(*(engine.exchange(b"\xff" * size) for size in sizes))
            assert [len(each) for each in echoed] == sizes
            assert await engine.exchange(b"print") == b"print"
            assert await engine.exchange(b"grow 5000000") == bytes(5_000_000)

    run(work())


def test_with_threads_the_quick_do_not_wait_for_the_slow() -> None:
    async def work() -> None:
        async with started(threads=2) as engine:
            slow = asyncio.create_task(engine.exchange(b"wait 1"))
            assert await engine.exchange(b"quick") == b"quick"
            assert not slow.done()
            slow.cancel()

    run(work())


def test_what_it_refuses_is_the_callers_fault_and_what_fails_is_not_and_neither_ends_it() -> None:
    async def work() -> None:
        async with started() as engine:
            outcomes = await asyncio.gather(
                *(engine.exchange(each) for each in (b"refuse too long", b"fine", b"fail missing")),
                return_exceptions=True,
            )
            assert isinstance(outcomes[0], Invalid)
            assert outcomes[0].message == "too long"
            assert outcomes[1] == b"fine"
            assert isinstance(outcomes[2], Unavailable)
            assert outcomes[2].message == "The stand-in failed: KeyError: 'missing'"
            assert engine.starts == 1

    run(work())


@pytest.mark.parametrize("order", [b"die", b"lie 3"])
def test_who_was_under_way_when_it_died_is_told_and_it_is_started_anew(order: bytes) -> None:
    async def work() -> None:
        async with started() as engine:
            before = engine.pid
            asked = [engine.exchange(each) for each in (order, b"next", b"and next")]
            outcomes = await asyncio.gather(*asked, return_exceptions=True)
            assert [type(each) for each in outcomes] == [Unavailable] * 3
            await until(lambda: engine.running)  # by itself: nobody asks
            assert await engine.exchange(b"back") == b"back"
            assert engine.starts == 2
            assert engine.pid != before
            assert engine.under_way == 0

    run(work())


def test_kill_9_while_idle_is_noticed_and_it_is_started_anew() -> None:
    async def work() -> None:
        async with started() as engine:
            os.kill(engine.pid or 0, signal.SIGKILL)
            await until(lambda: not engine.running)
            assert await again(engine) == b"back"
            assert engine.starts == 2

    run(work())


def test_one_that_hangs_is_killed_and_one_that_works_through_a_queue_is_not() -> None:
    async def work() -> None:
        async with started(bounds=Bounds(answer_timeout_s=0.4, again_s=0.01)) as engine:
            await asyncio.gather(*(engine.exchange(b"wait 0.05") for _ in range(16)))  # 0.8 s in all
            assert engine.starts == 1
            with pytest.raises(Unavailable, match="stuck"):
                await engine.exchange(b"hang")
            assert await again(engine) == b"back"

    run(work())


def test_a_caller_who_gives_up_does_not_confuse_the_next() -> None:
    async def work() -> None:
        async with started() as engine:
            slow = asyncio.create_task(engine.exchange(b"wait 0.1"))
            await asyncio.sleep(0)
            slow.cancel()
            assert await engine.exchange(b"mine") == b"mine"
            assert engine.starts == 1

    run(work())


def test_one_more_than_may_wait_is_refused_at_once_running_or_starting() -> None:
    async def work() -> None:
        engine = made(bounds=Bounds(waiting_most=3))
        for moment in ("starting", "running"):
            asked = [asyncio.create_task(engine.exchange(b"wait 0.05")) for _ in range(4)]
            outcomes = await asyncio.gather(*asked, return_exceptions=True)
            assert [type(each) for each in outcomes] == [bytes] * 3 + [Overloaded], moment
            assert outcomes[3].retry_after_s == 1.0
        await engine.close()

    run(work())


def test_more_bytes_than_may_wait_are_refused_but_one_question_always_goes() -> None:
    async def work() -> None:
        async with started(bounds=Bounds(waiting_bytes_most=100)) as engine:
            asked = [engine.exchange(b"x" * size) for size in (150, 1)]
            outcomes = await asyncio.gather(*asked, return_exceptions=True)
            assert [type(each) for each in outcomes] == [bytes, Overloaded]
            asked = [engine.exchange(b"x" * size) for size in (60, 40, 1)]
            outcomes = await asyncio.gather(*asked, return_exceptions=True)
            assert [type(each) for each in outcomes] == [bytes, bytes, Overloaded]

    run(work())


def test_one_that_cannot_start_says_why_and_is_tried_again_after_a_pause() -> None:
    async def work() -> None:
        engine = made(b"complain", bounds=Bounds(again_s=30.0))
        with pytest.raises(Unavailable, match=r"does not start: .*no model here") as told:
            await engine.exchange(b"x")
        assert told.value.message.endswith("the disk is gone")
        assert len(told.value.message) < 2_200
        with pytest.raises(Unavailable) as second:
            await engine.exchange(b"x")
        assert 20 < (second.value.retry_after_s or 0) <= 30
        assert engine.starts == 1
        await engine.close()

    run(work())


def test_each_death_without_an_answer_doubles_the_pause_up_to_a_bound_and_an_answer_ends_that() -> None:
    async def work() -> None:
        engine = made(b"die")
        pauses = []
        for _ in range(3):
            with pytest.raises(Unavailable, match="does not start"):
                await engine.exchange(b"x")
            pauses.append(engine._pause_s)
            engine._again_at_s = 0.0
        assert pauses == [0.02, 0.04, 0.08]
        engine._pause_s = helper_parent.AGAIN_MOST_S
        with pytest.raises(Unavailable):
            await engine.exchange(b"x")
        assert engine._pause_s == helper_parent.AGAIN_MOST_S
        engine._start, engine._again_at_s = b"", 0.0
        assert await engine.exchange(b"back") == b"back"
        os.kill(engine.pid or 0, signal.SIGKILL)
        await until(lambda: not engine.running)
        assert engine._pause_s == QUICK.again_s
        await engine.close()

    run(work())


def test_a_command_that_is_not_there_and_one_that_never_says_hello_do_not_start() -> None:
    async def work() -> None:
        engine = Helper(("/nowhere/at-all",), name="stand-in")
        with pytest.raises(Unavailable, match="does not start"):
            await engine.start()
        await engine.close()
        engine = made(b"wait 60", bounds=Bounds(start_timeout_s=0.1))
        with pytest.raises(Unavailable, match=r"does not start: .*stuck"):
            await engine.start()
        await engine.close()

    run(work())


def test_it_has_no_environment_and_no_working_directory_and_idles_on_order() -> None:
    async def work() -> None:
        for idle, policy in ((False, os.SCHED_OTHER), (True, os.SCHED_IDLE)):
            async with started(idle=idle) as engine:
                facts = ast.literal_eval((await engine.exchange(b"about")).decode())
                assert facts[:2] == ({policy}, "/")
                assert set(facts[2]) <= {"PYTHONPATH", "LC_CTYPE"}  # Python itself sets the latter
                assert facts[3] == engine.pid

    run(work())


def test_it_gets_ready_like_anybody_and_idles_with_all_its_threads_from_then_on() -> None:
    async def work() -> None:
        async with started(b"threads", idle=True) as engine:
            before, after = [
                ast.literal_eval(told.decode())[0]
                for told in (await engine.start(), await engine.exchange(b"about"))
            ]
            assert (before, after) == ({os.SCHED_OTHER}, {os.SCHED_IDLE})

    run(work())


def test_it_tells_who_waits_for_its_start_and_when_it_cannot_be_asked_and_may_be_woken() -> None:
    async def work() -> None:
        engine = made()
        asked = [asyncio.create_task(engine.exchange(b"x")) for _ in range(3)]
        await asyncio.sleep(0)
        assert (engine.running, engine.under_way, engine.away_s) == (False, 3, 0.0)
        engine.wake()  # it starts already
        await asyncio.gather(*asked)
        assert (engine.starts, engine.under_way, engine.away_s) == (1, 0, 0.0)
        engine.wake()
        await engine.close()
        assert engine.starts == 1
        cold = made(b"complain", bounds=Bounds(again_s=30.0))
        cold.wake()
        await until(lambda: cold.away_s > 20)
        cold.wake()
        await asyncio.sleep(0.01)
        assert (cold.starts, cold.running) == (1, False)
        await cold.close()
        cold.wake()
        assert not cold._starting

    run(work())


@pytest.mark.parametrize("order", [b"x", b"hang"])
def test_close_is_idempotent_leaves_nothing_and_tells_who_waits(order: bytes) -> None:
    async def work() -> None:
        engine = made(bounds=Bounds(grace_s=0.1))
        await engine.start()
        pid = engine.pid or 0
        asked = asyncio.create_task(engine.exchange(order))
        await asyncio.sleep(0.02)
        await asyncio.gather(engine.close(), engine.close())
        await engine.close()
        assert gone(pid)
        if order == b"hang":
            with pytest.raises(Unavailable):
                await asked
        with pytest.raises(Unavailable, match="closed"):
            await engine.exchange(b"x")
        assert engine.starts == 1

    run(work())


def test_close_during_a_start_leaves_nothing() -> None:
    async def work() -> None:
        for yields in range(3):
            engine = made(b"wait 60")
            asked = asyncio.create_task(engine.exchange(b"x"))
            for _ in range(yields):
                await asyncio.sleep(0.01)
            await engine.close()
            with pytest.raises(Unavailable):
                await asked
            assert not engine._alive

    run(work())


PARENT = """
import asyncio, sys
from tests.unit.adapters.test_helper import made
async def work():
    engine = made()
    await engine.start()
    busy = asyncio.create_task(engine.exchange(b"hang"))
    await asyncio.sleep(0.05)
    print(engine.pid, flush=True)
    await busy
asyncio.run(work())
"""


def test_it_ends_when_its_parent_is_killed_even_in_mid_question() -> None:
    with subprocess.Popen(
        (sys.executable, "-c", PARENT), stdout=subprocess.PIPE, env=HERE, cwd=ROOT
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert not gone(pid)
        parent.kill()
        parent.wait()
    for _ in range(1_000):
        if gone(pid):
            return
        time.sleep(0.005)
    raise AssertionError("it outlives its parent")
