"""No project's batches and files get in the way of another's.

Promises: a project that waits on its own limit holds nobody up; a project has so many files and open batches and no
more, and is told; what a batch was made of stays until it has ended.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from penstock.gateway import batch_runs, batch_turns
from penstock.gateway.batch_lines import Lines
from penstock.kernel.context import Principal
from penstock.mechanisms.tenancy import KeyDoc
from tests.journeys.test_sdk_batches import begun, ended, journey, line
from tests.stage import Caller, Stage


async def stranger(it: Stage) -> Caller:
    """Return a caller of another project."""
    doc = KeyDoc(id="", mac="", org="acme", team="search", project="other", user="lee")
    made, token = await it.platform.tenancy.create_key(doc)
    return Caller(made.id, token)


def test_a_project_that_waits_on_its_own_limit_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_runs, "LOOK_S", 0.05)

    async def steps(it: Stage, _caller: Caller, client: AsyncOpenAI) -> None:
        slow = await it.caller(rate={"requests_per_minute": 1})
        held = client.with_options(api_key=slow.token)
        many = [await begun(held, [line(f"a{n}"), line(f"b{n}"), line(f"c{n}")]) for n in range(3)]
        other = client.with_options(api_key=(await stranger(it)).token)
        done = await ended(other, await begun(other, [line("quick")]))
        assert (done.status, done.request_counts and done.request_counts.completed) == ("completed", 1)
        assert {(await held.batches.retrieve(each.id)).status for each in many} <= {
            "validating",
            "in_progress",
        }

    journey(tmp_path, steps, batches={"running": 2})


def test_a_turn_begins_with_the_first_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each batch takes longer to be read than a turn lasts: both are answered nevertheless."""
    monkeypatch.setattr(batch_runs, "LOOK_S", 0.05)
    monkeypatch.setattr(batch_turns, "TURN_S", 0.2)
    read = Lines.read

    async def slowly(self: Lines, content: bytes, endpoint: str, principal: Principal) -> Any:
        await asyncio.sleep(0.5)
        return await read(self, content, endpoint, principal)

    monkeypatch.setattr(Lines, "read", slowly)
    kept = Lines.kept

    async def kept_slowly(self: Lines, batch_id: str) -> tuple[dict[int, bool], int]:
        await asyncio.sleep(0.5)
        return await kept(self, batch_id)

    monkeypatch.setattr(Lines, "kept", kept_slowly)

    async def steps(it: Stage, _caller: Caller, client: AsyncOpenAI) -> None:
        other = client.with_options(api_key=(await stranger(it)).token)
        both = [(each, await begun(each, [line("a"), line("b")])) for each in (client, other)]
        for each, batch in both:
            assert (await ended(each, batch)).status == "completed"

    journey(tmp_path, steps, batches={"running": 1})


def test_a_project_has_so_many_open_batches_and_no_more(tmp_path: Path) -> None:
    async def steps(it: Stage, _caller: Caller, client: AsyncOpenAI) -> None:
        slow = await it.caller(rate={"requests_per_minute": 1})
        held = client.with_options(api_key=slow.token)
        first, _ = [await begun(held, [line("a"), line("b"), line("c")]) for _ in range(2)]
        with pytest.raises(openai.RateLimitError, match="unfinished batches") as refused:
            await begun(held, [line("one too many")])
        assert refused.value.code == "too_many_batches"
        other = client.with_options(api_key=(await stranger(it)).token)
        await begun(other, [line("of another project")])
        await held.batches.cancel(first.id)
        await ended(held, first)
        await begun(held, [line("again")])

    journey(tmp_path, steps, batches={"open_per_project": 2})


def test_a_project_has_so_many_files_and_bytes_and_no_more(tmp_path: Path) -> None:
    async def steps(_it: Stage, _caller: Caller, client: AsyncOpenAI) -> None:
        kept = [await client.files.create(file=("a", b"x" * 40), purpose="batch") for _ in range(2)]
        with pytest.raises(openai.RateLimitError, match="more bytes") as refused:
            await client.files.create(file=("c", b"x" * 21), purpose="batch")
        assert refused.value.code == "too_many_files"
        await client.files.create(file=("c", b"x" * 20), purpose="batch")
        with pytest.raises(openai.RateLimitError, match="more files"):
            await client.files.create(file=("d", b""), purpose="batch")
        await client.files.delete(kept[0].id)
        await client.files.create(file=("d", b"x" * 40), purpose="batch")

    journey(tmp_path, steps, batches={"files_per_project": 3, "bytes_per_project": 100})


def test_what_a_batch_is_made_of_stays_until_it_has_ended(tmp_path: Path) -> None:
    async def steps(it: Stage, _caller: Caller, client: AsyncOpenAI) -> None:
        slow = await it.caller(rate={"requests_per_minute": 1})
        held = client.with_options(api_key=slow.token)
        batch = await begun(held, [line("a"), line("b")])
        with pytest.raises(openai.ConflictError, match="has not ended") as refused:
            await held.files.delete(batch.input_file_id)
        assert refused.value.code == "file_in_use"
        await held.batches.cancel(batch.id)
        await ended(held, batch)
        assert (await held.files.delete(batch.input_file_id)).deleted

    journey(tmp_path, steps)
