"""Workers behind one socket: crashed ones come back, replaced ones hand over, stopped ones are gone."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from contextlib import asynccontextmanager, suppress

import pytest

from penstock.kernel.errors import Unavailable
from penstock.wiring import supervisor as module
from penstock.wiring.service import listen
from penstock.wiring.supervisor import Supervisor
from tests.support import run

# A worker that answers each connection with its process id, as long as no file in its folder tells it otherwise.
WORKER = """
import os, signal, socket, sys, time
given = dict(word[2:].split("=") for word in sys.argv[2:])
told = lambda name: os.path.exists(os.path.join(sys.argv[1], name))
if told("broken"):
    sys.exit(3)
stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
listening, line = socket.socket(fileno=int(given["fd"])), socket.socket(fileno=int(given["control-fd"]))
listening.settimeout(0.02)
line.sendall(b"ready\\n")
while not stopped or told("deaf"):
    try:
        client = listening.accept()[0]
    except (TimeoutError, BlockingIOError):
        time.sleep(0.005)
        continue
    client.sendall(str(os.getpid()).encode())
    client.close()
    time.sleep(0.002)  # the others have their turn
"""


async def until(condition, *, what: str) -> None:
    """Wait for a condition; the test's own ceiling ends a wait that never does."""
    while not await condition():
        await asyncio.sleep(0.01)
    assert what


@asynccontextmanager
async def fleet(folder, count: int = 2):
    """Run a supervisor of fake workers; gives a function that asks who answers, and ends it by SIGTERM."""
    listening = listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    command = [sys.executable, "-S", "-E", "-c", WORKER, str(folder)]
    running = asyncio.create_task(Supervisor(command, listening, count, 1.0).run())

    async def answering() -> set[int]:
        """Connect until as many workers as there should be have answered."""
        found = set()
        while len(found) < count:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            if text := await reader.read():  # nothing: it was killed in between
                found.add(int(text))
            writer.close()
        return found

    try:
        await answering()
        yield answering
    finally:
        if not running.done():
            os.kill(os.getpid(), signal.SIGTERM)
        try:
            await running
        finally:
            listening.close()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_all_workers_serve_one_socket_and_all_end_with_the_supervisor(tmp_path):
    async def work():
        async with fleet(tmp_path, 3) as answering:
            return await answering()

    pids = run(work())
    assert len(pids) == 3
    assert not any(alive(pid) for pid in pids)


def test_a_worker_that_is_killed_comes_back_and_the_others_go_on(tmp_path):
    async def work():
        async with fleet(tmp_path) as answering:
            before = await answering()
            victim = min(before)
            os.kill(victim, signal.SIGKILL)

            async def whole() -> bool:
                return victim not in await answering()

            await until(whole, what="a new worker answers")
            return before - {victim}, await answering()

    survivor, after = run(work())
    assert survivor < after


def test_sighup_replaces_every_worker_and_no_connection_is_refused(tmp_path):
    async def work():
        async with fleet(tmp_path) as answering:
            before = await answering()
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGHUP)

                async def replaced(old: set[int] = before) -> bool:
                    return not await answering() & old

                await until(replaced, what="both are new")
                before = await answering()

    run(work())


def test_a_worker_that_does_not_start_ends_the_rolling_with_the_old_ones_in_place(
    tmp_path, monkeypatch, caplog
):
    async def work():
        async with fleet(tmp_path) as answering:
            before = await answering()
            (tmp_path / "broken").touch()
            os.kill(os.getpid(), signal.SIGHUP)

            async def given_up() -> bool:
                return "given up" in caplog.text

            await until(given_up, what="the supervisor says so")
            return before, await answering()

    before, after = run(work())
    assert before == after


def test_a_first_worker_that_does_not_start_refuses_the_start_and_leaves_none(tmp_path):
    (tmp_path / "broken").touch()

    listening = listen("127.0.0.1", 0)
    command = [sys.executable, "-S", "-E", "-c", WORKER, str(tmp_path)]
    supervisor = Supervisor(command, listening, 2, 1.0)
    with pytest.raises(Unavailable, match="did not start"):
        run(supervisor.run())
    listening.close()
    assert not supervisor._alive


def test_a_worker_deaf_to_sigterm_is_killed_after_the_drain(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "KILL_AFTER_S", 0.05)
    (tmp_path / "deaf").touch()

    async def work():
        async with fleet(tmp_path) as answering:
            return await answering()

    assert not any(alive(pid) for pid in run(work()))


def test_a_worker_that_keeps_dying_is_tried_again_ever_more_slowly(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PAUSE_S", 0.001)
    pauses = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(min(seconds, 0.001))

    async def work():
        async with fleet(tmp_path, 1) as answering:
            victim = (await answering()).pop()
            (tmp_path / "broken").touch()
            monkeypatch.setattr(module.asyncio, "sleep", noted)
            os.kill(victim, signal.SIGKILL)
            while pauses.count(module.PAUSE_MAX_S) < 2:
                await sleep(0.005)
            monkeypatch.setattr(module.asyncio, "sleep", sleep)

    monkeypatch.setattr(module, "PAUSE_MAX_S", 0.02)
    run(work())
    assert pauses[:6] == [0.001, 0.002, 0.004, 0.008, 0.016, 0.02]


@pytest.fixture(autouse=True)
def signals_restored():
    """Leave no handler of a supervisor behind."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    yield
    for number, handler in before.items():
        with suppress(TypeError):
            signal.signal(number, handler)


def test_the_port_in_use_is_one_clear_line():
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        with pytest.raises(Unavailable) as refusal:
            listen("127.0.0.1", port)
    assert refusal.value.reason == "port_in_use"
    assert refusal.value.value == f"127.0.0.1:{port}"
    assert "--port" in refusal.value.remedy
