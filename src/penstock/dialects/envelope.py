"""A request as the gateway holds it: what admission must know of it, whatever dialect it came in.

Two kinds. `openai_envelope.ChatEnvelope` opens bytes only as far as that, for the dialect most callers speak; `Opened`
stands on the canonical message and serves every other dialect, and every request that something had to look into.

Promise: `prompt_bytes` (pictures aside) is never less than the prompt's tokens: every token covers at least one byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

import msgspec
from msgspec import UNSET

from penstock.dialects.codec import Codec
from penstock.kernel.chat import ChatRequest, Image, Media, Message, Other, Part, Text

_KINDS: Final = (("audio/", "input_audio"), ("video/", "input_video"))
_TEXT: Final = msgspec.json.Decoder(str)


class _Typed(msgspec.Struct, gc=False):
    type: str = "file"


_TYPED: Final = msgspec.json.Decoder(_Typed)


class Envelope(Protocol):
    """An opened request."""

    @property
    def body(self) -> bytes:
        """Return the bytes it came as."""
        ...

    @property
    def dialect(self) -> str:
        """Return the name of its codec."""
        ...

    @property
    def model(self) -> str:
        """Return the model asked for."""
        ...

    @property
    def stream(self) -> bool:
        """Tell whether the answer is to be streamed."""
        ...

    @property
    def include_usage(self) -> bool:
        """Tell whether the caller wants usage in its stream."""
        ...

    @property
    def n(self) -> int:
        """Return how many choices are asked for."""
        ...

    @property
    def temperature(self) -> float | None:
        """Return the temperature, None when not given."""
        ...

    @property
    def user(self) -> str:
        """Return the end user the caller names, "" for none."""
        ...

    @property
    def service_tier(self) -> str:
        """Return the vendor's class of service asked for, "" for none."""
        ...

    @property
    def message_count(self) -> int:
        """Return how many messages there are."""
        ...

    @property
    def images(self) -> int:
        """Return how many pictures the messages hold."""
        ...

    @property
    def other_parts(self) -> tuple[str, ...]:
        """Return the kinds of parts that are neither text nor pictures ("input_audio", "file", …), each once."""
        ...

    @property
    def prompt_bytes(self) -> int:
        """Return an upper bound of the prompt's tokens, pictures aside."""
        ...

    @property
    def output_limit(self) -> int | None:
        """Return the most output tokens the caller wants, None when it named no limit."""
        ...

    @property
    def has_tools(self) -> bool:
        """Tell whether the request offers tools."""
        ...

    @property
    def has_format(self) -> bool:
        """Tell whether the request says what form the answer must have."""
        ...

    def asks_for(self, member: str) -> bool:
        """Tell whether the request has a top-level member of this name that is not null."""
        ...

    def texts(self) -> Iterator[str]:
        """Return the words of the messages, piece by piece."""
        ...

    def redirected(self, model: str, output_tokens: int, limit_name: str) -> bytes:
        """Return the request in its own dialect for `model`, with this output limit and usage asked for."""
        ...


class Opened:
    """A request on the canonical message."""

    __slots__ = ("_codec", "_service_tier", "body", "images", "other_parts", "prompt_bytes", "request")

    def __init__(self, codec: Codec, request: ChatRequest, body: bytes) -> None:
        """Hold `request`, which came as `body` in the words of `codec`."""
        self._codec = codec
        self.request = request
        self.body = body
        self._service_tier = _text(request, "service_tier")
        parts = [part for message in request.messages for part in message.content]
        pictures = [part for part in parts if isinstance(part, Image)]
        self.images = len(pictures)
        self.other_parts = tuple(dict.fromkeys(kind for part in parts if (kind := _kind(part))))
        heavy = sum(len(each.url) for each in pictures)
        self.prompt_bytes = max(len(body) - heavy, 1)

    @property
    def dialect(self) -> str:
        """Return the name of its codec."""
        return self._codec.name

    @property
    def model(self) -> str:
        """Return the model asked for."""
        return self.request.model

    @property
    def stream(self) -> bool:
        """Tell whether the answer is to be streamed."""
        return self.request.stream

    @property
    def include_usage(self) -> bool:
        """Tell whether the caller wants usage in its stream."""
        return self.request.include_usage

    @property
    def n(self) -> int:
        """Return how many choices are asked for."""
        return self.request.n

    @property
    def temperature(self) -> float | None:
        """Return the temperature, None when not given."""
        return self.request.temperature

    @property
    def user(self) -> str:
        """Return the end user the caller names, "" for none."""
        return self.request.user

    @property
    def service_tier(self) -> str:
        """Return the vendor's class of service asked for, "" for none."""
        return self._service_tier

    @property
    def message_count(self) -> int:
        """Return how many messages there are."""
        return len(self.request.messages)

    @property
    def output_limit(self) -> int | None:
        """Return the most output tokens the caller wants, None when it named no limit."""
        return self.request.max_output_tokens

    @property
    def has_tools(self) -> bool:
        """Tell whether the request offers tools."""
        return bool(self.request.tools)

    @property
    def has_format(self) -> bool:
        """Tell whether the request says what form the answer must have."""
        return self.request.response_format is not UNSET

    def asks_for(self, member: str) -> bool:
        """Tell whether the request has an uninterpreted top-level member of this name that is not null."""
        extra = self.request.extras.get(member)
        return extra is not None and bytes(extra) != b"null"

    def texts(self) -> Iterator[str]:
        """Return the words of the messages, piece by piece."""
        return words_of(self.request.messages)

    def redirected(self, model: str, output_tokens: int, limit_name: str) -> bytes:
        """Return the request in its own dialect for `model`, with this output limit and usage asked for."""
        if self._codec.redirect is not None:
            return self._codec.redirect(self.body, model, output_tokens)
        return self._codec.render_request(redirected(self.request, model, output_tokens), limit_name).body


def redirected(request: ChatRequest, model: str, output_tokens: int) -> ChatRequest:
    """Return `request` for `model`, with this output limit, and usage asked for where it is streamed."""
    return msgspec.structs.replace(
        request, model=model, max_output_tokens=output_tokens, include_usage=request.stream
    )


def words_of(messages: tuple[Message, ...]) -> Iterator[str]:
    """Return the texts of `messages`, piece by piece."""
    for message in messages:
        for part in message.content:
            if isinstance(part, Text):
                yield part.text


def _kind(part: Part) -> str:
    """Return the kind of a part as `Envelope.other_parts` names it, "" for text, pictures and reasoning."""
    if isinstance(part, Media):
        return next((kind for start, kind in _KINDS if part.mime.startswith(start)), "file")
    if not isinstance(part, Other):
        return ""
    try:
        return _TYPED.decode(part.raw).type
    except msgspec.DecodeError:
        return "file"


def _text(request: ChatRequest, name: str) -> str:
    """Return an uninterpreted member that is a string, "" when it is absent or is none."""
    raw = request.extras.get(name)
    if raw is None:
        return ""
    try:
        return _TEXT.decode(raw)
    except msgspec.DecodeError:
        return ""
