"""The one chat message that stands between every client dialect and every provider.

Promise: what a dialect cannot express in these fields is kept in `extras` (raw JSON by name, in the words of the
request's own `dialect`), so no vendor field is lost in translation; "not given" is `UNSET` or None, which differs from
null. Content is a tuple of parts, always; a plain string in a dialect is one `Text`. A reply is a sequence of
`ChatEvent`; a full reply is a stream of one. Where several vendors name one thing differently the value here has
OpenAI's shape (`tool_choice`, `response_format`), and every codec translates from and to that.
"""

from __future__ import annotations

import msgspec
from msgspec import UNSET, Raw, UnsetType

from penstock.kernel.money import Usage

Extras = dict[str, Raw]


class Text(msgspec.Struct, frozen=True, tag="text"):
    """Words. `cache` asks the vendor to keep the prompt up to and with this part: "" (no), "5m" or "1h"."""

    text: str
    cache: str = ""


class Image(msgspec.Struct, frozen=True, tag="image"):
    """A picture by URL (``https:`` or ``data:``). `detail` is "auto", "low" or "high"; `cache` as in `Text`."""

    url: str
    detail: str = "auto"
    cache: str = ""


class Media(msgspec.Struct, frozen=True, tag="media"):
    """A document, sound or film by its MIME type and URL (``https:``, ``data:``, or ``file:`` and the vendor's id)."""

    mime: str
    url: str
    name: str = ""
    cache: str = ""


class Reasoning(msgspec.Struct, frozen=True, tag="reasoning"):
    """What a model thought. `signature` is opaque and must return unchanged; so must `redacted`, thoughts that the
    vendor shows to nobody (`text` is empty then).
    """

    text: str
    signature: str = ""
    redacted: str = ""


class Other(msgspec.Struct, frozen=True, tag="other"):
    """A part this platform does not interpret, kept as raw JSON of its own dialect."""

    dialect: str
    raw: Raw


Part = Text | Image | Media | Reasoning | Other


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
    """A function the model may call; `parameters` is its JSON Schema as raw JSON. A tool that the vendor itself runs
    keeps its ``type`` in `extras` and has that as name. `cache` as in `Text`.
    """

    name: str
    description: str = ""
    parameters: Raw | UnsetType = UNSET
    strict: bool | UnsetType | None = UNSET
    cache: str = ""
    extras: Extras = {}


class Thinking(msgspec.Struct, frozen=True, kw_only=True):
    """How much a model may think before it answers. `effort` is "none", "minimal", "low", "medium", "high", "xhigh",
    "max" or "" (not said); `budget_tokens` a bound on it; `shown` whether the caller wants to see it (None: not said).
    """

    effort: str = ""
    budget_tokens: int | None = None
    shown: bool | None = None


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A whole request in canonical form. Raw members are JSON exactly as the caller wrote it. `dialect` says in whose
    words `extras` are.
    """

    model: str
    messages: tuple[Message, ...]
    dialect: str = "openai"
    stream: bool = False
    include_usage: bool = False
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    n: int = 1
    stop: tuple[str, ...] = ()
    seed: int | None = None
    tools: tuple[Tool, ...] = ()
    tool_choice: Raw | UnsetType = UNSET
    parallel_tool_calls: bool | None = None
    response_format: Raw | UnsetType = UNSET
    thinking: Thinking | None = None
    user: str = ""
    extras: Extras = {}


class ToolCallDelta(msgspec.Struct, frozen=True):
    """A fragment of a tool call; fragments with one `index` join in order."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""
    extras: Extras = {}


class ChatEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One step of an answer of choice `index`. The last event of a choice carries `finish`; the last of all,
    `usage`.

    `finish` is "stop", "length", "tool_calls", "content_filter" or "error". `signature` closes the reasoning before it;
    `redacted` is a whole block of hidden reasoning.
    """

    index: int = 0
    role: str = ""
    text: str = ""
    reasoning: str = ""
    signature: str = ""
    redacted: str = ""
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
