"""The one chat message that stands between every client dialect and every provider.

Promise: what a dialect cannot express in these fields is kept in `extras` (raw JSON by name), so no vendor
field is lost in translation; "not given" is `UNSET`, which differs from null. Content is a tuple of parts,
always; a plain string in a dialect is one `Text`. A reply is a sequence of `ChatEvent`; a full reply is a
stream of one.
"""

from __future__ import annotations

import msgspec
from msgspec import UNSET, Raw, UnsetType

from penstock.kernel.money import Usage

Extras = dict[str, Raw]


class Text(msgspec.Struct, frozen=True, tag="text"):
    """Words."""

    text: str


class Image(msgspec.Struct, frozen=True, tag="image"):
    """A picture by URL (``https:`` or ``data:``). `detail` is "auto", "low" or "high"."""

    url: str
    detail: str = "auto"


class Reasoning(msgspec.Struct, frozen=True, tag="reasoning"):
    """What a model thought before it answered. `signature` is opaque and must return unchanged."""

    text: str
    signature: str = ""


class Other(msgspec.Struct, frozen=True, tag="other"):
    """A part this platform does not interpret (audio, file, …), kept as raw JSON of its own dialect."""

    dialect: str
    raw: Raw


Part = Text | Image | Reasoning | Other


class ToolCall(msgspec.Struct, frozen=True):
    """A call the model asks for. `arguments` is JSON text exactly as the model wrote it, valid or not."""

    id: str
    name: str
    arguments: str
    extras: Extras = {}


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One turn. `role` is "system", "developer", "user", "assistant" or "tool"."""

    role: str
    content: tuple[Part, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    name: str = ""
    refusal: str = ""
    extras: Extras = {}


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """A function the model may call; `parameters` is its JSON Schema as raw JSON."""

    name: str
    description: str = ""
    parameters: Raw | UnsetType = UNSET
    strict: bool | UnsetType | None = UNSET
    extras: Extras = {}


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A whole request in canonical form. Raw members are JSON exactly as the caller wrote it."""

    model: str
    messages: tuple[Message, ...]
    stream: bool = False
    include_usage: bool = False
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    n: int = 1
    stop: tuple[str, ...] = ()
    seed: int | None = None
    tools: tuple[Tool, ...] = ()
    tool_choice: Raw | UnsetType = UNSET
    response_format: Raw | UnsetType = UNSET
    user: str = ""
    extras: Extras = {}


class ToolCallDelta(msgspec.Struct, frozen=True):
    """A fragment of a tool call; fragments with one `index` join in order."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


class ChatEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One step of an answer of choice `index`. The last event of a choice carries `finish`; the last of all,
    `usage`.

    `finish` is "stop", "length", "tool_calls", "content_filter" or "error".
    """

    index: int = 0
    role: str = ""
    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()
    finish: str = ""
    usage: Usage | None = None
    extras: Extras = {}


class ChatReply(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer in canonical form: one message and finish reason per choice."""

    id: str
    model: str
    created_s: int
    choices: tuple[Message, ...]
    finishes: tuple[str, ...]
    usage: Usage | None = None
    extras: Extras = {}
