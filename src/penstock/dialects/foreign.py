"""A request on its way into another dialect: what has no words there is said otherwise, left out and told, or refused.

A codec owns a readable table of `Rules` per foreign dialect, its `Customs`, and rewrites such a request into one that
its wire can say; rendering itself knows no foreigners. Promise: every member of a request is in exactly one of three
places: in the rewritten request, in `left_out`, or in the `Invalid` that refuses the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from penstock.dialects.codec import untranslatable
from penstock.dialects.strict_json import shorten
from penstock.kernel.chat import (
    ChatRequest,
    Extras,
    Image,
    Media,
    Message,
    Other,
    Part,
    Reasoning,
    Text,
    Tool,
    ToolCall,
)
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


class Customs(msgspec.Struct, frozen=True, kw_only=True):
    """What one dialect lets in: rules by foreign dialect and by what has the extras."""

    dialect: str
    relatives: frozenset[str]
    """Dialects of the same vendor: a file's id is good in each."""
    request: Mapping[str, Rules]
    message: Mapping[str, Rules]
    call: Mapping[str, Rules]
    tool: Mapping[str, Rules]
    render_media: Callable[[Media], object]
    """None for what the wire cannot carry."""
    custom_tool: Callable[[Tool], Tool | None]
    """Rewrites a tool that is no function; None when it is another vendor's."""


_NONE: Final = Rules()


class Crossing:
    """One request that crosses into another dialect."""

    __slots__ = ("_customs", "_from", "_left")

    def __init__(self, request: ChatRequest, customs: Customs) -> None:
        """Start with nothing left out."""
        self._customs = customs
        self._from = request.dialect
        self._left: dict[str, None] = {}

    @property
    def left_out(self) -> tuple[str, ...]:
        """Return what was left out, each name once."""
        return tuple(self._left)

    def word(self, field: str) -> str:
        """Return what the caller calls a field of `ChatRequest`."""
        return _WORDS.get(self._from, {}).get(field, field)

    def leave(self, field: str, path: str = "") -> None:
        """Note that `field` is left out; it stands inside `path`, itself a field of `ChatRequest`, when one is given.

        Messages have no index here: some dialects keep part of a conversation elsewhere, so positions differ.
        """
        self._left[f"{self.word(path)}.{self.word(field)}" if path else self.word(field)] = None

    def refusal(self, field: str, value: object, remedy: str = "") -> Invalid:
        """Build the refusal of what cannot be said."""
        shown = bytes(value).decode("utf-8", "replace") if isinstance(value, Raw) else value
        return untranslatable(self.word(field), shorten(shown), self._customs.dialect, remedy)

    def request_extras(self, extras: Extras) -> Extras:
        """Return those members of a request that go along. Raises `Invalid` for one that cannot."""
        return self._extras(extras, self._customs.request)

    def message(self, message: Message) -> Message:
        """Return a message without what is left out. Raises `Invalid` for what cannot be said."""
        extras = dict(message.extras)
        failed = message.role == "tool" and extras.pop("is_error", None) == Raw(b"true")
        parts = tuple([part for part in [self._part(part) for part in message.content] if part is not None])
        return replace(
            message,
            content=_as_error(parts) if failed else parts,
            tool_calls=tuple([self._call(call) for call in message.tool_calls]),
            extras=self._extras(extras, self._customs.message, "messages"),
        )

    def tool(self, index: int, tool: Tool) -> Tool:
        """Return the tool at `index`. Raises `Invalid` for one that another vendor runs."""
        path = f"tools[{index}]"
        if tool.cache:
            self.leave("cache", path)
        if "type" not in tool.extras:
            return replace(tool, cache="", extras=self._extras(tool.extras, self._customs.tool, path))
        custom = self._customs.custom_tool(tool) if self._from in self._customs.relatives else None
        if custom is None:
            remedy = "Leave the tool out, or use a model of the vendor that runs it."
            raise self.refusal(f"{path}.type", tool.name, remedy)
        return custom

    def _call(self, call: ToolCall) -> ToolCall:
        extras = self._extras(call.extras, self._customs.call, "messages")
        return replace(call, extras=extras) if call.extras else call

    def _part(self, part: Part) -> Part | None:
        match part:
            case Text(_, "") | Image(_, _, ""):
                return part
            case Text() | Image():
                self.leave("cache", "messages")
                return replace(part, cache="")
            case Media():
                return self._media(part)
            case Reasoning():
                self.leave("reasoning", "messages")
                return None
            case Other(_, kept):
                raise self.refusal("messages", kept)

    def _media(self, media: Media) -> Media:
        borrowed = media.url.startswith("file:") and self._from not in self._customs.relatives
        if borrowed or self._customs.render_media(media) is None:
            raise self.refusal("messages", media.mime or media.url, "Send the file as a data: URL.")
        if media.cache:
            self.leave("cache", "messages")
        if media.name and media.mime.startswith("audio/"):
            self.leave("name", "messages")
        return replace(media, cache="")

    def _extras(self, extras: Extras, table: Mapping[str, Rules], path: str = "") -> Extras:
        """Return those of `extras` that go along; note those left out. Raises `Invalid` for the rest."""
        rules = table.get(self._from, _NONE)
        kept: Extras = {}
        for name, raw in extras.items():
            test = rules.harmless.get(name)
            if bytes(raw) == b"null":
                continue  # not given
            if name in rules.same:
                kept[name] = raw
            elif name in rules.renamed:
                kept[rules.renamed[name]] = raw
            elif name in rules.left_out or (
                test is not None and test(msgspec.json.format(bytes(raw), indent=-1))
            ):
                self.leave(name, path)
            elif rules.rest:
                kept[name] = raw
            elif name not in rules.ours:
                raise self.refusal(f"{path}.{name}" if path else name, raw)
        return kept


def _as_error(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """Return a failed tool's result for a wire without a mark for it: its words begin with "Error"."""
    first = parts[0] if parts else Text("")
    if not isinstance(first, Text):
        return (Text("Error:"), *parts)
    return parts if first.text.lower().startswith("error") else (Text(f"Error: {first.text}"), *parts[1:])
