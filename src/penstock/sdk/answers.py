"""Chat as the platform answers it: OpenAI's shapes, and what Penstock's headers tell beside them.

Promise: unknown members are ignored; a `Message` of an answer can be sent back as it is in the next request. Money
is in whole nano-dollars.
"""

from __future__ import annotations

import msgspec

from penstock.sdk.people import JsonValue


class Function(msgspec.Struct, frozen=True, kw_only=True):
    """A function the model calls; `arguments` is JSON text as the model wrote it, valid or not."""

    name: str = ""
    arguments: str = ""


class ToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call the model asks for."""

    id: str = ""
    type: str = "function"
    function: Function = Function()


class ToolCallDelta(msgspec.Struct, frozen=True, kw_only=True):
    """A fragment of a tool call; fragments with one `index` join in order."""

    index: int = 0
    id: str = ""
    function: Function = Function()


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a model said. `content` is None when it only calls tools."""

    role: str
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    tool_calls: tuple[ToolCall, ...] | None = None


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """One of the answers. `finish_reason` is e.g. stop, length, tool_calls, content_filter."""

    message: Message
    index: int = 0
    finish_reason: str | None = None
    logprobs: JsonValue = None


class Delta(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a message."""

    role: str | None = None
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    tool_calls: tuple[ToolCallDelta, ...] | None = None


class ChunkChoice(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one of the answers."""

    delta: Delta = Delta()
    index: int = 0
    finish_reason: str | None = None
    logprobs: JsonValue = None


class PromptDetails(msgspec.Struct, frozen=True, kw_only=True):
    """Of the prompt's tokens, those that the vendor had cached."""

    cached_tokens: int | None = None


class CompletionDetails(msgspec.Struct, frozen=True, kw_only=True):
    """Of the answer's tokens, those spent on thinking."""

    reasoning_tokens: int | None = None


class TokenUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of one request."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None


class Completion(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer, as OpenAI's API words it."""

    choices: tuple[Choice, ...]
    id: str = ""
    model: str = ""
    created: int = 0
    usage: TokenUsage | None = None


class Answer(Completion, frozen=True, kw_only=True):
    """A whole answer with what it cost.

    `route` names the back end, `cost_nanos` is None when the reply does not tell; `body` is the reply as it came.
    """

    request_id: str = ""
    route: str = ""
    cost_nanos: int | None = None
    body: bytes = b""

    @property
    def text(self) -> str:
        """What the first choice says, "" for nothing."""
        return (self.choices[0].message.content or "") if self.choices else ""


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of an answer. The last has no choices but `usage`."""

    choices: tuple[ChunkChoice, ...] = ()
    id: str = ""
    model: str = ""
    created: int = 0
    usage: TokenUsage | None = None

    @property
    def text(self) -> str:
        """What it adds to the first choice, "" for nothing."""
        return "".join(choice.delta.content or "" for choice in self.choices if choice.index == 0)
