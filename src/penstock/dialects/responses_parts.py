"""Parts of the Responses wire, both ways: what stands in the content of an item, and `kernel.chat.Part`.

How they meet: words are `Text`, whoever wrote them; ``prompt_cache_breakpoint`` is a part's `cache` ("5m" when it names
no lifetime, "1h" for half an hour); a picture by a file's id is a `Media` of MIME type ``image/*``. Annotations and log
probabilities take the shape chat completions give them. A part with members we do not know is an `Other`.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec
from msgspec import Raw

from penstock.dialects.codec import untranslatable
from penstock.dialects.members import OBJECT, RAWS, Members, raw
from penstock.dialects.openai_messages import MAX_PARTS
from penstock.dialects.openai_messages import REMEDIES as MESSAGE_REMEDIES
from penstock.kernel.chat import Image, Media, Other, Part, Text

REMEDIES: Final = {
    **MESSAGE_REMEDIES,
    "": "See the OpenAI reference of the Responses API for this member.",
    "role": "Use user, assistant, system or developer.",
    "type": "Name the kind of item or part: message, function_call, function_call_output, input_text, input_image, …",
    "call_id": "Repeat the call_id of the function call.",
    "name": "Give the function a name.",
    "output": "Send a string or a list of parts.",
}
_URLS: Final = ("https://", "http://", "data:")
_AUDIO: Final = {"wav": "audio/wav", "mp3": "audio/mpeg"}
_AUDIO_FORMATS: Final = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/mpeg": "mp3", "audio/mp3": "mp3"}


class _Breakpoint(msgspec.Struct, forbid_unknown_fields=True):
    mode: Literal["explicit"]
    ttl: Literal["", "30m"] = ""


_BREAKPOINT: Final = msgspec.json.Decoder(_Breakpoint)


# --------------------------------------------------------------------------------------------------- parsing


class Content(msgspec.Struct):
    """What stands in one item. `annotations` are those of each text that has some, by its position."""

    parts: list[Part]
    refusal: str = ""
    annotations: dict[int, Raw] = {}
    logprobs: Raw | None = None


def parse_content(members: Members, name: str = "content") -> Content:
    """Take a string or a list of parts. Raises `Invalid` with its path."""
    text = members.take_raw(name)
    if text is None:
        return Content([])
    holder = Members({name: text}, members.path, REMEDIES)
    if bytes(text)[:1] == b'"':
        return Content([Text(holder.need_text(name))])
    items = holder.take_items(name, MAX_PARTS)
    content = Content([])
    for index, item in enumerate(items):
        part = Members.of(item, f"{members.at(name)}[{index}]", REMEDIES)
        kind = part.need_text("type")
        if kind == "refusal":
            content.refusal += part.need_text("refusal")
            continue
        if kind == "output_text":
            _take_notes(part, content)
        content.parts.append(_part(part, kind) or Other("responses", Raw(bytes(item))))
    return content


def _take_notes(part: Members, content: Content) -> None:
    logprobs = part.take_raw("logprobs")
    if logprobs is not None and bytes(logprobs) != b"[]":
        content.logprobs = chat_logprobs(logprobs)
    given = part.take_list("annotations")
    if given:
        content.annotations[len(content.parts)] = raw([chat_annotation(each) for each in given])


def chat_logprobs(flat: Raw) -> Raw:
    """Return log probabilities in the shape of chat completions."""
    return raw({"content": flat, "refusal": None})


def chat_annotation(flat: Raw) -> dict[str, Any]:
    """Return an annotation in the shape of chat completions: its members in an object named by its type."""
    members = OBJECT.decode(flat)
    kind = msgspec.json.decode(members.pop("type", b'""'), type=str)
    return {"type": kind, kind: members}


def flat_annotations(nested: Raw) -> list[Any]:
    """Return annotations of chat completions in the shape of this wire."""
    flat: list[Any] = []
    for each in RAWS.decode(nested):
        members = OBJECT.decode(each)
        kind = msgspec.json.decode(members.get("type", b'""'), type=str)
        body = members.get(kind)
        flat.append(each if body is None else {"type": kind, **OBJECT.decode(body)})
    return flat


def _part(part: Members, kind: str) -> Part | None:
    """Return a part that is understood whole, None for any other."""
    cache = _cache(part)
    found: Part | None = None
    if kind in ("input_text", "output_text", "text"):
        found = Text(part.need_text("text"), cache)
    elif kind == "input_image":
        found = _image(part, cache)
    elif kind == "input_file":
        found = _file(part, cache)
    elif kind == "input_audio":
        found = _audio(part, cache)
    return None if part.rest() else found


def _cache(part: Members) -> str:
    given = part.take_raw("prompt_cache_breakpoint")
    if given is None:
        return ""
    try:
        return "1h" if _BREAKPOINT.decode(given).ttl else "5m"
    except (msgspec.DecodeError, UnicodeDecodeError):
        part.put_back("prompt_cache_breakpoint", given)
        return ""


def _image(part: Members, cache: str) -> Part | None:
    url, file_id, detail = (
        part.take_text("image_url"),
        part.take_text("file_id"),
        part.take_text("detail", "auto"),
    )
    if detail not in ("auto", "low", "high") or bool(url) == bool(file_id):
        return None
    if file_id:
        return Media("image/*", f"file:{file_id}", cache=cache) if detail == "auto" else None
    if not url.startswith(_URLS):
        raise part.wrong("image_url", "This is no URL of a picture.", url)
    return Image(url, detail, cache)


def _file(part: Members, cache: str) -> Media | None:
    data, file_id, url = part.take_text("file_data"), part.take_text("file_id"), part.take_text("file_url")
    name = part.take_text("filename")
    if bool(data) + bool(file_id) + bool(url) != 1:
        return None
    if file_id:
        return Media("", f"file:{file_id}", name, cache)
    if url:
        return Media("", url, name, cache) if url.startswith("https://") else None
    mime = data[5 : data.find(";")] if data.startswith("data:") and ";base64," in data else ""
    return Media(mime, data, name, cache) if mime and not mime.startswith(("audio/", "image/")) else None


def _audio(part: Members, cache: str) -> Media | None:
    audio = part.take_object("input_audio")
    if audio is None:
        return None
    data, kind = audio.take_text("data"), audio.take_text("format")
    if audio.rest() or kind not in _AUDIO:
        return None
    return Media(_AUDIO[kind], f"data:{_AUDIO[kind]};base64,{data}", cache=cache)


# ------------------------------------------------------------------------------------------------- rendering


def render_text(words: Text, annotations: Raw | None, logprobs: Raw | None) -> dict[str, Any]:
    """Return words an assistant wrote; the notes have the shape of chat completions."""
    notes = [] if annotations is None else flat_annotations(annotations)
    wire = _cached({"type": "output_text", "text": words.text, "annotations": notes}, words.cache)
    return wire if logprobs is None else {**wire, "logprobs": flat_logprobs(logprobs)}


class _Odds(msgspec.Struct):
    content: Raw = Raw(b"null")


_ODDS: Final = msgspec.json.Decoder(_Odds)


def flat_logprobs(odds: Raw) -> list[Raw]:
    """Return the log probabilities of the words of a choice, token by token; none when there are none."""
    try:
        content = _ODDS.decode(odds).content
        return [] if bytes(content) == b"null" else RAWS.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return []


def render_parts(parts: tuple[Part, ...]) -> object:
    """Return parts that are no assistant's words. Raises `Invalid` for one of another dialect."""
    if len(parts) == 1 and isinstance(parts[0], Text) and not parts[0].cache:
        return parts[0].text
    return [render_part(part) for part in parts]


def render_part(part: Part) -> object:
    """Return one such part. Raises `Invalid` likewise."""
    match part:
        case Text(text, cache):
            return _cached({"type": "input_text", "text": text}, cache)
        case Image(url, detail, cache):
            return _cached({"type": "input_image", "image_url": url, "detail": detail}, cache)
        case Media(mime, _, _, cache):
            wire = render_media(part)
            if wire is None:
                raise untranslatable("messages", mime, "responses")
            return _cached(wire, cache)
        case Other("responses", kept):
            return kept
        case _:
            raise untranslatable("messages", "a part of another dialect", "responses")


def render_media(media: Media) -> dict[str, Any] | None:
    """Return a document or a sound as a part; None for what this wire cannot carry: films, and sounds by URL."""
    mime, url = media.mime, media.url
    if mime.startswith(("audio/", "video/")):
        kind = _AUDIO_FORMATS.get(mime)
        if kind is None or not url.startswith("data:"):
            return None
        return {"type": "input_audio", "input_audio": {"data": url.partition(",")[2], "format": kind}}
    if url.startswith("file:") and mime == "image/*":
        return {"type": "input_image", "file_id": url.removeprefix("file:")}
    if url.startswith("file:"):
        body = {"file_id": url.removeprefix("file:")}
    else:
        body = {"file_data": url} if url.startswith("data:") else {"file_url": url}
    return {"type": "input_file", **body, **({"filename": media.name} if media.name else {})}


def _cached(wire: dict[str, Any], cache: str) -> dict[str, Any]:
    if not cache:
        return wire
    mark = {"mode": "explicit"} if cache == "5m" else {"mode": "explicit", "ttl": "30m"}
    return {**wire, "prompt_cache_breakpoint": mark}
