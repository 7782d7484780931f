"""The embeddings of the Gemini wire (``:embedContent``, ``:batchEmbedContents``), both ways: bytes and `kernel.embed`.

    one    {content: {parts: [{text}]}, taskType?, title?, outputDimensionality?} → {embedding: {values}, usageMetadata}
    many   {requests: [the same with its model]}                                  → {embeddings: […], usageMetadata}

How they meet: a content of one part is one text; of several, one input of several texts, which only Gemini has words
for. `outputDimensionality` is `dimensions` when every input asks for the same; what else one asks for stays with it.
Promises: `parse_request(render_request(x)) == x` for all that this wire can say, and likewise for replies; what is no
text, or no member of Google's, is refused by its whole path.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, NamedTuple

import msgspec
from msgspec import Meta, Raw

from penstock.dialects.codec import Rendered, untranslatable
from penstock.dialects.embeddings import MAX_DIMENSIONS, MAX_INPUTS, floats_of, packed
from penstock.dialects.gemini_words import MAX_PARTS, NAME, camel_cased
from penstock.dialects.members import ANY, TEXT, Members, check_numbers, raw
from penstock.dialects.nonsense import UNREADABLE, no_reply
from penstock.dialects.strict_json import decode_object, shorten
from penstock.kernel.chat import Extras
from penstock.kernel.embed import EmbedReply, EmbedRequest
from penstock.kernel.errors import Invalid, Upstream

REMEDIES: Final = {
    "": "See the Gemini API reference of embedContent for this member.",
    "requests": f"Send 1 to {MAX_INPUTS} requests, each an object with a content.",
    "content": 'Send an object with parts, like {"parts": [{"text": …}]}.',
    "parts": f'Send 1 to {MAX_PARTS} parts, each an object like {{"text": …}}.',
    "text": "Texts alone are embedded here: send each part as a text.",
    "model": "Name the model of the path, or leave it out.",
    "outputDimensionality": f"Send a whole number from 1 to {MAX_DIMENSIONS}, or leave it out.",
}
_SIZE: Final = "outputDimensionality"
_DIMENSIONS: Final = msgspec.json.Decoder(Annotated[int, Meta(ge=1, le=MAX_DIMENSIONS)])


class _Input(NamedTuple):
    pieces: tuple[str, ...]
    dimensions: int | None
    extras: Extras


# --------------------------------------------------------------------------------------------------- requests


def parse_request(body: bytes, model: str, *, many: bool) -> EmbedRequest:
    """Read a request for the `model` of its path, with one input or `many`. Raises `Invalid`."""
    members = Members(camel_cased(decode_object(body), ""), "", REMEDIES)
    check_numbers(body)
    extras: Extras = {}
    if many:
        items = members.need_items("requests", MAX_INPUTS)
        inputs = [_input(_opened(item, f"requests[{at}]"), model) for at, item in enumerate(items)]
        extras = members.rest()
    else:
        inputs = [_input(members, model)]
    sizes = {each.dimensions for each in inputs}
    shared = len(sizes) == 1
    each = tuple([_own(each, shared=shared) for each in inputs])
    parted = tuple([each.pieces for each in inputs])
    whole = all(len(pieces) == 1 for pieces in parted)
    return EmbedRequest(
        model=model,
        dialect=NAME,
        texts=tuple([pieces[0] for pieces in parted]) if whole else (),
        parted=() if whole else parted,
        dimensions=sizes.pop() if shared else None,
        each=each if any(each) else (),
        extras=extras,
    )


def _own(given: _Input, *, shared: bool) -> Extras:
    """Return what an input asks for besides; its size too, unless every input asks for the same."""
    if shared or given.dimensions is None:
        return given.extras
    return {**given.extras, _SIZE: raw(given.dimensions)}


def _opened(item: Raw, path: str) -> Members:
    return Members(camel_cased(Members.of(item, path, REMEDIES).rest(), path), path, REMEDIES)


def _input(members: Members, model: str) -> _Input:
    named = members.take_text("model").removeprefix("models/")
    if named and named != model:
        raise members.wrong("model", "This is another model than that of the path.", named, model)
    given = members.take_raw("content")
    if given is None:
        raise members.missing("content")
    content = _opened(given, members.at("content"))
    content.take_text("role")  # nobody speaks here
    path = content.at("parts")
    parts = content.need_items("parts", MAX_PARTS)
    pieces = tuple([_text(_opened(part, f"{path}[{at}]")) for at, part in enumerate(parts)])
    _nothing_else(content)
    return _Input(pieces, members.take_optional(_SIZE, _DIMENSIONS), members.rest())


def _text(part: Members) -> str:
    text = part.take_optional("text", TEXT)
    _nothing_else(part)
    if text is None:
        raise part.missing("text")
    return text


def _nothing_else(members: Members) -> None:
    for name, value in members.rest().items():
        told = bytes(value).decode("utf-8", "replace")
        raise Invalid(
            "Texts alone are embedded here.",
            code="invalid_field",
            field=members.at(name),
            value=shorten(told),
            remedy=REMEDIES["text"],
        )


def render_request(request: EmbedRequest) -> Rendered:
    """Return the request for many inputs, however many it has; its `model` must be a resource (``models/…``).

    Raises `Invalid` (``untranslatable``).
    """
    left_out: tuple[str, ...] = ()
    if request.dialect != NAME:
        if request.tokens:
            raise untranslatable("input", "numbers of tokens", NAME, "Send texts.")
        for name, value in request.extras.items():
            raise untranslatable(name, shorten(bytes(value).decode("utf-8", "replace")), NAME)
        left_out = ("user",) if request.user else ()
    inputs = request.parted or tuple([(text,) for text in request.texts])
    shared: dict[str, Any] = {"model": request.model}
    if request.dimensions is not None:
        shared[_SIZE] = request.dimensions
    nothing: Extras = {}
    each = request.each or (nothing,) * len(inputs)
    wire = [
        {**shared, "content": {"parts": [{"text": piece} for piece in pieces]}, **own}
        for pieces, own in zip(inputs, each, strict=True)
    ]
    return Rendered(msgspec.json.encode({"requests": wire, **request.extras}), left_out)


# ---------------------------------------------------------------------------------------------------- replies


class _Embedding(msgspec.Struct, gc=False):
    values: list[float]


class _Usage(msgspec.Struct, gc=False, rename="camel"):
    prompt_token_count: int | None = None


class _Embedded(msgspec.Struct, gc=False, rename="camel"):
    embeddings: list[_Embedding]
    usage_metadata: Raw = Raw(b"null")


_EMBEDDED: Final = msgspec.json.Decoder(_Embedded)
_USAGE: Final = msgspec.json.Decoder(_Usage | None)


def parse_reply(body: bytes, model: str) -> EmbedReply:
    """Read a reply to a request for many inputs of `model`. Raises `Upstream`."""
    try:
        told = _EMBEDDED.decode(body)
        usage = _USAGE.decode(told.usage_metadata)
        tokens = None if usage is None else usage.prompt_token_count
        more = ANY.decode(told.usage_metadata) not in (None, _usage(tokens).get("usageMetadata"))
        return EmbedReply(
            model=model,
            dialect=NAME,
            vectors=tuple([packed(embedding.values) for embedding in told.embeddings]),
            input_tokens=tokens,
            extras={"usageMetadata": told.usage_metadata} if more else {},
        )
    except (*UNREADABLE, Upstream) as error:
        raise no_reply("embeddings", error) from None


def render_reply(reply: EmbedReply, *, many: bool) -> bytes:
    """Return the reply to a request for one input, or for `many`."""
    embeddings = [{"values": floats_of(vector).tolist()} for vector in reply.vectors]
    told: dict[str, Any] = {"embeddings": embeddings} if many else {"embedding": embeddings[0]}
    own = reply.extras if reply.dialect == NAME else {}
    return msgspec.json.encode({**told, **_usage(reply.input_tokens), **own})


def _usage(tokens: int | None) -> dict[str, Any]:
    return {} if tokens is None else {"usageMetadata": {"promptTokenCount": tokens}}
