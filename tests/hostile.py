"""Providers that stream what no provider should, each with what the caller and the books must see of it.

`whole`: the answer ends as usual; `in-band`: it ends with an error event and no `[DONE]`; `refused`: nothing had left,
so the caller gets a plain 502. `billed` is the usage that must be posted exactly; None asks for a flagged estimate.
Promise: `SCENARIOS` is the whole list; `flood_bytes` scales the endless ones.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from tests.raw_upstream import DONE, FIRST, LAST, Script, Wire, text, usage

KIB, MIB = 1024, 1024 * 1024
PAUSE_S = 0.02
"""Between pieces: what comes in one read with the first content fails before anything has left."""
SAID = b"".join([FIRST, text("The "), text("water "), text("flows.")])
END = LAST + usage(20, 3)
BILLED = (20, 3)


@dataclass(frozen=True)
class Scenario:
    """One provider: what it streams, how the answer must end, and what must be posted."""

    name: str
    script: Script
    ends: str
    billed: tuple[int, int] | None = None


def of(*pieces: bytes, head: bool = True) -> Script:
    """Return a script that sends `pieces` one by one."""

    async def script(wire: Wire) -> None:
        if head:
            await wire.stream()
        for piece in pieces:
            await wire.send(piece)
            await asyncio.sleep(PAUSE_S)

    return script


def endless(before: bytes, piece: bytes, times: int, after: bytes = b"") -> Script:
    """Return a script that sends `piece` so often between two others."""

    async def script(wire: Wire) -> None:
        await wire.stream()
        await wire.send(before)
        await asyncio.sleep(PAUSE_S)
        for _ in range(times):
            await wire.send(piece)
        await wire.send(after)

    return script


def scenarios(flood_bytes: int, comments: int) -> list[Scenario]:
    """Return every scenario; endless lines are `flood_bytes` long, floods of comments have so many."""
    block = b"x" * (64 * KIB)
    flood = flood_bytes // len(block)
    comment = b": still here\n\n" * 1_000
    huge = b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % (b"x" * 2 * MIB)
    return [
        Scenario("a line without end", endless(SAID + b"data: ", block, flood), "in-band"),
        Scenario("a line without end at once", endless(b"data: ", block, flood), "refused"),
        Scenario("an event of 2 MiB", of(SAID, huge, END, DONE), "in-band"),
        Scenario("an event of 2 MiB at once", of(huge, END, DONE), "refused"),
        Scenario(
            "a head without end", of(b"HTTP/1.1 200 OK\r\n", *[b"x: " + block] * 4, head=False), "refused"
        ),
        Scenario("a byte-order mark", of(b"\xef\xbb\xbf" + SAID, END, DONE), "whole", BILLED),
        Scenario("carriage returns", of((SAID + END + DONE).replace(b"\n", b"\r\n")), "whole", BILLED),
        Scenario("bare carriage returns", of((SAID + END + DONE).replace(b"\n", b"\r")), "whole", BILLED),
        Scenario(
            "a flood of comments", endless(SAID, comment, comments // 1_000, END + DONE), "whole", BILLED
        ),
        Scenario(
            "nothing but comments", endless(b"", comment, comments // 1_000, SAID + END + DONE), "refused"
        ),
        Scenario("no end mark", of(SAID, END), "whole", BILLED),
        Scenario("no end at all", of(SAID), "in-band"),
        Scenario(
            "bytes that are not UTF-8", of(SAID, text("?").replace(b"?", b"\xff\xfe"), END, DONE), "in-band"
        ),
        Scenario("a lone surrogate", of(SAID, text("?").replace(b"?", b"\\ud800"), END, DONE), "in-band"),
        Scenario("an event that is no JSON", of(SAID, b"data: {oops\n\n", END, DONE), "in-band"),
        Scenario(
            "JSON a thousand deep", of(SAID, b"data: " + b'{"a":' * 1_000 + b"\n\n", END, DONE), "in-band"
        ),
        Scenario(
            "an error in the middle", of(SAID, b'data: {"error":{"message":"no","code":500}}\n\n'), "in-band"
        ),
        Scenario("usage twice", of(SAID, usage(20, 1), usage(20, 3), LAST, DONE), "whole", BILLED),
        Scenario("usage never", of(SAID, LAST, DONE), "whole"),
        Scenario("usage that goes down", of(SAID, usage(20, 30), END, DONE), "whole"),
        Scenario("usage below zero", of(SAID, LAST, usage(-5, -3), DONE), "whole"),
        Scenario("usage beyond all measure", of(SAID, LAST, usage(2**62, 2**62), DONE), "whole"),
    ]


def script_table(found: list[Scenario]) -> dict[str, Any]:
    """Return the scripts by model name."""
    return {model_of(scenario): scenario.script for scenario in found}


def model_of(scenario: Scenario) -> str:
    """Return the model that meets a scenario."""
    return scenario.name.replace(" ", "-")
