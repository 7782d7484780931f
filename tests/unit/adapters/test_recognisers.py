"""The recogniser's helper process may crash, hang or lie: callers are told in time, and the next one is served."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from penstock.adapters.recognisers import presidio
from penstock.adapters.recognisers.presidio import TEXT_CHARS_MOST, PresidioRecogniser
from penstock.kernel.errors import Unavailable
from penstock.kernel.findings import Finding
from tests.support import run

ROOT = Path(__file__).parents[3]
PATHS = [str(ROOT), str(ROOT / "src")]
CODE = f"import sys; sys.path[:0] = {PATHS!r}; from tests.recogniser_worker import main; main()"
PERSON = frozenset({"PERSON"})
ANN = [[Finding(5, 8, "PERSON", 0.85)]]


@asynccontextmanager
async def started(languages: tuple[str, ...] = ("en",)) -> AsyncIterator[PresidioRecogniser]:
    """Give a recogniser whose process is the stand-in."""
    recogniser = PresidioRecogniser(languages, command=(sys.executable, "-c", CODE))
    await recogniser.start()
    try:
        yield recogniser
    finally:
        await recogniser.close()


async def again(recogniser: PresidioRecogniser) -> list[list[Finding]]:
    """Ask until the process has been started anew."""
    while True:
        try:
            return await recogniser.find(["I am Ann."], ("en",), PERSON)
        except Unavailable:
            await asyncio.sleep(0.01)


def test_it_says_what_it_can_find_and_finds_it() -> None:
    async def work() -> None:
        async with started() as recogniser:
            assert recogniser.entities == {"PERSON", "UK_NHS"}
            assert recogniser.status == "running, 2 entities; names are found"
            assert await recogniser.find(["I am Ann.", ""], ("en",), PERSON) == [*ANN, []]
        assert "not running" in recogniser.status
        with pytest.raises(Unavailable):
            await recogniser.find(["x"], ("en",), PERSON)

    run(work())


@pytest.mark.parametrize("order", ["crash", "nonsense", "flood"])
def test_a_process_that_fails_is_told_of_and_started_anew(
    order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presidio, "AGAIN_S", 0.01)

    async def work() -> None:
        async with started() as recogniser:
            with pytest.raises(Unavailable, match="failed"):
                await recogniser.find([order], ("en",), PERSON)
            assert await again(recogniser) == ANN
            assert recogniser.starts == 2

    run(work())


def test_a_process_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presidio, "ANSWER_TIMEOUT_S", 0.05)
    monkeypatch.setattr(presidio, "AGAIN_S", 0.01)

    async def work() -> None:
        async with started() as recogniser:
            with pytest.raises(Unavailable, match="TimeoutError"):
                await recogniser.find(["hang"], ("en",), PERSON)
            assert await again(recogniser) == ANN

    run(work())


def test_a_caller_who_gives_up_does_not_get_into_the_next_ones_answer() -> None:
    async def work() -> None:
        async with started() as recogniser:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.03):
                    await recogniser.find(["slow"], ("en",), PERSON)
            assert await recogniser.find(["I am Ann."], ("en",), PERSON) == ANN
            assert recogniser.starts == 1

    run(work())


def test_more_than_may_wait_are_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presidio, "WAITING_MOST", 3)

    async def work() -> list[object]:
        async with started() as recogniser:
            asking = [recogniser.find(["I am Ann."], ("en",), PERSON) for _ in range(5)]
            return list(await asyncio.gather(*asking, return_exceptions=True))

    answers = run(work())
    assert answers[:3] == [ANN] * 3
    assert all(isinstance(each, Unavailable) for each in answers[3:])


@pytest.mark.parametrize(("chars", "fits"), [(TEXT_CHARS_MOST, True), (TEXT_CHARS_MOST + 1, False)])
def test_a_question_beyond_the_bound_is_refused(chars: int, *, fits: bool) -> None:
    async def work() -> None:
        async with started() as recogniser:
            await recogniser.find(["x" * chars], ("en",), PERSON)

    if fits:
        run(work())
    else:
        with pytest.raises(Unavailable, match="too long"):
            run(work())


@pytest.mark.parametrize(("language", "said"), [("mute", "does not start"), ("modelless", "no such model")])
def test_a_process_that_does_not_come_up_is_an_error_at_the_start(language: str, said: str) -> None:
    async def work() -> None:
        async with started((language,)):
            pass

    with pytest.raises(Unavailable, match=said):
        run(work())


def test_without_presidio_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presidio, "find_spec", lambda _name: None)
    with pytest.raises(ModuleNotFoundError, match="presidio_analyzer"):
        PresidioRecogniser()
