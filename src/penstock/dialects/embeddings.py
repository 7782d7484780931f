"""The embeddings wire of OpenAI, both ways: bytes and `kernel.embed`.

Promises
- `parse_request(render_request(x)) == x`, and likewise for replies, for all that this wire can say. A list of one input
  is written as the input itself, which means the same. What another dialect asks for beyond this wire is refused by
  the name its caller wrote.
- Vectors are float32 all the way: base64 ones are copied, numbers are rounded to the nearest float32 once.
- A refusal is an `Invalid` with path, value, limit and remedy. A vendor's reply that is not one (vectors missing,
  twice, of different lengths, not finite) is an `Upstream` error, ``malformed_reply``.
"""

from __future__ import annotations

import binascii
import math
import struct
import sys
from array import array
from collections.abc import Callable
from itertools import chain
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Raw

from penstock.dialects.codec import Rendered, untranslatable
from penstock.dialects.members import Members, check_numbers
from penstock.dialects.nonsense import UNREADABLE
from penstock.dialects.openai_envelope import MAX_MODEL_CHARS
from penstock.dialects.strict_json import decode_object, shorten
from penstock.kernel.chat import Extras
from penstock.kernel.embed import EmbedReply, EmbedRequest
from penstock.kernel.errors import Invalid, Upstream

NAME: Final = "openai"
MAX_INPUTS: Final = 2_048
MAX_DIMENSIONS: Final = 65_536
MAX_INPUT_TOKENS: Final = 1_000_000
"""Most token numbers in one input."""

REMEDIES: Final = {
    "": "See the OpenAI reference of embeddings for this member.",
    "model": f"Name a model this server offers (1 to {MAX_MODEL_CHARS} characters); GET /v1/models lists them.",
    "input": f"Send a string, token numbers, or a list of 1 to {MAX_INPUTS} of either; none may be empty.",
    "dimensions": f"Send a whole number from 1 to {MAX_DIMENSIONS}, or leave it out.",
    "encoding_format": "Use float or base64.",
}

_Token = Annotated[int, Meta(ge=0, le=2**32 - 1)]
_Text = Annotated[str, Meta(min_length=1)]
_Tokens = Annotated[list[_Token], Meta(min_length=1, max_length=MAX_INPUT_TOKENS)]
_MODEL: Final = msgspec.json.Decoder(Annotated[str, Meta(min_length=1, max_length=MAX_MODEL_CHARS)])
_TEXT: Final = msgspec.json.Decoder(_Text)
_TEXTS: Final = msgspec.json.Decoder(Annotated[list[_Text], Meta(min_length=1, max_length=MAX_INPUTS)])
_FLAT: Final = msgspec.json.Decoder(_Tokens)
_NESTED: Final = msgspec.json.Decoder(Annotated[list[_Tokens], Meta(min_length=1, max_length=MAX_INPUTS)])
_DIMENSIONS: Final = msgspec.json.Decoder(Annotated[int, Meta(ge=1, le=MAX_DIMENSIONS)])
_ENCODING: Final = msgspec.json.Decoder(Literal["float", "base64"])


# --------------------------------------------------------------------------------------------------- requests


def parse_request(body: bytes) -> EmbedRequest:
    """Read a request. Raises `Invalid`."""
    members = Members(decode_object(body), "", REMEDIES)
    check_numbers(body)
    model = members.take("model", _MODEL, "")
    if not model:
        raise members.missing("model")
    texts, tokens = _inputs(members)
    return EmbedRequest(
        model=model,
        texts=texts,
        tokens=tokens,
        dimensions=members.take_optional("dimensions", _DIMENSIONS),
        encoding=members.take("encoding_format", _ENCODING, "float"),
        user=members.take_text("user"),
        extras=members.rest(),
    )


def _inputs(members: Members) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
    given = members.take_raw("input")
    if given is None:
        raise members.missing("input")
    text = bytes(given)
    members.put_back("input", given)
    if text[:1] == b'"':
        return (members.take("input", _TEXT, ""),), ()
    inside = text[1:].lstrip()[:1]
    if inside == b"[":
        return (), tuple([tuple(tokens) for tokens in members.take("input", _NESTED, [])])
    if inside.isdigit():
        return (), (tuple(members.take("input", _FLAT, [])),)
    return tuple(members.take("input", _TEXTS, [])), ()


def render_request(request: EmbedRequest) -> Rendered:
    """Return the request in this wire. Raises `Invalid` (``untranslatable``)."""
    if request.dialect != NAME:
        for name, value in chain(request.extras.items(), *[each.items() for each in request.each]):
            raise untranslatable(name, shorten(bytes(value).decode("utf-8", "replace")), NAME)
        if request.parted:
            raise untranslatable("content.parts", "several", NAME, "Send one part in each content.")
    inputs: tuple[Any, ...] = request.texts or request.tokens
    wire: dict[str, Any] = {
        "model": request.model,
        "input": inputs[0] if len(inputs) == 1 else inputs,
        "encoding_format": request.encoding,
    }
    if request.dimensions is not None:
        wire["dimensions"] = request.dimensions
    if request.user:
        wire["user"] = request.user
    return Rendered(msgspec.json.encode({**wire, **request.extras}))


# ---------------------------------------------------------------------------------------------------- replies


class _Datum(msgspec.Struct, gc=False):
    index: Annotated[int, Meta(ge=0)]
    embedding: str | list[float]


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int | None = None
    total_tokens: int | None = None


_DATA: Final = msgspec.json.Decoder(list[_Datum])
_USAGE: Final = msgspec.json.Decoder(_Usage, strict=False)


def parse_reply(body: bytes) -> EmbedReply:
    """Read a reply; its vectors may come in either encoding and any order. Raises `Upstream`."""
    try:
        members = Members(decode_object(body), "", REMEDIES)
        members.take_text("object")
        usage = members.take_optional("usage", _USAGE)
        return EmbedReply(
            model=members.take_text("model"),
            vectors=_vectors(members),
            input_tokens=None if usage is None else usage.prompt_tokens,
            extras=members.rest(),
        )
    except Invalid as error:
        raise _malformed(error.message, error.field) from None


def _vectors(members: Members) -> tuple[bytes, ...]:
    data = members.take_optional("data", _DATA)
    if data is None:
        raise members.missing("data")
    data.sort(key=lambda datum: datum.index)
    if [datum.index for datum in data] != list(range(len(data))):
        raise _malformed("an index is missing or comes twice", "data")
    vectors = tuple([packed(datum.embedding) for datum in data])
    if len({len(vector) for vector in vectors}) > 1:
        raise _malformed("the vectors differ in length", "data")
    return vectors


def packed(embedding: str | list[float]) -> bytes:
    """Return a vector, numbers or base64, as little-endian float32. Raises `Upstream`."""
    try:
        if isinstance(embedding, str):
            vector = binascii.a2b_base64(embedding, strict_mode=True)
            floats = floats_of(vector)
        else:
            floats = array("f", embedding)
            vector = _ordered(floats).tobytes()
    except (ValueError, OverflowError):
        raise _malformed("a vector is neither numbers nor base64 of whole floats", "data") from None
    if not floats or not all(map(math.isfinite, floats)):
        raise _malformed("a vector is empty or has a number that is not finite", "data")
    return vector


def _ordered(floats: array[float]) -> array[float]:
    """Return `floats` in little-endian order, a copy where this machine has the other."""
    if sys.byteorder == "little":
        return floats
    swapped = array("f", floats)
    swapped.byteswap()
    return swapped


def floats_of(vector: bytes) -> array[float]:
    """Return the numbers of a vector. Raises ValueError when its length is no multiple of four bytes."""
    floats = array("f")
    floats.frombytes(vector)
    return _ordered(floats)


def _malformed(message: str, field: str) -> Upstream:
    return Upstream(
        f"The provider's reply holds no embeddings: {message}", code="malformed_reply", field=field
    )


def render_reply(reply: EmbedReply, encoding: str = "float") -> bytes:
    """Return the reply's bytes, its vectors as "float" (numbers) or "base64" (of their bytes, whatever their type);
    beside those of type int8 stands each one's `scale`.
    """
    return render_around(reply, [render_vectors(reply, encoding, 0, len(reply.vectors))])


def render_vectors(reply: EmbedReply, encoding: str, start: int, stop: int) -> bytes:
    """Return some of the reply's vectors, for whoever renders many without holding up everybody else (a vector of 384
    numbers takes 30 µs).
    """
    written = _WRITERS["base64" if encoding == "base64" else reply.dtype]
    data = [
        {"object": "embedding", "index": index, "embedding": written(vector)}
        for index, vector in enumerate(reply.vectors[start:stop], start)
    ]
    for datum, scale in zip(data, reply.scales[start:stop], strict=False):  # () where the type has none
        datum["scale"] = scale
    return msgspec.json.encode(data)[1:-1]


def render_around(reply: EmbedReply, vectors: list[bytes]) -> bytes:
    """Return the reply's bytes around `vectors`, rendered in order."""
    return msgspec.json.encode(
        {
            "object": "list",
            "data": Raw(b"[%b]" % b",".join(vectors)),
            "model": reply.model,
            **_usage(reply.input_tokens),
            **({"truncated": reply.truncated} if reply.truncated else {}),
            **(reply.extras if reply.dialect == NAME else {}),
        }
    )


def _base64(vector: bytes) -> Raw:
    return Raw(b'"%b"' % binascii.b2a_base64(vector, newline=False))


def _numbers(vector: bytes) -> list[float]:
    return floats_of(vector).tolist()


def _halves(vector: bytes) -> list[float]:
    return list(struct.unpack(f"<{len(vector) // 2}e", vector))


def _signed(vector: bytes) -> list[int]:
    return array("b", vector).tolist()


_WRITERS: Final[dict[str, Callable[[bytes], object]]] = {
    "base64": _base64,
    "float": _numbers,
    "float16": _halves,
    "int8": _signed,
    "binary": _signed,
    "ubinary": list,
}


def _usage(input_tokens: int | None) -> dict[str, Any]:
    if input_tokens is None:
        return {}
    return {"usage": {"prompt_tokens": input_tokens, "total_tokens": input_tokens}}


def told_tokens(extras: Extras) -> int | None:
    """Return the input's tokens by a `usage` as of this wire among `extras`; None where none is told. Some servers tell
    only a total, of a call that has no output.
    """
    given = extras.get("usage")
    if given is None:
        return None
    try:
        usage = _USAGE.decode(given)
    except UNREADABLE:
        return None
    return usage.total_tokens if usage.prompt_tokens is None else usage.prompt_tokens
