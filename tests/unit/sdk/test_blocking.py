"""The client without `async`: it calls and streams from plain code, and lets go of everything, whoever forgets it."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import uvloop

from penstock.kernel import errors
from penstock.sdk.background import Background
from penstock.sdk.blocking import BlockingClient
from penstock.sdk.client import Client
from tests.unit.sdk.test_chat import ASK, STREAM, TOLD, chunk
from tests.unit.sdk.wires import EVENTS, JSON, KEY, Scripted, reaching

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_S = 20.0


@contextmanager
def served() -> Iterator[SimpleNamespace]:
    """A server in a thread of its own. What is asked decides what it answers; `gone` is set when a client left."""
    ready, gone, waiting = threading.Event(), threading.Event(), threading.Event()
    it = SimpleNamespace(gone=gone, waiting=waiting, url="")

    async def departure(responder):
        left = asyncio.Event()
        responder.on_gone(left.set)
        waiting.set()
        await left.wait()

    async def handle(request, responder):
        responder.on_gone(gone.set)
        if b'"refused"' in request.body:
            raise errors.OverLimit("Slow down.", retry_after_s=2.0)
        if b'"silent"' in request.body:
            await departure(responder)
            return
        if b'"stream":true' not in request.body:
            responder.send(
                200, JSON + TOLD, b'{"choices": [{"message": {"role": "assistant", "content": "Hi"}}]}'
            )
            return
        responder.begin(200, EVENTS + TOLD)
        responder.write(chunk("Hel"))
        if b'"endless"' in request.body:
            await departure(responder)
            return
        responder.finish(STREAM.removeprefix(chunk("Hel")))

    async def serve():
        it.stop = asyncio.Event()
        it.loop = asyncio.get_running_loop()
        async with reaching("http", handle) as (transport, _):
            it.url = transport._url
            ready.set()
            await it.stop.wait()

    thread = threading.Thread(target=lambda: uvloop.run(serve()))
    thread.start()
    assert ready.wait(PATIENCE_S)
    try:
        yield it
    finally:
        it.loop.call_soon_threadsafe(it.stop.set)
        thread.join(PATIENCE_S)


@pytest.fixture(scope="module")
def server():
    with served() as it:
        yield it


@pytest.fixture(autouse=True)
def _nothing_yet(server):
    server.gone.clear()
    server.waiting.clear()


@pytest.fixture
def client(server):
    with BlockingClient(server.url, KEY) as client:
        yield client


def threads() -> int:
    """Return how many clients' threads there are."""
    return sum(thread.name == "penstock-client" for thread in threading.enumerate())


def ask(model: str) -> dict:
    return {**ASK, "model": model}


def test_it_answers_whole_and_streamed(client):
    assert client.chat.create(**ASK).text == "Hi"
    with client.chat.stream(**ASK) as stream:
        said = [piece.text for piece in stream]
    assert said == ["Hel", "lo", ""]
    assert (stream.request_id, stream.route, stream.cost_nanos) == ("req_1", "a/m", 18150)
    assert stream.usage.total_tokens == 5


def test_an_error_is_raised_as_the_class_it_was(client):
    with pytest.raises(errors.OverLimit) as refusal:
        client.chat.create(**ask("refused"))
    assert refusal.value.retry_after_s == 2.0
    with pytest.raises(errors.OverLimit), client.chat.stream(**ask("refused")):
        pass


@pytest.mark.parametrize("how", ["with", "close", "client"])
def test_a_stream_that_is_left_is_ended_at_the_server(server, client, how):
    stream = client.chat.stream(**ask("endless"))
    with stream:
        assert next(stream).text == "Hel"
        assert not server.gone.is_set()
        if how == "close":
            stream.close()
        elif how == "client":
            client.close()
        if how != "with":
            assert server.gone.wait(PATIENCE_S)
    assert server.gone.wait(PATIENCE_S)


def test_many_threads_share_one_client_and_one_background(client):
    before = threads()
    said: list[str] = []

    def work() -> None:
        said.append(client.chat.create(**ASK).text)
        with client.chat.stream(**ASK) as stream:
            said.append("".join(piece.text for piece in stream))

    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(PATIENCE_S)
    assert sorted(said) == ["Hello"] * 8 + ["Hi"] * 8
    assert threads() == before


def test_it_works_where_a_loop_runs_already(client):
    async def in_a_notebook() -> str:
        return client.chat.create(**ASK).text

    assert asyncio.run(in_a_notebook()) == "Hi"


def test_under_shares_the_background_and_leaves_it_running(client):
    before = threads()
    with client.under("pens-x") as other:
        assert other.chat.create(**ASK).text == "Hi"
        assert threads() == before
    assert client.chat.create(**ASK).text == "Hi"


def test_closing_ends_the_thread_and_what_waits_in_another(server):
    before = threads()
    client = BlockingClient(server.url, KEY)
    raised: list[BaseException] = []

    def wait() -> None:
        try:
            client.chat.create(**ask("silent"))
        except errors.PenstockError as error:
            raised.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    assert server.waiting.wait(PATIENCE_S)
    client.close()
    waiter.join(PATIENCE_S)
    assert [type(error) for error in raised] == [errors.Unavailable]
    assert threads() == before
    assert server.gone.wait(PATIENCE_S)
    client.close()
    with pytest.raises(errors.Unavailable) as refusal:
        client.chat.create(**ASK)
    assert refusal.value.reason == "client_closed"


def test_a_coroutine_under_way_ends_with_the_background():
    ended, begun = threading.Event(), threading.Event()
    raised: list[BaseException] = []

    async def end() -> None:
        ended.set()

    background = Background(end)

    async def forever() -> None:
        begun.set()
        await asyncio.Event().wait()

    def wait() -> None:
        try:
            background.run(forever())
        except errors.PenstockError as error:
            raised.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    assert begun.wait(PATIENCE_S)
    background.close()
    waiter.join(PATIENCE_S)
    assert not waiter.is_alive()
    assert [error.reason for error in raised] == ["client_closed"]
    assert ended.is_set()


def test_a_background_that_is_collected_on_its_own_thread_ends_all_the_same():
    async def nothing() -> None:
        pass

    background = Background(nothing)

    async def collect() -> None:
        background._stop()

    background.run(collect())
    background._thread.join(PATIENCE_S)
    assert not background._thread.is_alive()


def test_ctrl_c_ends_the_call_at_the_server(server, client):
    def interrupt() -> None:
        server.waiting.wait(PATIENCE_S)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a loop that ended may have left its own
    try:
        threading.Thread(target=interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            client.chat.create(**ask("silent"))
    finally:
        signal.signal(signal.SIGINT, before)
    assert server.gone.wait(PATIENCE_S)
    assert client.chat.create(**ASK).text == "Hi"


def test_a_client_that_was_forgotten_leaves_no_thread(server):
    before = threads()
    client = BlockingClient(server.url, KEY)
    assert client.chat.create(**ASK).text == "Hi"
    assert threads() == before + 1
    del client
    gc.collect()
    assert threads() == before


@pytest.mark.parametrize("forgets", ["", "; del c"])
def test_a_program_that_forgets_its_client_ends_without_a_word(server, forgets):
    made = f"import penstock; c = penstock.BlockingClient({server.url!r}, 'pen-a')"
    code = f"{made}; c.chat.create(**{ASK!r}){forgets}"
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src")}
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=env,
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")


def test_an_address_that_is_none_starts_no_thread():
    before = threads()
    with pytest.raises(errors.Invalid):
        BlockingClient("not a url", KEY)
    assert threads() == before


def test_nothing_shows_the_key(server):
    with BlockingClient(server.url, KEY) as client:
        shown = (
            repr(client) + repr(vars(client)) + repr(vars(client._client)) + repr(client.chat.stream(**ASK))
        )
    assert KEY not in shown


def test_a_client_made_elsewhere_is_used():
    with BlockingClient(client=Client(transport=Scripted([]))) as client:
        assert client.budgets.list() == ()
