"""A chat request on the OpenAI wire, opened only as far as admission and accounting must see.

Promises
- `open_chat` reads the top level, the scalars that cost money, each message's role and the kinds of its parts; nothing
  else is decoded, so what this file does not know goes to the vendor byte for byte. About 3 µs for a 1 KB body.
- Refusals are `Invalid` and name field, value, limit and remedy. What is not checked here (a tool's schema, a
  response format, unknown members) the vendor accepts or refuses in its own words.
- `render` replaces the model and, when asked, the output limit and `stream_options.include_usage`; every other member
  keeps its bytes. A name given twice never leaves: it is refused on the way in.

Counting bound: a token is at least one byte of the body, so `prompt_bytes` (the body without pictures) is never less
than the prompt's tokens; the syntax around a message outweighs what a chat template adds to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final, Literal, cast

import msgspec
from msgspec import Meta, Raw

from penstock.dialects.strict_json import decode_as, decode_object, refusal
from penstock.kernel.errors import Invalid

MAX_MESSAGES: Final = 20_000
MAX_CHOICES: Final = 128
MAX_MODEL_CHARS: Final = 256
MAX_OUTPUT_TOKENS: Final = 2**31 - 1

Role = Literal["system", "developer", "user", "assistant", "tool", "function"]
OutputLimit = Annotated[int, Meta(ge=1, le=MAX_OUTPUT_TOKENS)]

REMEDIES: Final = {
    "": "See the OpenAI reference of chat completions for this member.",
    "model": f"Name a model this server offers (1 to {MAX_MODEL_CHARS} characters); GET /v1/models lists them.",
    "messages": f"Send 1 to {MAX_MESSAGES} messages, each an object with a role.",
    "role": 'Use "system", "developer", "user", "assistant" or "tool".',
    "content": "Send a string or a list of parts, each an object with a type.",
    "n": f"Ask for 1 to {MAX_CHOICES} choices.",
    "temperature": "Send a number from 0 to 2.",
    "max_tokens": "Send a whole number of at least 1, or leave it out.",
    "max_completion_tokens": "Send a whole number of at least 1, or leave it out.",
    "stream": "Send true or false.",
    "include_usage": "Send true or false.",
    "metadata": "Send an object of strings.",
}


class _Picture(msgspec.Struct, gc=False):
    url: str = ""


class _Part(msgspec.Struct, gc=False):
    type: str
    image_url: _Picture | str | None = None


class _Message(msgspec.Struct, gc=False):
    role: Role
    content: str | list[_Part] | None = None


class _StreamOptions(msgspec.Struct, gc=False):
    include_usage: bool | None = None


class _Scalars(msgspec.Struct, gc=False):
    model: Annotated[str, Meta(min_length=1, max_length=MAX_MODEL_CHARS)]
    messages: Annotated[list[_Message], Meta(min_length=1, max_length=MAX_MESSAGES)]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: OutputLimit | None = None
    max_completion_tokens: OutputLimit | None = None
    n: Annotated[int, Meta(ge=1, le=MAX_CHOICES)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None
    service_tier: str | None = None


_SCALARS: Final = msgspec.json.Decoder(_Scalars)
_OPTIONS: Final = msgspec.json.Decoder(dict[str, Raw])
_encode: Final = msgspec.json.Encoder().encode
_TRUE: Final = Raw(b"true")
_USAGE_ON: Final = Raw(b'{"include_usage":true}')


class ChatEnvelope(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An opened request. `members` are the top-level members as written, in order."""

    body: bytes
    members: dict[str, Raw]
    model: str
    stream: bool
    include_usage: bool
    """The caller asked for the usage chunk of a stream."""
    max_tokens: int | None
    max_completion_tokens: int | None
    n: int
    temperature: float | None
    user: str
    metadata: dict[str, str] | None
    service_tier: str
    message_count: int
    images: int
    """Picture parts in the messages."""
    image_bytes: int
    """Bytes of the pictures' URLs, `data:` ones included; not part of `prompt_bytes`."""
    other_parts: tuple[str, ...]
    """Kinds of parts that are neither text nor pictures nor refusals, each once: "input_audio", "file", …"""

    @property
    def prompt_bytes(self) -> int:
        """Return an upper bound of the prompt's tokens, pictures aside."""
        return len(self.body) - self.image_bytes

    @property
    def output_limit(self) -> int | None:
        """Return the smaller of the two limits the caller gave, None when neither was given."""
        if self.max_tokens is None or self.max_completion_tokens is None:
            return self.max_completion_tokens if self.max_tokens is None else self.max_tokens
        return min(self.max_tokens, self.max_completion_tokens)

    @property
    def dialect(self) -> str:
        """Return the name of its codec."""
        return "openai"

    @property
    def has_tools(self) -> bool:
        """Tell whether the request offers tools."""
        return "tools" in self.members or "functions" in self.members

    @property
    def has_format(self) -> bool:
        """Tell whether the request says what form the answer must have."""
        return "response_format" in self.members

    def asks_for(self, member: str) -> bool:
        """Tell whether the request has a top-level member of this name that is not null."""
        given = self.members.get(member)
        return given is not None and bytes(given) != b"null"

    def texts(self) -> Iterator[str]:
        """Return the words of the messages, piece by piece."""
        waiting: list[object] = [msgspec.json.decode(self.members["messages"])]
        while waiting:
            value = waiting.pop()
            if isinstance(value, list):
                waiting.extend(cast("list[object]", value))
            elif isinstance(value, dict):
                held = cast("dict[str, object]", value)
                waiting.extend(held[name] for name in ("content", "text") if name in held)
            elif isinstance(value, str):
                yield value

    def redirected(self, model: str, output_tokens: int, limit_name: str) -> bytes:
        """Return the request for `model`, with this output limit and usage asked for."""
        return self.render(model, output_tokens, include_usage=True, limit_name=limit_name)

    def raw(self, name: str) -> bytes:
        """Return a member's bytes as written, b"" when it was not given."""
        member = self.members.get(name)
        return b"" if member is None else bytes(member)

    def render(
        self, model: str, max_tokens: int | None = None, *, include_usage: bool = False, limit_name: str = ""
    ) -> bytes:
        """Return the body for the vendor: `model` in place, the rest byte for byte.

        `max_tokens` (None: untouched) replaces the caller's limit; `limit_name` says which member a vendor obeys and
        then only that one is sent; "" keeps the caller's own, or `max_completion_tokens` when there was none.
        `include_usage` turns the usage chunk of a stream on and changes nothing for a reply that is not streamed.
        """
        members = self.members.copy()
        members["model"] = Raw(_encode(model))
        if max_tokens is not None:
            self._clamp(members, Raw(b"%d" % max_tokens), limit_name)
        if include_usage and self.stream and not self.include_usage:
            members["stream_options"] = self._options_with_usage()
        return _encode(members)

    def _clamp(self, members: dict[str, Raw], limit: Raw, limit_name: str) -> None:
        if limit_name:
            members.pop("max_tokens", None)
            members.pop("max_completion_tokens", None)
            members[limit_name] = limit
            return
        if self.max_tokens is not None:
            members["max_tokens"] = limit
        if self.max_completion_tokens is not None or self.max_tokens is None:
            members["max_completion_tokens"] = limit

    def _options_with_usage(self) -> Raw:
        given = self.members.get("stream_options")
        if given is None or bytes(given) == b"null":
            return _USAGE_ON
        return Raw(_encode({**_OPTIONS.decode(given), "include_usage": _TRUE}))


def open_chat(body: bytes) -> ChatEnvelope:
    """Open a chat request. Raises `Invalid` with field, value, limit and remedy."""
    members = decode_object(body)
    try:
        scalars = decode_as(body, _SCALARS)
    except msgspec.ValidationError as error:
        raise refusal(error, body, REMEDIES) from None
    images = image_bytes = 0
    others: tuple[str, ...] = ()
    for message in scalars.messages:
        content = message.content
        if isinstance(content, list):
            few, size, kinds = _count_parts(content)
            images += few
            image_bytes += size
            others += tuple(kind for kind in kinds if kind not in others)
    options = scalars.stream_options
    stream = scalars.stream is True
    if options is not None and not stream:
        raise Invalid(
            "stream_options is for streams only.",
            code="invalid_field",
            field="stream_options",
            remedy='Set "stream": true, or leave stream_options out.',
        )
    return ChatEnvelope(
        body=body,
        members=members,
        model=scalars.model,
        stream=stream,
        include_usage=options is not None and options.include_usage is True,
        max_tokens=scalars.max_tokens,
        max_completion_tokens=scalars.max_completion_tokens,
        n=scalars.n or 1,
        temperature=scalars.temperature,
        user=scalars.user or "",
        metadata=scalars.metadata,
        service_tier=scalars.service_tier or "",
        message_count=len(scalars.messages),
        images=images,
        image_bytes=image_bytes,
        other_parts=others,
    )


def _count_parts(parts: list[_Part]) -> tuple[int, int, list[str]]:
    """Return how many pictures there are, how many bytes their URLs take, and what other kinds of parts."""
    images = size = 0
    kinds: list[str] = []
    for part in parts:
        if part.type == "image_url" or part.image_url is not None:
            images += 1
            picture = part.image_url
            url = picture.url if isinstance(picture, _Picture) else picture or ""
            size += len(url)
        elif part.type not in ("text", "refusal") and part.type not in kinds:
            kinds.append(part.type)
    return images, size, kinds
