"""Bounding tokens without a vocabulary: how many a request can be at most, and how many a cut answer was at least.

Why a bound is enough: every token of a byte-level BPE vocabulary (all OpenAI, Llama 3, Qwen, Mistral, DeepSeek
models) covers at least one byte, so tokens ≤ bytes of UTF-8. It sizes a *hold*, which the vendor's own usage
replaces at settlement; it is never billed. Vocabularies whose normalisation makes text longer (NFKC turns one
Arabic ligature of 3 bytes into 33) can exceed it on contrived text; the settled amount is right even then.

Promises:

1. A bound is never below what the request can cost in tokens: what is not understood counts at its dearest (a part
   of an unknown type as a whole document), and hiding a picture behind JSON escapes does not help.
2. The bytes of a picture are not text: they are left out, and the picture counts `image_tokens_max`.
3. An estimate of a cut answer carries its bounds and its basis, and is flagged as an estimate by its type.
"""

from __future__ import annotations

import re
from typing import Any, Final, Literal, Protocol, cast

import msgspec

from penstock.kernel.chat import ChatRequest, Image, Media, Other, Part, Reasoning, Text
from penstock.kernel.errors import Invalid
from penstock.kernel.money import MAX_TOKENS

TOKENS_PER_MESSAGE: Final = 8
"""What a chat template puts around one message (role, separators): 3 or 4 at OpenAI, 5 with ChatML; doubled."""
TOKENS_PER_CONVERSATION: Final = 128
"""What it puts around them all, default preambles included (gpt-oss's is the longest known, about 70)."""
TOKENS_FOR_TOOLS: Final = 600
"""The hidden prompt that explains tools to a model, on top of their schemas (Anthropic publishes 264 to 530)."""
IMAGE_TOKENS_MAX: Final = 48_169
"""A picture's most for a model of which nothing is known: the dearest published, gpt-4o-mini's 2833 + 8 × 5667."""
DOCUMENT_TOKENS_MAX: Final = 2_000_000
"""A file's most when no context window bounds it: a compressed page says nothing about its tokens."""
BYTES_PER_TOKEN_MAX: Final = 16
"""A stream whose deltas are longer on average carries several tokens in each; real tokens average 4 bytes."""

_PLAIN_TYPES: Final = frozenset(
    (
        *("text", "input_text", "output_text", "refusal", "thinking"),
        *("function", "custom", "tool_use", "tool_result", "ephemeral"),
    )
)
_PLAIN_TYPE: Final = re.compile(rb'"type"\s*:\s*"(?:' + "|".join(sorted(_PLAIN_TYPES)).encode() + rb')"')
_ESCAPED_ASCII: Final = re.compile(rb"\\u00[2-7]")
_IMAGE_TYPES: Final = frozenset({"image_url", "input_image", "image"})
_IMAGE_KEYS: Final = frozenset({"image_url"})
_AUDIO_TYPES: Final = frozenset({"input_audio"})
_DOCUMENT_KEYS: Final = frozenset(
    {"video_url", "audio_url", "file", "audio", "image_embeds", "image_pil", "input_file", "input_video"}
)


class Tokenizer(Protocol):
    """Exact counting, where a vocabulary exists; served by a helper process, and asked only near a limit."""

    def count(self, model: str, text: str) -> int | None:
        """Return the tokens of `text` for `model`, or None when its vocabulary is not at hand."""
        ...


class Counted(msgspec.Struct, frozen=True, gc=False):
    """Tokens, and whether they are counted (`exact`) or only bounded from above."""

    tokens: int
    exact: bool


class OutputEstimate(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How long a cut answer was, as well as can be known: `lower` ≤ `tokens` ≤ `upper`. Always flagged."""

    tokens: int
    lower: int
    upper: int
    basis: Literal["deltas", "bytes"]
    """What `tokens` was taken from: one token per delta, or one per byte where deltas say too little."""
    estimated: Literal[True] = True


def bound_raw_messages(
    raw: bytes,
    image_tokens_max: int = IMAGE_TOKENS_MAX,
    document_tokens_max: int = DOCUMENT_TOKENS_MAX,
) -> int:
    r"""Bound the input tokens of `messages` as raw JSON bytes, without parsing them when they are only text.

    JSON only lengthens text (`\u00e9` is 6 bytes for 2), so the length of the JSON bounds its text; and the 28 bytes
    of an empty message, `{"role":"user","content":""}`, pay for what a chat template puts around one (≤ 8 tokens).
    Pass the model's `image_tokens_max`, and its context window as `document_tokens_max`,
    where they are known. Raises `Invalid` when pictures are looked for and the JSON is broken.
    """
    bound = len(raw) + TOKENS_PER_CONVERSATION
    return bound if _is_plain(raw) else bound + _media_tokens(raw, image_tokens_max, document_tokens_max)


def bound_raw_tools(raw: bytes) -> int:
    """Bound the input tokens of `tools`, `functions` or a response schema as raw JSON bytes; none cost none."""
    return len(raw) + TOKENS_FOR_TOOLS if raw else 0


def bound_input_tokens(
    request: ChatRequest,
    image_tokens_max: int = IMAGE_TOKENS_MAX,
    document_tokens_max: int = DOCUMENT_TOKENS_MAX,
) -> int:
    """Bound the input tokens of a canonical request: the same promise as `bound_raw_messages`, tools included."""
    tokens = TOKENS_PER_CONVERSATION
    for message in request.messages:
        words = (message.role, message.name, message.tool_call_id, message.refusal)
        tokens += TOKENS_PER_MESSAGE + sum(map(_utf8, words)) + _extras_bytes(message.extras)
        for part in message.content:
            tokens += _part_tokens(part, image_tokens_max, document_tokens_max)
        for call in message.tool_calls:
            tokens += TOKENS_PER_MESSAGE + _utf8(call.id) + _utf8(call.name) + _utf8(call.arguments)
    schemas = 0
    for tool in request.tools:
        schemas += (
            TOKENS_PER_MESSAGE + _utf8(tool.name) + _utf8(tool.description) + _raw_bytes(tool.parameters)
        )
        schemas += _extras_bytes(tool.extras)
    schemas += _raw_bytes(request.response_format)
    return tokens + (schemas + TOKENS_FOR_TOOLS if schemas else 0)


def narrowed(bound: int, limit: int, tokenizer: Tokenizer | None, model: str, text: str) -> Counted:
    """Return an exact count where the bound alone would pass `limit` and a vocabulary is at hand, else the bound.

    Only an exact count (or the vendor) may refuse a request as too long: a bound above the limit proves nothing.
    """
    if bound > limit and tokenizer is not None:
        counted = tokenizer.count(model, text)
        if counted is not None:
            return Counted(min(counted, bound), exact=True)
    return Counted(bound, exact=False)


def estimate_output_tokens(
    text_bytes: int, deltas: int, output_tokens_max: int = MAX_TOKENS
) -> OutputEstimate:
    """Estimate the tokens of an answer whose usage never came.

    `text_bytes` counts the UTF-8 bytes generated (text, reasoning, tool arguments), `deltas` the events that
    carried any of them. Every such delta holds at least one token, every token at least one byte, and no answer is
    longer than it was allowed to be. Token-wise streams are counted by deltas; a stream that sends several tokens
    at a time, or a full reply, by bytes: too much rather than too little, and said so.
    """
    upper = min(max(text_bytes, 0), output_tokens_max)
    lower = min(max(deltas, 0), upper)
    if lower and text_bytes <= deltas * BYTES_PER_TOKEN_MAX:
        return OutputEstimate(tokens=lower, lower=lower, upper=upper, basis="deltas")
    return OutputEstimate(tokens=upper, lower=lower, upper=upper, basis="bytes")


def _is_plain(raw: bytes) -> bool:
    r"""Say whether messages hold nothing but text, by a few searches for bytes, the cheapest and likeliest first.

    Only structure tells: inside a JSON string a quote is escaped, so `"type"` there reads `\"type\"` and is no hit.
    """
    if b"\\" in raw and _ESCAPED_ASCII.search(raw):
        return False  # a letter in disguise may spell "image_url"
    if b'_url"' in raw or b'"audio"' in raw:
        return False  # a link or data to look at; an earlier spoken answer, by reference
    if raw.count(b"[") == 1:
        return True  # one list, the messages themselves: every content is a string
    if b'"image_' in raw:
        return False
    typed = raw.count(b'"type"')
    return (
        typed == raw.count(b'"type":"text"')
        or typed == raw.count(b'"type": "text"')
        or typed == len(_PLAIN_TYPE.findall(raw))
    )


def _media_tokens(raw: bytes, image_tokens_max: int, document_tokens_max: int) -> int:
    """Return what pictures and files add to the length of the JSON; the bytes of pictures are taken off."""
    try:
        pending: list[object] = [msgspec.json.decode(raw)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid("The messages are not JSON.", field="messages", value=str(error)) from error
    tokens = 0
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending.extend(cast("list[object]", node))
        elif isinstance(node, dict):
            part = cast("dict[str, Any]", node)
            kind = part.get("type")
            if isinstance(kind, (dict, list)):
                tokens += document_tokens_max
            elif kind in _IMAGE_TYPES or not _IMAGE_KEYS.isdisjoint(part):
                tokens += image_tokens_max - _picture_bytes(part)
            elif not _DOCUMENT_KEYS.isdisjoint(part) or not _known(kind):
                tokens += document_tokens_max
            else:
                pending.extend(part.values())
    return tokens


def _known(kind: object) -> bool:
    """Say whether a part's type is text, or audio (whose own bytes outnumber its tokens at any usable bit rate)."""
    return kind is None or kind in _PLAIN_TYPES or kind in _AUDIO_TYPES


def _picture_bytes(part: dict[str, Any]) -> int:
    """Return the bytes of base64 in a picture: OpenAI's data URL, or Anthropic's source. A link has none."""
    place = part.get("image_url")
    url = cast("dict[str, object]", place).get("url") if isinstance(place, dict) else place
    if isinstance(url, str):
        return _data_url_bytes(url)
    source = part.get("source")
    data = cast("dict[str, object]", source).get("data") if isinstance(source, dict) else None
    return len(data) if isinstance(data, str) and data.isascii() else 0


def _data_url_bytes(url: str) -> int:
    return len(url) if url.startswith("data:image/") and url.isascii() else 0


def _part_tokens(part: Part, image_tokens_max: int, document_tokens_max: int) -> int:
    match part:
        case Text(text=text):
            return _utf8(text)
        case Reasoning(text=text, signature=signature):
            return _utf8(text) + _utf8(signature)
        case Image(url=url):
            return image_tokens_max + _utf8(url) - _data_url_bytes(url)
        case Media(mime=mime, url=url):
            return _utf8(url) + (0 if mime.startswith("audio/") else document_tokens_max)
        case Other(raw=raw):
            return _raw_bytes(raw) + _media_tokens(bytes(raw), image_tokens_max, document_tokens_max)


def _utf8(text: str) -> int:
    """Return the UTF-8 bytes of a text, encoding it only when it is not ASCII."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _raw_bytes(raw: msgspec.Raw | msgspec.UnsetType) -> int:
    return 0 if isinstance(raw, msgspec.UnsetType) else len(memoryview(raw))


def _extras_bytes(extras: dict[str, msgspec.Raw]) -> int:
    return sum(_utf8(name) + _raw_bytes(raw) for name, raw in extras.items())
