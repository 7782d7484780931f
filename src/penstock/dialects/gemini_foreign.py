"""What becomes of another dialect's words on their way to Gemini: the one table of what is refused and what left out.

Promise: nothing of a caller's request is lost in silence. What has words in Gemini is translated (the other files do
that); what cannot change an answer is left out and named; everything else is refused by the name its caller gave it.
"""

from __future__ import annotations

import re
from typing import Final

from msgspec import Raw

from penstock.dialects.border import Border, Rules, one_of
from penstock.dialects.gemini_words import NAME
from penstock.kernel.chat import Extras

_NOTES: Final = frozenset({"items", "position"})
"""A codec's own notes of how its wire had it: no caller wrote them, nobody needs them here."""
_REQUEST: Final = Rules(
    ours=_NOTES,
    left_out=frozenset(
        {
            "metadata", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "prompt_cache_options",
            "prediction",  # a guess at the answer, which only makes it faster
            "stream_options",  # obfuscation; usage always comes
            "include", "max_tool_calls",  # of tools the vendor runs, which are refused
            "cache_control", "reasoning.summary", "echo",
        }
    ),
    harmless={
        "store": one_of("false"),
        "background": one_of("false"),
        "service_tier": one_of('"auto"', '"default"', '"standard"', '"standard_only"'),
        "modalities": one_of('["text"]'),
        "verbosity": one_of('"medium"'),
        "text.verbosity": one_of('"medium"'),
        "truncation": one_of('"disabled"'),
        "reasoning.context": one_of('"auto"'),
        "speed": one_of('"standard"'),
        "logit_bias": one_of("{}"),
        "best_of": one_of("1"),
    },
)  # fmt: skip
_MESSAGE: Final = Rules(
    ours=_NOTES,
    left_out=frozenset(
        {
            "annotations", "citations", "reasoning_details", "cache_control", "turn.cache_control", "id", "status",
            "phase",
        }
    ),
)  # fmt: skip
_CALL: Final = Rules(
    ours=_NOTES,
    left_out=frozenset({"index", "item_id", "status", "cache_control"}),
    harmless={"caller": one_of('{"type":"direct"}')},
)
_TOOL: Final = Rules(
    ours=_NOTES,
    left_out=frozenset({"eager_input_streaming"}),
    harmless={
        "defer_loading": one_of("false"),
        "async": one_of("false"),
        "allowed_callers": one_of('["direct"]'),
    },
)
_TIERS: Final = {b'"flex"': Raw(b'"flex"'), b'"priority"': Raw(b'"priority"')}

_PLACE: Final = re.compile(r"^messages\[[0-9]+\]")


class Translation(Border):
    """One request on its way to Gemini. `native`: it was written in Gemini's own words, so all of it has a place."""

    __slots__ = ("native",)

    def __init__(self, caller: str = NAME) -> None:
        """Begin; `caller` is the dialect it was written in."""
        super().__init__(caller, "Gemini")
        self.native = caller == NAME

    def own_request(self, extras: Extras) -> Extras:
        """Return the extras of a request that Gemini has words for. Raises `Invalid` for one that it has not."""
        if self.native:
            return extras
        tier = _TIERS.get(bytes(extras.get("service_tier", b"")))
        if tier is None:
            return self._own(extras, _REQUEST)
        others = {name: value for name, value in extras.items() if name != "service_tier"}
        return {"serviceTier": tier, **self._own(others, _REQUEST)}

    def own_message(self, extras: Extras, at: str) -> Extras:
        """Return the extras of the message at `at`, likewise."""
        return self._own(extras, _MESSAGE, at)

    def own_call(self, extras: Extras, at: str) -> Extras:
        """Return the extras of the tool call at `at`, likewise."""
        return self._own(extras, _CALL, at)

    def own_tool(self, extras: Extras, at: str) -> Extras:
        """Return the extras of the tool at `at`, likewise."""
        return self._own(extras, _TOOL, at)

    def _own(self, extras: Extras, rules: Rules, at: str = "") -> Extras:
        return extras if self.native or not extras else self.extras(extras, rules, at)

    def told(self, path: str) -> str:
        """Return a path as the caller writes it. Only OpenAI's messages stand where ours do: others have no index."""
        if self.caller not in ("openai", NAME):
            path = _PLACE.sub("messages", path)
        return super().told(path)
