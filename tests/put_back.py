"""Personal data on its way to a provider and back, over real sockets: what left, and whether each caller got its own.

    labelled sentence ──▶ gateway (replace) ──▶ provider that echoes, 7 characters a piece ──▶ gateway ──▶ caller

Promise: everything is counted: texts that came back otherwise than they were sent, stand-ins a caller saw, and labelled
spans that the provider was told in the clear (those the patterns miss; `pii_corpus` says which).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from openai import AsyncOpenAI

from penstock.kernel.findings import PATTERN_ENTITIES
from penstock.kernel.settings import PrivacySettings
from tests.echo_upstream import echo
from tests.pii_corpus import Labelled
from tests.stage import stage

MODEL = "echo"
RULES = PrivacySettings(requests=dict.fromkeys(sorted(PATTERN_ENTITIES), "replace"), budget_ms=5_000)


@dataclass(frozen=True, slots=True)
class PutBack:
    """What was seen of `texts` streamed texts with `spans` labelled spans."""

    texts: int
    spans: int
    told_in_the_clear: int
    changed: int
    stand_ins_seen: int


async def put_back(folder: Path, texts: Iterable[Labelled]) -> PutBack:
    """Send each text and read it back, streamed."""
    heard: deque[str] = deque(maxlen=1)
    count = spans = clear = changed = seen = 0
    with echo(heard) as upstream:
        provider = {"base_url": upstream, "models": (MODEL,)}
        async with stage(folder, provider=provider, privacy=(RULES,)) as it:
            caller = await it.caller()
            async with AsyncOpenAI(base_url=it.url, api_key=caller.token, max_retries=0) as client:
                for each in texts:
                    said = await _said(client, each.text)
                    [told] = heard
                    count, spans = count + 1, spans + len(each.spans)
                    clear += sum(each.text[start:end] in told for _, start, end in each.spans)
                    changed += said != each.text
                    seen += said != each.text and any(f"<{entity}_" in said for entity in PATTERN_ENTITIES)
    return PutBack(count, spans, clear, changed, seen)


async def _said(client: AsyncOpenAI, text: str) -> str:
    stream = await client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": text}], stream=True
    )
    return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])
