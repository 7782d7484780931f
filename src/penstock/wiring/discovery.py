"""Providers found by themselves: servers on this machine's usual ports, and vendors whose key is in the
environment.

Promise: finding costs at most `LOOK_S` seconds at start and never fails a start; nothing is called over the
internet: a vendor's models come from the price table, a local server is asked on loopback; what the
configuration names is not found twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from penstock.kernel.settings import ProviderSettings

LOOK_S = 0.5
LOCAL_SERVERS = (("ollama", 11434), ("vllm", 8000))


class Vendor(NamedTuple):
    """A vendor whose key may be found. `address_variable` is what its own SDK reads an address from, "" for none."""

    name: str
    variable: str
    base_url: str
    address_variable: str = ""
    kind: Literal["openai", "anthropic", "gemini"] = "openai"


VENDORS = (
    Vendor("openai", "OPENAI_API_KEY", "https://api.openai.com/v1", "OPENAI_BASE_URL"),
    Vendor("anthropic", "ANTHROPIC_API_KEY", "https://api.anthropic.com", "ANTHROPIC_BASE_URL", "anthropic"),
    Vendor(
        "google", "GEMINI_API_KEY", "https://generativelanguage.googleapis.com/v1beta", "GOOGLE_GEMINI_BASE_URL",
        "gemini",
    ),
    Vendor("mistral", "MISTRAL_API_KEY", "https://api.mistral.ai/v1"),
    Vendor("deepseek", "DEEPSEEK_API_KEY", "https://api.deepseek.com/v1"),
    Vendor("groq", "GROQ_API_KEY", "https://api.groq.com/openai/v1"),
    Vendor("x-ai", "XAI_API_KEY", "https://api.x.ai/v1"),
    Vendor("together", "TOGETHER_API_KEY", "https://api.together.xyz/v1"),
    Vendor("openrouter", "OPENROUTER_API_KEY", "https://openrouter.ai/api/v1"),
)  # fmt: skip


FOUND = "env."
"""How the name of a secret begins that holds a vendor's key found in the environment."""


def found_secrets(env: Mapping[str, str]) -> dict[str, str]:
    """Return the vendors' keys of the environment as the secrets adapter is given its own."""
    return {
        f"PENSTOCK_SECRET_ENV_{each.variable}": env[each.variable]
        for each in VENDORS
        if env.get(each.variable)
    }


async def discover(env: Mapping[str, str], known: Iterable[str]) -> tuple[ProviderSettings, ...]:
    """Return settings for every provider found that `known` does not name."""
    names = set(known)
    found = [
        ProviderSettings(name=name, kind="openai", base_url=f"http://127.0.0.1:{port}/v1", free=True)
        for (name, port), open_ in zip(
            LOCAL_SERVERS, await asyncio.gather(*(_listens(port) for _, port in LOCAL_SERVERS)), strict=True
        )
        if open_ and name not in names
    ]
    found.extend(
        ProviderSettings(
            name=each.name,
            kind=each.kind,
            base_url=env.get(each.address_variable) or each.base_url,
            secret=FOUND + each.variable,
        )
        for each in VENDORS
        if env.get(each.variable) and each.name not in names
    )
    return tuple(found)


async def _listens(port: int) -> bool:
    try:
        async with asyncio.timeout(LOOK_S):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True
