"""A request on its way into a dialect much like OpenAI's: what has no words there is said otherwise, left out, refused.

Such a codec owns a readable table of `Rules` per foreign dialect, its `Customs`, and rewrites a foreign request into
one that its wire can say; rendering itself knows no foreigners. Promise: every member of a request is in exactly one
of three places: in the rewritten request, in `left_out`, or in the `Invalid` that refuses the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from penstock.dialects.border import NO_RULES, Border, Rules
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


class Crossing(Border):
    """One request that crosses into a dialect whose messages are much like OpenAI's."""

    __slots__ = ("_customs",)

    def __init__(self, request: ChatRequest, customs: Customs) -> None:
        """Start with nothing left out."""
        super().__init__(request.dialect, customs.dialect)
        self._customs = customs

    def request_extras(self, extras: Extras) -> Extras:
        """Return those members of a request that go along. Raises `Invalid` for one that cannot."""
        return self._own(extras, self._customs.request)

    def message(self, message: Message) -> Message:
        """Return a message without what is left out. Raises `Invalid` for what cannot be said."""
        extras = dict(message.extras)
        failed = message.role == "tool" and extras.pop("is_error", None) == Raw(b"true")
        parts = tuple([part for part in [self._part(part) for part in message.content] if part is not None])
        return replace(
            message,
            content=_as_error(parts) if failed else parts,
            tool_calls=tuple([self._call(call) for call in message.tool_calls]),
            extras=self._own(extras, self._customs.message, "messages"),
        )

    def tool(self, index: int, tool: Tool) -> Tool:
        """Return the tool at `index`. Raises `Invalid` for one that another vendor runs."""
        path = f"tools[{index}]"
        if tool.cache:
            self.leave(f"{path}.cache")
        if "type" not in tool.extras:
            return replace(tool, cache="", extras=self._own(tool.extras, self._customs.tool, path))
        custom = self._customs.custom_tool(tool) if self.caller in self._customs.relatives else None
        if custom is None:
            remedy = "Leave the tool out, or use a model of the vendor that runs it."
            raise self.refusal(f"{path}.type", tool.name, remedy)
        return custom

    def _call(self, call: ToolCall) -> ToolCall:
        extras = self._own(call.extras, self._customs.call, "messages")
        return replace(call, extras=extras) if call.extras else call

    def _part(self, part: Part) -> Part | None:
        match part:
            case Text(_, "") | Image(_, _, ""):
                return part
            case Text() | Image():
                self.leave("messages.cache")
                return replace(part, cache="")
            case Media():
                return self._media(part)
            case Reasoning():
                self.leave("messages.reasoning")
                return None
            case Other(_, kept):
                raise self.refusal("messages", kept)

    def _media(self, media: Media) -> Media:
        borrowed = media.url.startswith("file:") and self.caller not in self._customs.relatives
        if borrowed or self._customs.render_media(media) is None:
            raise self.refusal("messages", media.mime or media.url, "Send the file as a data: URL.")
        if media.cache:
            self.leave("messages.cache")
        if media.name and media.mime.startswith("audio/"):
            self.leave("messages.name")
        return replace(media, cache="")

    def _own(self, extras: Extras, table: Mapping[str, Rules], path: str = "") -> Extras:
        return self.extras(extras, table.get(self.caller, NO_RULES), path)


def _as_error(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """Return a failed tool's result for a wire without a mark for it: its words begin with "Error"."""
    first = parts[0] if parts else Text("")
    if not isinstance(first, Text):
        return (Text("Error:"), *parts)
    return parts if first.text.lower().startswith("error") else (Text(f"Error: {first.text}"), *parts[1:])
