"""Content blocks of the Anthropic wire, both ways: `kernel.chat` parts, tool calls and tool results.

How they meet
- ``text``, ``image``, ``document``, ``thinking`` and ``redacted_thinking`` are `Text`, `Image`, `Media`, `Reasoning`;
  ``cache_control`` is their `cache`. One with members that those cannot hold, and every other block (search results,
  tools the vendor runs, uploads …), is an `Other` that keeps its JSON.
- The citations of a text are an answer's footnotes, not its words: they stand beside it in the message's extra
  ``citations``, by the number of the part.
- A ``tool_use`` is a `ToolCall`. One that does not stand behind everything the model said has an extra ``position``:
  the number of parts before it.
- A ``tool_result`` is a message of role "tool"; ``is_error`` and what else it has are its extras.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, Final

import msgspec
from msgspec import Raw

from penstock.dialects.codec import untranslatable
from penstock.dialects.members import OBJECT, Members
from penstock.kernel.chat import Extras, Image, Media, Message, Other, Part, Reasoning, Text, ToolCall

NAME: Final = "anthropic"
MAX_BLOCKS: Final = 10_000

REMEDIES: Final = {
    "": "See Anthropic's reference of the Messages API for this member.",
    "model": "Name a model this server offers (1 to 256 characters); GET /v1/models lists them.",
    "messages": "Send 1 to 20000 messages, each an object with a role and content.",
    "role": 'Use "user", "assistant" or "system".',
    "content": f"Send a string, or a list of at most {MAX_BLOCKS} blocks, each an object with a type.",
    "type": "Name the kind of block: text, image, document, tool_use, tool_result, thinking.",
    "max_tokens": "Send a whole number of at least 1: this dialect needs it.",
    "system": "Send a string or a list of text blocks.",
    "stream": "Send true or false.",
    "temperature": "Send a number from 0 to 1.",
    "top_p": "Send a number from 0 to 1.",
    "top_k": "Send a whole number of at least 0.",
    "stop_sequences": "Send a list of at most 256 strings.",
    "tools": "Send at most 1024 tools, each with a name and an input_schema.",
    "input_schema": "Send the JSON Schema of the tool's input, an object.",
    "input": "Send the arguments as an object.",
    "tool_use_id": "Repeat the id of the tool_use block this answers.",
    "budget_tokens": "Send a whole number of at least 1.",
}

_DATA_URL: Final = re.compile(r"data:([\w.+-]+/[\w.+-]+);base64,", re.ASCII)
_WEB: Final = ("https://", "http://")
_PLAIN: Final = Raw(b'{"type":"ephemeral"}')
_NO_CITATIONS: Final = (Raw(b"null"), Raw(b"[]"))


class _CacheControl(msgspec.Struct, forbid_unknown_fields=True):
    type: str
    ttl: str = "5m"


_CACHE: Final = msgspec.json.Decoder(_CacheControl)


# --------------------------------------------------------------------------------------------------- parsing


class Blocks:
    """The blocks of one turn, sorted into what the canonical message keeps apart."""

    __slots__ = ("_calls", "_citations", "_role", "parts", "results")

    def __init__(self, role: str) -> None:
        """Begin; only an assistant calls tools and only a user answers for them."""
        self._role = role
        self._calls: list[tuple[int, ToolCall]] = []
        self._citations: dict[str, Raw] = {}
        self.parts: list[Part] = []
        self.results: list[Message] = []

    @classmethod
    def of(cls, members: Members, role: str, name: str = "content") -> Blocks:
        """Take the member `name`, a string or a list of blocks; nothing when it is absent. Raises `Invalid`."""
        blocks = cls(role)
        given = members.take_raw(name)
        if given is None:
            return blocks
        holder = Members({name: given}, members.path, REMEDIES)
        if bytes(given)[:1] == b'"':
            blocks.parts.append(Text(holder.need_text(name)))
            return blocks
        items = holder.take_items(name, MAX_BLOCKS)
        path = members.at(name)
        for index, item in enumerate(items):
            blocks.take(item, f"{path}[{index}]")
        return blocks

    def take(self, item: Raw, path: str) -> None:
        """Sort one block in. Raises `Invalid`."""
        members = Members.of(item, path, REMEDIES)
        kind = members.need_text("type")
        if kind == "tool_use" and self._role == "assistant":
            self._calls.append((len(self.parts), _call(members)))
        elif kind == "tool_result" and self._role == "user":
            self.results.append(_result(members))
        else:
            self.parts.append(self._part(kind, members, item))

    def _part(self, kind: str, members: Members, item: Raw) -> Part:
        cited = members.take_raw("citations") if kind == "text" else None
        cache = take_cache(members)
        read = _READERS.get(kind)
        part = None if read is None or cache is None else read(members, cache)
        if part is None or members.rest():
            return Other(NAME, Raw(bytes(item)))  # a copy, so that a part does not keep the whole body alive
        if cited is not None and cited not in _NO_CITATIONS:
            self._citations[str(len(self.parts))] = cited
        return part

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """Return the calls in order, each with its position when anything was said after it."""
        said = len(self.parts)
        return tuple(
            [
                call
                if before == said
                else ToolCall(call.id, call.name, call.arguments, _placed(call, before))
                for before, call in self._calls
            ]
        )

    @property
    def extras(self) -> Extras:
        """Return the footnotes of the texts."""
        return {"citations": Raw(msgspec.json.encode(self._citations))} if self._citations else {}


def _placed(call: ToolCall, before: int) -> Extras:
    return {**call.extras, "position": Raw(b"%d" % before)}


def take_cache(members: Members) -> str | None:
    """Take ``cache_control`` and return "" (none), "5m" or "1h"; None when it says anything else."""
    given = members.take_raw("cache_control")
    if given is None:
        return ""
    if given == _PLAIN:
        return "5m"
    try:
        said = _CACHE.decode(given)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return said.ttl if said.type == "ephemeral" and said.ttl in ("5m", "1h") else None


def _text(members: Members, cache: str) -> Part | None:
    return Text(members.need_text("text"), cache)


def _image(members: Members, cache: str) -> Part | None:
    source = _source(members)
    kind = source.need_text("type")
    if kind == "base64":
        url = data_url(source.need_text("media_type"), source.need_text("data"))
    elif kind == "url":
        url = source.need_text("url")
    else:
        return None
    return None if source.rest() else Image(url, cache=cache)


def _document(members: Members, cache: str) -> Part | None:
    source = _source(members)
    kind = source.need_text("type")
    mime = source.take_text("media_type", "application/pdf")
    if kind == "base64":
        url = data_url(mime, source.need_text("data"))
    elif kind == "text":
        url = data_url(mime, base64.b64encode(source.need_text("data").encode()).decode())
    elif kind == "url":
        url = source.need_text("url")
    elif kind == "file":
        mime, url = "", f"file:{source.need_text('file_id')}"
    else:
        return None
    return None if source.rest() else Media(mime, url, members.take_text("title"), cache)


def _thinking(members: Members, cache: str) -> Part | None:
    return None if cache else Reasoning(members.need_text("thinking"), members.take_text("signature"))


def _redacted(members: Members, cache: str) -> Part | None:
    return None if cache else Reasoning("", redacted=members.need_text("data"))


_READERS: Final = {
    "text": _text,
    "image": _image,
    "document": _document,
    "thinking": _thinking,
    "redacted_thinking": _redacted,
}


def _source(members: Members) -> Members:
    source = members.take_object("source")
    if source is None:
        raise members.missing("source")
    return source


def _call(members: Members) -> ToolCall:
    call_id, name = members.need_text("id"), members.need_text("name")
    arguments = members.take_raw("input")
    if arguments is None:
        raise members.missing("input")
    if bytes(arguments)[:1] != b"{":
        raise members.wrong("input", "The input of a tool is an object.", bytes(arguments).decode())
    return ToolCall(call_id, name, bytes(arguments).decode(), members.rest())


def _result(members: Members) -> Message:
    answers = members.need_text("tool_use_id")
    blocks = Blocks.of(members, "tool")
    return Message(
        role="tool",
        content=tuple(blocks.parts),
        tool_call_id=answers,
        extras={**members.rest(), **blocks.extras},
    )


# ------------------------------------------------------------------------------------------------- rendering


def render_parts(parts: tuple[Part, ...], extras: Extras) -> list[Any]:
    """Return `parts` as blocks, with the footnotes found in `extras`. Raises `Invalid` for what has no block."""
    blocks: list[Any] = [render_part(part) for part in parts]
    if "citations" in extras:
        for at, cited in msgspec.json.decode(extras["citations"], type=dict[int, Raw]).items():
            blocks[at]["citations"] = cited
    return blocks


def render_part(part: Part) -> dict[str, Any] | Raw:
    """Return one part as a block. Raises `Invalid` for what has none."""
    match part:
        case Text(text, ""):
            return {"type": "text", "text": text}
        case Text(text, cache):
            return {"type": "text", "text": text, **render_cache(cache)}
        case Image(url, _, cache):
            return {"type": "image", "source": _image_source(url), **render_cache(cache)}
        case Media(mime, url, name, cache):
            if mime.startswith("image/"):
                return {"type": "image", "source": _image_source(url), **render_cache(cache)}
            titled = {"title": name} if name else {}
            return {
                "type": "document",
                "source": _document_source(mime, url),
                **titled,
                **render_cache(cache),
            }
        case Reasoning("", "", redacted) if redacted:
            return {"type": "redacted_thinking", "data": redacted}
        case Reasoning(text, signature, _):
            return {"type": "thinking", "thinking": text, "signature": signature}
        case Other("anthropic", kept):
            return kept
        case Other(_, kept):
            raise untranslatable("messages", bytes(kept).decode("utf-8", "replace")[:80], NAME)


def _image_source(url: str) -> dict[str, str]:
    found = _DATA_URL.match(url)
    if found is not None:
        return {"type": "base64", "media_type": found[1], "data": url[found.end() :]}
    if url.startswith(_WEB):
        return {"type": "url", "url": url}
    raise untranslatable(
        "messages", url[:40], NAME, "Send the picture by an https: URL, or as a base64 data: URL."
    )


def _document_source(mime: str, url: str) -> dict[str, str]:
    found = _DATA_URL.match(url)
    if mime == "application/pdf" and found is not None:
        return {"type": "base64", "media_type": mime, "data": url[found.end() :]}
    if mime == "application/pdf" and url.startswith(_WEB):
        return {"type": "url", "url": url}
    if mime.startswith("text/") and found is not None:
        try:
            words = base64.b64decode(url[found.end() :], validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise untranslatable(
                "messages", mime, NAME, "Send the document's text as UTF-8 in base64."
            ) from None
        return {"type": "text", "media_type": "text/plain", "data": words}
    if url.startswith("file:"):
        return {"type": "file", "file_id": url.removeprefix("file:")}
    raise untranslatable("messages", mime or url[:40], NAME, "Send a PDF, or the document's text.")


def data_url(mime: str, data: str) -> str:
    """Return base64 `data` as a URL."""
    return f"data:{mime};base64,{data}"


def render_cache(cache: str) -> dict[str, Any]:
    """Return the members that say a caching hint; none for ""."""
    if not cache:
        return {}
    kind = {"type": "ephemeral"}
    return {"cache_control": kind if cache == "5m" else {**kind, "ttl": cache}}


def render_calls(blocks: list[Any], calls: tuple[ToolCall, ...], *, lenient: bool = False) -> list[Any]:
    """Put `calls` among the `blocks` of what was said, each where it stood. Raises `Invalid` as `render_call` does."""
    placed = [(_position(call, len(blocks)), render_call(call, lenient=lenient)) for call in calls]
    out: list[Any] = []
    for at in range(len(blocks) + 1):
        out += [wire for position, wire in placed if position == at]
        out += blocks[at : at + 1]
    return out


def _position(call: ToolCall, last: int) -> int:
    given = call.extras.get("position")
    return last if given is None else min(msgspec.json.decode(given, type=int), last)


def render_call(call: ToolCall, *, lenient: bool = False) -> dict[str, Any]:
    """Return a call as a ``tool_use`` block.

    Raises `Invalid` when its arguments are no JSON object; a `lenient` one (a model's answer, which is paid for) has
    such text under ``INVALID_JSON``, as Anthropic advises for what a model got wrong.
    """
    wire: dict[str, Any] = {"type": "tool_use", "id": call.id, "name": call.name}
    wire["input"] = _input(call.arguments)
    if wire["input"] is None:
        if not lenient:
            remedy = "Send arguments that are a JSON object."
            raise untranslatable("messages.tool_calls.function.arguments", call.arguments[:80], NAME, remedy)
        wire["input"] = {"INVALID_JSON": call.arguments}
    return {**wire, **{name: value for name, value in call.extras.items() if name != "position"}}


def _input(arguments: str) -> Raw | None:
    """Return the arguments as written when they are an object, None otherwise; no arguments are an empty object."""
    if not arguments.strip():
        return Raw(b"{}")
    text = arguments.encode()
    try:
        OBJECT.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    return Raw(text)


def render_result(message: Message) -> dict[str, Any]:
    """Return a message of role "tool" as a ``tool_result`` block. Raises `Invalid` as `render_part` does."""
    wire: dict[str, Any] = {"type": "tool_result", "tool_use_id": message.tool_call_id}
    blocks = render_parts(message.content, message.extras)
    if blocks:
        wire["content"] = _short(message.content, blocks)
    others = {
        name: value
        for name, value in message.extras.items()
        if name != "citations" and not name.startswith("turn.")
    }
    return {**wire, **others}


def _short(parts: tuple[Part, ...], blocks: list[Any]) -> object:
    """Return the text alone where the blocks are nothing but one plain text: the wire's own short form."""
    return (
        blocks[0]["text"] if len(blocks) == 1 and type(parts[0]) is Text and len(blocks[0]) == 2 else blocks
    )
