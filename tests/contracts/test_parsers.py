"""The isolated reader keeps every promise of the parsers port; seeded bugs are caught."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import msgspec
import psutil
import pytest

from penstock.adapters import helper_parent
from penstock.adapters.parsers import isolated
from penstock.adapters.parsers.isolated import IsolatedParser
from penstock.adapters.parsers.reading import Bounds
from penstock.contracts import parsers
from penstock.contracts.parsers import CASES, ParsersHarness
from penstock.kernel.errors import Invalid, Overloaded, Unavailable
from penstock.ports import parsers as port
from tests.contracts.file_harness import first_broken, promises_checked, promises_of
from tests.contracts.not_tried import tried
from tests.support import run

SMALL = Bounds(chars=1_000_000, pages=5, cpu_s=1, pdf_cpu_s=2, memory_bytes=256 << 20, wall_s=30.0)


@asynccontextmanager
async def opened(**given) -> AsyncIterator[IsolatedParser]:
    reader = IsolatedParser(**given)
    try:
        yield reader
    finally:
        await reader.close()


async def on_isolated(case: Callable, folder: Path, *, wall_s: float = SMALL.wall_s) -> None:
    reader = IsolatedParser(bounds=msgspec.structs.replace(SMALL, wall_s=wall_s))

    async def kill() -> None:
        for each in reader._helpers:
            if each.pid is not None:
                os.kill(each.pid, signal.SIGKILL)

    harness = ParsersHarness(
        port=reader,
        advance=asyncio.sleep,
        reopen=lambda: None,
        peer=lambda: None,
        chars_most=SMALL.chars,
        pages_most=SMALL.pages,
        kill=kill,
    )
    try:
        await case(harness)
    finally:
        pids = [each.pid for each in reader._helpers if each.pid is not None]
        await reader.close()
        assert not any(psutil.pid_exists(pid) for pid in pids), "no process is left behind"


@pytest.mark.parametrize(
    "case", [case for _, _, case in CASES.cases], ids=[name for name, _, _ in CASES.cases]
)
def test_isolated(case, tmp_path):
    run(tried("parsers/isolated", case, on_isolated(case, tmp_path)))


def test_every_promise_has_a_case():
    assert promises_checked(CASES) == promises_of(port)


def test_what_is_too_large_never_reaches_a_process(monkeypatch):
    monkeypatch.setattr(isolated, "BYTES_MOST", 3)

    async def case() -> None:
        async with opened() as reader:
            for size, kind in ((4, Invalid), (0, Invalid)):
                with pytest.raises(kind):
                    await reader.parse(b"a" * size, "text/plain")
            assert [each.starts for each in reader._helpers] == [0, 0]
            assert (await reader.parse(b"aaa", "text/plain")).blocks[0].text == "aaa"
            assert sorted(each.starts for each in reader._helpers) == [0, 1], (
                "one is enough while one is asked"
            )
            await reader.close()
            with pytest.raises(Unavailable):
                await reader.parse(b"a", "text/plain")

    run(case())


def test_no_more_wait_than_may_and_who_gives_up_confuses_nobody(monkeypatch):
    monkeypatch.setattr(isolated, "WAITING_MOST", 2)

    async def case() -> None:
        async with opened(at_once=1, bounds=SMALL) as reader:
            asked = [asyncio.ensure_future(reader.parse(b"%d" % n * 9, "text/plain")) for n in range(4)]
            await asyncio.sleep(0)
            with pytest.raises(Overloaded):
                await reader.parse(b"x", "text/plain")
            asked[0].cancel()
            asked[2].cancel()
            with pytest.raises(Overloaded):
                await asked[3]
            assert (await asked[1]).blocks[0].text == "1" * 9
            assert (await reader.parse(b"x", "text/plain")).blocks[0].text == "x"

    run(case())


def test_a_busy_machine_is_not_the_documents_fault():
    """The wall clock ends what the processor's time did not: who asked may ask again."""

    async def case() -> None:
        async with opened(bounds=Bounds(cpu_s=60, wall_s=0.5)) as reader:
            with pytest.raises(Unavailable):
                await reader.parse(*parsers.bombs()["nested HTML"])
            assert (await reader.parse(b"x", "text/plain")).blocks[0].text == "x"

    run(case())


def test_the_kernel_bounds_a_documents_memory():
    """Thirty megabytes of text are no more than may come in, and more than may be worked on in sixty."""

    async def case() -> None:
        async with opened(bounds=Bounds(memory_bytes=60 << 20)) as reader:
            with pytest.raises(Invalid, match="memory") as told:
                await reader.parse(b"a " * (15 << 20), "text/plain")
            assert told.value.reason == "too_large"
            assert (await reader.parse(b"x", "text/plain")).blocks[0].text == "x"

    run(case())


# ------------------------------------------------------------------------------------------------------- seeded bugs

ENCODINGS, STRUCTURE, REFUSALS, BOUNDED, HOSTILE, _, SAME = CASES.cases
SEEDS = {
    "controls stay": (ENCODINGS, "reading.py", 'CONTROLS.sub(" ", text)', "text"),
    "one encoding": (
        ENCODINGS,
        "text.py",
        "encoding = _codec(charset) or _guessed(content)",
        'encoding = "utf-8"',
    ),
    "no charset": (ENCODINGS, "text.py", "_codec(charset) or _guessed(content)", "_guessed(content)"),
    "scripts are text": (STRUCTURE, "html.py", '"script", "style"', '"style"'),
    "the hidden shows": (STRUCTURE, "html.py", 'return "hidden" in attributes', "return False"),
    "levels lost": (STRUCTURE, "markdown.py", "self._level = int(token.tag[1:])", "pass"),
    "pages from 0": (STRUCTURE, "pdf.py", 'kind="page", page=number', 'kind="page", page=number - 1'),
    "comments apart": (STRUCTURE, "code.py", "(above if above is not None and touches else child)", "child"),
    "any bytes are text": (
        REFUSALS,
        "text.py",
        "len(CONTROLS.findall(text)) > CONTROL_SHARE",
        "0 > CONTROL_SHARE",
    ),
    "images are text": (REFUSALS, "kinds.py", 'if major == "text" else None', "if True else None"),
    "characters unbounded": (BOUNDED, "reading.py", "if len(block.text) <= room", "if True"),
    "pages unbounded": (BOUNDED, "pdf.py", "min(count, bounds.pages))\n    if not", "count)\n    if not"),
    "cut in silence": (BOUNDED, "pdf.py", "if count > bounds.pages:", "if False:"),
    "no end of time": (
        HOSTILE,
        "worker.py",
        "resource.setrlimit(resource.RLIMIT_CPU",
        "print(resource.RLIMIT_CPU",
    ),
    "another each time": (SAME, "worker.py", "title=reading.title", "title=str(os.getpid())"),
}


@pytest.mark.parametrize("name", SEEDS)
def test_the_suite_catches(name, monkeypatch, tmp_path):
    case, file, good, bad = SEEDS[name]
    home = Path(isolated.__file__).parents[3]
    text = (home / "penstock/adapters/parsers" / file).read_text()
    assert good in text, "the seed has lost its place"
    overlay(tmp_path / "src", home, file, text.replace(good, bad))
    monkeypatch.setattr(helper_parent, "_HOME", str(tmp_path / "src"))
    assert first_broken([case], tmp_path, partial(on_isolated, wall_s=4.0)), name


def overlay(place: Path, home: Path, file: str, text: str) -> None:
    """Lay out the package again in `place`, all of it links but one file."""
    package = place / "penstock"
    (package / "adapters" / "parsers").mkdir(parents=True)
    for folder in ("", "adapters", "adapters/parsers"):
        for path in (home / "penstock" / folder).iterdir():
            target = package / folder / path.name
            if not target.exists() and not re.match(r"__pycache__", path.name):
                target.symlink_to(path)
    target = package / "adapters" / "parsers" / file
    target.unlink()
    target.write_text(text)
