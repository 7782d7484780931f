"""Messages of the OpenAI wire, both ways: `kernel.chat.Message` and the JSON objects in `messages` and `choices`.

How they meet: a plain string is one `Text`; `file` and `input_audio` parts are `Media`; ``cache_control`` (OpenRouter,
LiteLLM and others) is a part's `cache`; `reasoning_content` (DeepSeek, vLLM and others) is a leading `Reasoning`, and
what that cannot hold (signatures, hidden thoughts, several blocks) stands beside it in `reasoning_details`, in the
words of OpenRouter. A part with members we do not know, and every other part, is an `Other` that keeps its JSON; a tool
call that is not a function's keeps its `type` in `extras`. Unknown members of a message, a call or a call's function
are kept in `extras` (those of the function under ``function.<name>``).
"""

from __future__ import annotations

import re
from typing import Any, Final, Literal

import msgspec
from msgspec import Raw

from penstock.dialects.codec import untranslatable
from penstock.dialects.members import Members, raw
from penstock.kernel.chat import Extras, Image, Media, Message, Other, Part, Reasoning, Text, ToolCall

ROLES: Final = ("system", "developer", "user", "assistant", "tool")
MAX_PARTS: Final = 10_000
MAX_TOOL_CALLS: Final = 1_024

REMEDIES: Final = {
    "": "See the OpenAI reference of chat completions for this member.",
    "role": f"Use one of {', '.join(ROLES)}; for the legacy role 'function' use 'tool'.",
    "content": f"Send a string, or a list of 1 to {MAX_PARTS} parts, each an object with a type.",
    "type": "Name the kind of part: text, image_url, input_audio, file.",
    "url": "Send an https:, http: or data: URL.",
    "detail": "Use auto, low or high.",
    "tool_call_id": "Repeat the id of the tool call this message answers.",
    "tool_calls": f"Send at most {MAX_TOOL_CALLS} calls, each with an id and a function of name and arguments.",
    "arguments": "Send the arguments as JSON text, in a string.",
}
_URLS: Final = ("https://", "http://", "data:")
_DATA: Final = re.compile(r"data:([\w.+-]+/[\w.+-]+);base64,", re.ASCII)
_NOT_FILES: Final = ("audio/", "video/", "image/")
_AUDIO_MIMES: Final = {"mp3": "audio/mpeg"}
_AUDIO_FORMATS: Final = {"audio/mpeg": "mp3", "audio/mp3": "mp3", "audio/x-wav": "wav"}


class _CacheControl(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] = "5m"


_CACHE: Final = msgspec.json.Decoder(_CacheControl)


# --------------------------------------------------------------------------------------------------- parsing


def parse_message(members: Members) -> Message:
    """Read one message. Raises `Invalid` with its path."""
    role = members.need_text("role")
    if role not in ROLES:
        raise members.wrong("role", "This role is not known.", role, ", ".join(ROLES))
    thoughts, unread = _thoughts(members)
    parts = _content(members)
    calls = members.take_items("tool_calls", MAX_TOOL_CALLS)
    answers = members.take_text("tool_call_id")
    if role == "tool" and not answers:
        raise members.missing("tool_call_id")
    if role != "assistant" and not parts:
        raise members.missing("content")
    return Message(
        role=role,
        content=(*thoughts, *parts),
        tool_calls=tuple(
            [
                _tool_call(Members.of(call, f"{members.at('tool_calls')}[{index}]", REMEDIES))
                for index, call in enumerate(calls)
            ]
        ),
        tool_call_id=answers,
        name=members.take_text("name"),
        refusal=members.take_text("refusal"),
        extras={**members.rest(), **unread},
    )


def _thoughts(members: Members) -> tuple[list[Reasoning], Extras]:
    """Return the reasoning, and `reasoning_details` as they are when they say more than a `Reasoning` can hold."""
    words = members.take_text("reasoning_content")
    details = members.take_raw("reasoning_details")
    if details is None:
        return [Reasoning(words)] if words else [], {}
    known = read_details(details)
    if known is None or "".join([each.text for each in known]) != words:
        return [Reasoning(words)] if words else [], {"reasoning_details": details}
    return known, {}


class _Detail(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["reasoning.text", "reasoning.encrypted"]
    index: int = 0
    text: str = ""
    signature: str = ""
    data: str = ""


_DETAILS: Final = msgspec.json.Decoder(list[_Detail])


def read_details(details: Raw) -> list[Reasoning] | None:
    """Return `reasoning_details` as reasoning, None when they say more than that."""
    try:
        return [Reasoning(each.text, each.signature, each.data) for each in _DETAILS.decode(details)]
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _content(members: Members) -> tuple[Part, ...]:
    text = members.take_raw("content")
    if text is None:
        return ()
    first = bytes(text)[:1]
    path = members.at("content")
    if first == b'"':
        holder = Members({"content": text}, members.path, REMEDIES)
        return (Text(holder.need_text("content")),)
    items = Members({"content": text}, members.path, REMEDIES).take_list("content")
    if not items or len(items) > MAX_PARTS:
        raise members.wrong("content", "The list of parts is empty or too long.", len(items or ()), MAX_PARTS)
    return tuple([_part(item, f"{path}[{index}]") for index, item in enumerate(items)])


def _part(text: Raw, path: str) -> Part:
    members = Members.of(text, path, REMEDIES)
    kind = members.need_text("type")
    cache = take_cache(members)
    part: Part | None = None
    if kind == "text":
        part = Text(members.need_text("text"), cache)
    elif kind == "image_url":
        part = _image(members, cache)
    elif kind == "input_audio":
        part = _audio(members.take_object("input_audio"), cache)
    elif kind == "file":
        part = _file(members.take_object("file"), cache)
    return part if part is not None and not members.rest() else Other("openai", Raw(bytes(text)))


def take_cache(members: Members) -> str:
    """Take ``cache_control`` when it is a hint this platform knows: "5m", "1h", or "" for none."""
    given = members.take_raw("cache_control")
    if given is None:
        return ""
    try:
        return _CACHE.decode(given).ttl
    except (msgspec.DecodeError, UnicodeDecodeError):
        members.put_back("cache_control", given)
        return ""


def _image(members: Members, cache: str) -> Image | None:
    picture = members.take_object("image_url")
    if picture is None:
        raise members.missing("image_url")
    url, detail = picture.need_text("url"), picture.take_text("detail", "auto")
    if not url.startswith(_URLS):
        raise picture.wrong("url", "This is no URL of a picture.", url)
    if detail not in ("auto", "low", "high", "original"):
        raise picture.wrong("detail", "This detail is not known.", detail, "auto, low, high")
    return None if picture.rest() or detail == "original" else Image(url, detail, cache)


def _audio(audio: Members | None, cache: str) -> Media | None:
    if audio is None:
        return None
    data, kind = audio.take_text("data"), audio.take_text("format")
    if audio.rest() or not data or not kind.isalnum():
        return None
    mime = _AUDIO_MIMES.get(kind, f"audio/{kind}")
    return Media(mime, f"data:{mime};base64,{data}", cache=cache)


def _file(file: Members | None, cache: str) -> Media | None:
    if file is None:
        return None
    data, file_id, name = file.take_text("file_data"), file.take_text("file_id"), file.take_text("filename")
    if file.rest() or bool(data) == bool(file_id):
        return None
    if file_id:
        return Media("", f"file:{file_id}", name, cache)
    found = _DATA.match(data)
    if found is None or found[1].startswith(_NOT_FILES):
        return None
    return Media(found[1], data, name, cache)


def _tool_call(members: Members) -> ToolCall:
    kind = members.take_text("type", "function")
    body = members.take_object("function" if kind == "function" else kind)
    if body is None:
        raise members.missing("function")
    name = body.need_text("name")
    arguments = body.take_text("arguments" if kind == "function" else "input")
    extras: Extras = {} if kind == "function" else {"type": raw(kind)}
    call_id = members.take_text("id")
    return ToolCall(call_id, name, arguments, {**extras, **members.rest(), **body.rest("function.")})


# ------------------------------------------------------------------------------------------------- rendering


def render_message(message: Message) -> dict[str, Any]:
    """Return one message as the wire's object; reasoning comes first. Raises `Invalid` for what it cannot say."""
    wire: dict[str, Any] = {"role": message.role}
    parts = message.content
    thoughts = [part for part in parts if isinstance(part, Reasoning)]
    if thoughts:
        wire |= _render_thoughts(thoughts)
        parts = tuple([part for part in parts if not isinstance(part, Reasoning)])
    if len(parts) == 1 and isinstance(parts[0], Text) and not parts[0].cache:
        wire["content"] = parts[0].text
    elif parts:
        wire["content"] = [_render_part(part) for part in parts]
    else:
        wire["content"] = None
    if message.tool_calls:
        wire["tool_calls"] = [_render_call(call) for call in message.tool_calls]
    words = {"tool_call_id": message.tool_call_id, "name": message.name, "refusal": message.refusal}
    return {**wire, **{name: value for name, value in words.items() if value}, **message.extras}


def _render_thoughts(thoughts: list[Reasoning]) -> dict[str, Any]:
    wire: dict[str, Any] = {}
    words = "".join([thought.text for thought in thoughts])
    if words:
        wire["reasoning_content"] = words
    if len(thoughts) > 1 or thoughts[0].signature or thoughts[0].redacted:
        wire["reasoning_details"] = [detail(index, thought) for index, thought in enumerate(thoughts)]
    return wire


def detail(index: int, thought: Reasoning) -> dict[str, Any]:
    """Return one entry of `reasoning_details`; `index` is its block's number, by which SDKs join fragments."""
    if thought.redacted:
        return {"type": "reasoning.encrypted", "data": thought.redacted, "index": index}
    entry: dict[str, Any] = {"type": "reasoning.text", "text": thought.text, "index": index}
    return {**entry, "signature": thought.signature} if thought.signature else entry


def _render_part(part: Part) -> object:
    match part:
        case Text(text, cache):
            return _cached({"type": "text", "text": text}, cache)
        case Image(url, detail, cache):
            picture = {"url": url} if detail == "auto" else {"url": url, "detail": detail}
            return _cached({"type": "image_url", "image_url": picture}, cache)
        case Media(mime, _, _, cache):
            wire = render_media(part)
            if wire is None:
                raise untranslatable("messages", mime, "openai")
            return _cached(wire, cache)
        case Other("openai", kept):
            return kept
        case _:
            raise untranslatable("messages", "a part of another dialect", "openai")


def render_media(media: Media) -> dict[str, Any] | None:
    """Return a document or a sound as a part; None for what this wire cannot carry: films, and files by URL."""
    mime, url = media.mime, media.url
    if url.startswith("file:"):
        body = {"file_id": url.removeprefix("file:")}
    elif not url.startswith("data:") or mime.startswith("video/"):
        return None
    elif mime.startswith("audio/"):
        kind = _AUDIO_FORMATS.get(mime, mime.removeprefix("audio/"))
        return {"type": "input_audio", "input_audio": {"data": url.partition(",")[2], "format": kind}}
    else:
        body = {"file_data": url}
    return {"type": "file", "file": {**body, "filename": media.name} if media.name else body}


def render_cache(cache: str) -> dict[str, Any]:
    """Return the members that say a caching hint; none for ""."""
    if not cache:
        return {}
    kind = {"type": "ephemeral"}
    return {"cache_control": kind if cache == "5m" else {**kind, "ttl": cache}}


def _cached(wire: dict[str, Any], cache: str) -> dict[str, Any]:
    return {**wire, **render_cache(cache)} if cache else wire


def _render_call(call: ToolCall) -> dict[str, Any]:
    extras = dict(call.extras)
    kind = msgspec.json.decode(extras.pop("type", b'"function"'), type=str)
    body: dict[str, Any] = {
        "name": call.name,
        ("arguments" if kind == "function" else "input"): call.arguments,
    }
    for name in [name for name in extras if name.startswith("function.")]:
        body[name.removeprefix("function.")] = extras.pop(name)
    return {"id": call.id, "type": kind, kind: body, **extras}
