"""What a request leaves behind on its way into another dialect, and what it is refused for, in its caller's words.

Promise: every extra of a foreign request is kept, in `left_out`, or in the `Invalid` that refuses the whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
from msgspec import Raw

from penstock.dialects.codec import untranslatable
from penstock.dialects.strict_json import shorten
from penstock.kernel.chat import Extras
from penstock.kernel.errors import Invalid

_WORDS: Final[dict[str, dict[str, str]]] = {
    # dialect → field of `ChatRequest` → what its callers call it, where that is another name
    "anthropic": {
        "stop": "stop_sequences",
        "shown": "thinking.display",
        "thinking": "thinking",
        "user": "metadata.user_id",
        "response_format": "output_config.format",
        "cache": "cache_control",
        "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
    },
    "gemini": {
        "messages": "contents",
        "n": "generationConfig.candidateCount",
        "stop": "generationConfig.stopSequences",
        "seed": "generationConfig.seed",
        "temperature": "generationConfig.temperature",
        "top_p": "generationConfig.topP",
        "top_k": "generationConfig.topK",
        "presence_penalty": "generationConfig.presencePenalty",
        "frequency_penalty": "generationConfig.frequencyPenalty",
        "logprobs": "generationConfig.responseLogprobs",
        "top_logprobs": "generationConfig.logprobs",
        "thinking": "generationConfig.thinkingConfig",
        "shown": "generationConfig.thinkingConfig.includeThoughts",
        "response_format": "generationConfig.responseSchema",
        "tool_choice": "toolConfig.functionCallingConfig",
    },
    "responses": {
        "messages": "input",
        "thinking": "reasoning",
        "shown": "reasoning.summary",
        "response_format": "text.format",
        "logprobs": "include",
        "cache": "prompt_cache_breakpoint",
    },
    "completions": {"messages": "prompt"},
    "openai": {"thinking": "reasoning_effort", "cache": "cache_control"},
}
_BLOCKING: Final = re.compile(rb'"threshold"\s*:\s*"(?!BLOCK_NONE"|OFF")')


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of the extras of one foreign dialect. A name in none of these is refused."""

    same: frozenset[str] = frozenset()
    """Means the same here, under the same name."""
    renamed: Mapping[str, str] = {}
    """Means the same here, under another name."""
    ours: frozenset[str] = frozenset()
    """A codec's own note of how its wire had it: no caller wrote it, nobody needs it here."""
    left_out: frozenset[str] = frozenset()
    """Cannot change an answer."""
    harmless: Mapping[str, Callable[[bytes], bool]] = {}
    """Cannot change an answer when its JSON, without spaces, passes this test; refused otherwise."""
    rest: bool = False
    """A name in none of these goes as it is: the two dialects share one vendor's words."""


def one_of(*values: str) -> Callable[[bytes], bool]:
    """Return a test for `Rules.harmless`: the JSON is one of `values`."""
    known = {value.encode() for value in values}
    return lambda raw: msgspec.json.format(raw, indent=-1) in known


def blocks_nothing(settings: bytes) -> bool:
    """Tell whether none of Google's filters (`safetySettings`) is to block; for `Rules.harmless`."""
    return _BLOCKING.search(settings) is None


def word_of(dialect: str, field: str) -> str:
    """Return what callers of `dialect` call a field of `ChatRequest`."""
    return _WORDS.get(dialect, {}).get(field, field)


NO_RULES: Final = Rules()


class Border:
    """One request on its way into another dialect."""

    __slots__ = ("_dialect", "_left", "caller")

    def __init__(self, caller: str, dialect: str) -> None:
        """Tell of what cannot be said in `dialect` in the words of `caller`, the request's own."""
        self.caller = caller
        self._dialect = dialect
        self._left: dict[str, None] = {}

    @property
    def left_out(self) -> tuple[str, ...]:
        """Return what was left out, each name once."""
        return tuple(self._left)

    def told(self, path: str) -> str:
        """Return a path, its steps fields of `ChatRequest` or the caller's own, as the caller writes it."""
        return ".".join([word_of(self.caller, step) for step in path.split(".")])

    def leave(self, path: str) -> None:
        """Note that what stands at `path` is left out."""
        self._left[self.told(path)] = None

    def refusal(self, path: str, value: object, remedy: str = "") -> Invalid:
        """Build the refusal of what cannot be said."""
        shown = bytes(value).decode("utf-8", "replace") if isinstance(value, Raw) else value
        return untranslatable(self.told(path), shorten(shown), self._dialect, remedy)

    def extras(self, extras: Extras, rules: Rules, path: str = "") -> Extras:
        """Return those of `extras` that go along; note those left out. Raises `Invalid` for the rest."""
        kept: Extras = {}
        for name, raw in extras.items():
            if bytes(raw) == b"null":
                continue  # not given
            at = f"{path}.{name}" if path else name
            test = rules.harmless.get(name)
            if name in rules.same:
                kept[name] = raw
            elif name in rules.renamed:
                kept[rules.renamed[name]] = raw
            elif name in rules.left_out or (test is not None and test(bytes(raw))):
                self.leave(at)
            elif rules.rest:
                kept[name] = raw
            elif name not in rules.ours:
                raise self.refusal(at, raw)
        return kept
