"""A stage whose simulated provider is spoken to in three wires, for the vendors' SDKs to be customers of.

Promise: the model a customer names decides the wire behind it, and nothing else differs.

    async with three_wires(tmp_path) as it:
        ... AsyncAnthropic(base_url=root(it), api_key=(await it.caller()).token) … model="gemini-wire"
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from penstock.kernel.settings import ProviderSettings, RouteSettings, TargetSettings
from penstock.simulator.server import SimulatorOptions
from tests.stage import Stage, stage

WIRES = ("openai-wire", "anthropic-wire", "gemini-wire")
"""Public model names, each answered over the wire it is named after."""
ORDERS = ("rate_limit", "overloaded", "error_mid_stream;after=40;tokens=60", "cut;after=40;tokens=60")
"""What the simulator can be told to do wrong: the model ``anthropic-wire!overloaded`` is answered so. (The first 16
tokens come in one piece, and what fails within the first piece is no failure of a stream.)"""
_SERVED = ("sim/model", *(f"sim/{order}" for order in ORDERS))
PICTURE = "R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
"""A GIF of one pixel, base64."""


def _providers(url: str) -> tuple[ProviderSettings, ...]:
    root = url.removesuffix("/v1")
    base: dict[str, str] = {"openai": url, "anthropic": root, "gemini": f"{root}/v1beta"}
    return tuple(
        ProviderSettings(name=kind, kind=kind, vendor="sim", base_url=address, models=_SERVED)  # pyright: ignore[reportArgumentType]  # the three kinds by name
        for kind, address in base.items()
    )


def _routes() -> tuple[RouteSettings, ...]:
    return tuple(
        RouteSettings(
            model=wire if model == "sim/model" else f"{wire}!{model.removeprefix('sim/')}",
            targets=(TargetSettings(provider=wire.removesuffix("-wire"), model=model),),
        )
        for wire in WIRES
        for model in _SERVED
    )


@asynccontextmanager
async def three_wires(
    folder: Path, simulator: SimulatorOptions | None = None, **sections: Any
) -> AsyncIterator[Stage]:
    """Put the stage up."""
    sections.setdefault("resilience", {"max_attempts": 1})
    async with stage(folder, simulator=simulator, others=_providers, routes=_routes(), **sections) as it:
        yield it


def root(it: Stage) -> str:
    """Return the address without a version, as Anthropic's and Google's SDKs are given it."""
    return it.url.removesuffix("/v1")
