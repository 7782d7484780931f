"""Providers found by themselves: servers on this machine's usual ports, and vendors whose key is in the
environment.

Promise: finding costs at most `LOOK_S` seconds at start and never fails a start; nothing is called over the
internet: a vendor's models come from the price table, a local server is asked on loopback; what the
configuration names is not found twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from penstock.kernel.settings import ProviderSettings

LOOK_S = 0.5
LOCAL_SERVERS = (("ollama", 11434), ("vllm", 8000))
VENDORS = (
    ("openai", "OPENAI_API_KEY", "https://api.openai.com/v1"),
    ("mistral", "MISTRAL_API_KEY", "https://api.mistral.ai/v1"),
    ("deepseek", "DEEPSEEK_API_KEY", "https://api.deepseek.com/v1"),
    ("groq", "GROQ_API_KEY", "https://api.groq.com/openai/v1"),
    ("x-ai", "XAI_API_KEY", "https://api.x.ai/v1"),
    ("together", "TOGETHER_API_KEY", "https://api.together.xyz/v1"),
    ("openrouter", "OPENROUTER_API_KEY", "https://openrouter.ai/api/v1"),
)


FOUND = "env."
"""How the name of a secret begins that holds a vendor's key found in the environment."""


def found_secrets(env: Mapping[str, str]) -> dict[str, str]:
    """Return the vendors' keys of the environment as the secrets adapter is given its own."""
    return {
        f"PENSTOCK_SECRET_ENV_{variable}": env[variable] for _, variable, _ in VENDORS if env.get(variable)
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
            name=name, kind="openai", base_url=_base_url(name, url, env), secret=FOUND + variable
        )
        for name, variable, url in VENDORS
        if env.get(variable) and name not in names
    )
    return tuple(found)


def _base_url(name: str, url: str, env: Mapping[str, str]) -> str:
    """Honour the variable the vendor's own SDK reads."""
    return env.get("OPENAI_BASE_URL", url) if name == "openai" else url


async def _listens(port: int) -> bool:
    try:
        async with asyncio.timeout(LOOK_S):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True
