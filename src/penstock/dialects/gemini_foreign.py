"""What becomes of another dialect's words on their way to Gemini: the one table of what is refused and what left out.

Promise: nothing of a caller's request is lost in silence. What has words in Gemini is translated (the other files do
that); what cannot change an answer is left out and named; everything else is refused by the name its caller gave it.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec
from msgspec import Raw

from penstock.dialects.codec import untranslatable
from penstock.dialects.gemini_words import NAME
from penstock.dialects.strict_json import shorten
from penstock.kernel.chat import Extras
from penstock.kernel.errors import Invalid

_ANY: Final[frozenset[bytes]] = frozenset()
_FALSE: Final = frozenset({b"false"})

_HARMLESS: Final[dict[str, dict[str, frozenset[bytes]]]] = {
    # where → member → the values (JSON) that change no answer; `_ANY` when none does
    "request": {
        "metadata": _ANY,  # tags
        "safety_identifier": _ANY,
        "prompt_cache_key": _ANY,
        "prompt_cache_retention": _ANY,
        "prompt_cache_options": _ANY,
        "prediction": _ANY,  # a guess at the answer, which only makes it faster
        "stream_options": _ANY,  # obfuscation; usage always comes
        "cache_control": _ANY,
        "include": _ANY,  # of tools the vendor runs, which are refused
        "max_tool_calls": _ANY,
        "reasoning.summary": _ANY,
        "echo": _ANY,
        "store": _FALSE,
        "background": _FALSE,
        "service_tier": frozenset({b'"auto"', b'"default"', b'"standard"', b'"standard_only"'}),
        "modalities": frozenset({b'["text"]'}),
        "verbosity": frozenset({b'"medium"'}),
        "text.verbosity": frozenset({b'"medium"'}),
        "truncation": frozenset({b'"disabled"'}),
        "reasoning.context": frozenset({b'"auto"'}),
        "speed": frozenset({b'"standard"'}),
        "logit_bias": frozenset({b"{}"}),
        "best_of": frozenset({b"1"}),
    },
    "message": {
        "annotations": _ANY,
        "citations": _ANY,
        "reasoning_details": _ANY,
        "cache_control": _ANY,
        "turn.cache_control": _ANY,
        "id": _ANY,
        "status": _ANY,
        "phase": _ANY,
    },
    "call": {
        "index": _ANY,
        "item_id": _ANY,
        "status": _ANY,
        "cache_control": _ANY,
        "caller": frozenset({b'{"type":"direct"}'}),
    },
    "tool": {
        "eager_input_streaming": _ANY,
        "defer_loading": _FALSE,
        "async": _FALSE,
        "allowed_callers": frozenset({b'["direct"]'}),
    },
}
_NOTES: Final = frozenset({"items", "position"})
"""A codec's own notes of how its wire had it: no caller wrote them, nobody needs them here."""
_POSITION: Final = "position"
"""Where a call of the Anthropic wire stood among the words: that codec's own note."""
_TIERS: Final = {b'"flex"': Raw(b'"flex"'), b'"priority"': Raw(b'"priority"')}

_ALIASES: Final = {
    # (dialect, our field) → as its callers write it, where that is not OpenAI's name
    ("anthropic", "parallel_tool_calls"): "tool_choice.disable_parallel_tool_use",
    ("anthropic", "user"): "metadata.user_id",
    ("anthropic", "stop"): "stop_sequences",
    ("responses", "response_format"): "text.format",
    ("responses", "messages"): "input",
    ("completions", "messages"): "prompt",
}
_PLACE: Final = re.compile(r"messages\[[0-9]+\]")


class Translation:
    """One request on its way to Gemini. `native`: it was written in Gemini's own words, so all of it has a place."""

    __slots__ = ("_left_out", "dialect", "native")

    def __init__(self, dialect: str = NAME) -> None:
        """Begin; `dialect` is the caller's."""
        self.dialect = dialect
        self.native = dialect == NAME
        self._left_out: dict[str, None] = {}

    @property
    def left_out(self) -> tuple[str, ...]:
        """Return what had no place and changes no answer, each once."""
        return tuple(self._left_out)

    def leave_out(self, field: str) -> None:
        """Note that `field` was left out."""
        self._left_out[self._told(field)] = None

    def refused(self, field: str, value: object, remedy: str = "") -> Invalid:
        """Build the refusal of `field`."""
        return untranslatable(self._told(field), shorten(value), "Gemini", remedy)

    def own_request(self, extras: Extras) -> Extras:
        """Return the extras of a request that Gemini has words for. Raises `Invalid` for one that it has not."""
        if self.native:
            return extras
        tier = _TIERS.get(bytes(extras.get("service_tier", b"")))
        if tier is None:
            return self._checked("request", extras, "")
        others = {name: value for name, value in extras.items() if name != "service_tier"}
        return {"serviceTier": tier, **self._checked("request", others, "")}

    def own_message(self, extras: Extras, at: str) -> Extras:
        """Return the extras of the message at `at`, likewise."""
        return self._checked("message", extras, at)

    def own_call(self, extras: Extras, at: str) -> Extras:
        """Return the extras of the tool call at `at`, likewise."""
        return self._checked("call", extras, at)

    def own_tool(self, extras: Extras, at: str) -> Extras:
        """Return the extras of the tool at `at`, likewise."""
        return self._checked("tool", extras, at)

    def _checked(self, where: str, extras: Extras, at: str) -> Extras:
        if self.native or not extras:
            return extras
        harmless = _HARMLESS[where]
        for name, value in extras.items():
            text = msgspec.json.format(bytes(value), indent=-1)
            field = f"{at}.{name}".lstrip(".")
            if text == b"null" or name in _NOTES:
                continue
            if name not in harmless or (harmless[name] and text not in harmless[name]):
                raise self.refused(field, text.decode())
            self.leave_out(field)
        return {}

    def _told(self, field: str) -> str:
        """Return what the caller calls `field`. Only OpenAI's messages stand where ours do: others have no index."""
        if field.startswith("messages[") and self.dialect not in ("openai", NAME):
            field = _PLACE.sub(_ALIASES.get((self.dialect, "messages"), "messages"), field, count=1)
        return _ALIASES.get((self.dialect, field), field)
