"""The parts of a Gemini content, both ways: `kernel.chat` parts, calls and what functions returned.

How they meet
- A thought is a `Reasoning`. Gemini signs any part; the signature of one that is no thought stands before it as a
  `Reasoning` without text, that of a call in its ``extra_content.google.thought_signature`` (Google's own
  OpenAI-compatible form).
- ``inlineData`` and ``fileData`` are an `Image` or a `Media`; what lies in Google's storage is ``file:`` and its URI.
- A function's answer is text when it is ``{"output": text}`` (``{"error": text}`` sets `is_error`), else its JSON.
- A part with members this codec does not know (``videoMetadata`` …), and every other kind of part, is an `Other`.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw

from penstock.dialects.gemini_foreign import Translation
from penstock.dialects.gemini_words import (
    MAX_PARTS,
    NAME,
    is_made,
    is_object,
    mime_of,
    open_data_url,
    open_object,
    take_object,
)
from penstock.dialects.members import FLAG, TEXT, Members, raw
from penstock.kernel.chat import Extras, Image, Media, Message, Other, Part, Reasoning, Text, ToolCall

SIGNATURE: Final = "extra_content"
"""The extra of a call that holds its thought signature."""
DATA_REMEDY: Final = "Send it as a data: URL."
_TRUE: Final = Raw(b"true")
_STORAGE: Final = "googleapis.com/"
REDACTED: Final = "cmVkYWN0ZWQ6"
"""Base64 of ``redacted:``: before another vendor's hidden thoughts, shown to a caller who speaks Gemini."""


class _Google(msgspec.Struct, frozen=True, gc=False):
    thought_signature: str = ""


class _ExtraContent(msgspec.Struct, gc=False):
    google: _Google = _Google()


class _Returned(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """What a function returned, when it is nothing but text."""

    output: str | None = None
    error: str | None = None


_SIGNED: Final = msgspec.json.Decoder(_ExtraContent)
_RETURNED: Final = msgspec.json.Decoder(_Returned)


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a function returned: a ``functionResponse``. `id` is "" when the caller gave none."""

    id: str
    name: str
    content: tuple[Part, ...]
    extras: Extras


Piece = Part | ToolCall | Answer


# --------------------------------------------------------------------------------------------------- parsing


def parse_parts(content: Members) -> list[Piece]:
    """Take the ``parts`` of a content. Calls without an id have "". Raises `Invalid` with the path."""
    path = content.at("parts")
    pieces: list[Piece] = []
    for index, item in enumerate(content.take_items("parts", MAX_PARTS)):
        pieces += _piece(item, f"{path}[{index}]")
    return pieces


def _piece(text: Raw, path: str) -> list[Any]:
    part = open_object(text, path)
    signature = part.take_text("thoughtSignature")
    words = part.take_optional("text", TEXT)
    if words is not None:
        thought = part.take("thought", FLAG, default=False)
        if part.rest():
            return [_kept(text)]
        return [_reasoning(words, signature)] if thought else _signed(signature, Text(words))
    call = take_object(part, "functionCall")
    if call is not None:
        return [_call(part, call, signature)]
    answer = take_object(part, "functionResponse")
    if answer is not None:
        return [_answer(part, answer)]
    media = _media(part)
    return [_kept(text)] if media is None or part.rest() else _signed(signature, media)


def _reasoning(words: str, signature: str) -> Reasoning:
    if signature.startswith(REDACTED) and not words:
        return Reasoning("", redacted=signature.removeprefix(REDACTED))
    return Reasoning(words, signature)


def _signed(signature: str, part: Part) -> list[Part]:
    return [Reasoning("", signature), part] if signature else [part]


def _kept(text: Raw) -> Other:
    """Keep a copy, so that a part does not keep the whole request alive."""
    return Other(NAME, Raw(bytes(text)))


def _call(part: Members, call: Members, signature: str) -> ToolCall:
    name, id, args = call.need_text("name"), call.take_text("id"), call.take_raw("args")
    arguments = "{}" if args is None else bytes(args).decode()
    if not arguments.startswith("{"):
        raise call.wrong("args", "The arguments are not an object.", arguments)
    extras = {**part.rest(), **call.rest("function.")}
    if signature:
        extras[SIGNATURE] = raw({"google": {"thought_signature": signature}})
    return ToolCall(id, name, arguments, extras)


def _answer(part: Members, answer: Members) -> Answer:
    name, id, response = answer.need_text("name"), answer.take_text("id"), answer.take_raw("response")
    told = "{}" if response is None else bytes(response).decode()
    if not told.startswith("{"):
        raise answer.wrong("response", "What the function returned is not an object.", told)
    extras: Extras = {}
    try:
        returned = _RETURNED.decode(told)
    except msgspec.ValidationError:
        returned = _Returned()
    if returned.error is not None and returned.output is None:
        told, extras["is_error"] = returned.error, _TRUE
    elif returned.output is not None and returned.error is None and not is_object(returned.output):
        told = returned.output
    pieces = parse_parts(answer)
    files = [each for each in pieces if isinstance(each, Image | Media | Other)]
    if len(files) < len(pieces):
        raise answer.wrong("parts", "What a function returns beside its response is files.", "other parts")
    extras |= {**part.rest(), **answer.rest("function.")}
    return Answer(id=id, name=name, content=(Text(told), *files), extras=extras)


def _media(part: Members) -> Part | None:
    """Return the part's picture, document, sound or film; None when it is none, or more than we can say."""
    blob = take_object(part, "inlineData")
    if blob is not None:
        mime, data, name = blob.need_text("mimeType"), blob.need_text("data"), blob.take_text("displayName")
        url = f"data:{mime};base64,{data}"
    else:
        blob = take_object(part, "fileData")
        if blob is None:
            return None
        url, mime, name = blob.need_text("fileUri"), blob.take_text("mimeType"), blob.take_text("displayName")
        if not url.startswith("https://") or _STORAGE in url:
            url = f"file:{url}"
    if blob.rest() or not mime:
        return None
    if not mime.startswith("image/"):
        return Media(mime, url, name)
    if name:
        return None
    plain = url.startswith("data:") or mime_of(url) == mime
    return Image(url) if plain else Media(mime, url)


# ------------------------------------------------------------------------------------------------- rendering


def render_parts(content: tuple[Part, ...], at: str, said: Translation) -> list[object]:
    """Return parts as the wire's objects. Raises `Invalid` (untranslatable) for what Gemini has no words for."""
    wire: list[object] = []
    signature = ""
    for index, part in enumerate(content):
        path = f"{at}.content[{index}]"
        if isinstance(part, Reasoning):
            wire += _unclaimed(signature)
            signature = ""
            if part.redacted and not said.native:
                said.leave("redacted_thinking")
            elif part.signature and not part.text:
                signature = part.signature
            else:
                wire.append(
                    _thought(part.text, REDACTED + part.redacted if part.redacted else part.signature)
                )
            continue
        rendered = _render_part(part, path, said)
        if isinstance(rendered, dict):
            if signature:
                rendered["thoughtSignature"] = signature
        else:
            wire += _unclaimed(signature)
        signature = ""
        wire.append(rendered)
    return wire + _unclaimed(signature)


def _unclaimed(signature: str) -> list[object]:
    """Return a thought without words for a signature that no part follows."""
    return [_thought("", signature)] if signature else []


def _thought(text: str, signature: str) -> dict[str, Any]:
    wire: dict[str, Any] = {"text": text, "thought": True}
    if signature:
        wire["thoughtSignature"] = signature
    return wire


def _render_part(part: Text | Image | Media | Other, at: str, said: Translation) -> dict[str, Any] | Raw:
    if isinstance(part, Other):
        if part.dialect != NAME:
            raise said.refusal(at, f"a part of the {part.dialect} dialect")
        return part.raw
    if part.cache:
        said.leave("cache_control")
    if isinstance(part, Text):
        return {"text": part.text}
    if isinstance(part, Image):
        if part.detail != "auto":
            said.leave("image_url.detail")
        return _render_media("", part.url, "", at, said)
    return _render_media(part.mime, part.url, part.name, at, said)


def _render_media(mime: str, url: str, name: str, at: str, said: Translation) -> dict[str, Any]:
    named = {"displayName": name} if name and said.native else {}
    if name and not said.native:
        said.leave("filename")
    if url.startswith("data:"):
        data = open_data_url(url)
        if data is None:
            raise said.refusal(at, url, "Send the bytes in base64: data:TYPE;base64,BYTES.")
        return {"inlineData": {"mimeType": data[0], "data": data[1], **named}}
    if url.startswith("file:") and not said.native:
        raise said.refusal(at, url, f"The file is in another vendor's storage. {DATA_REMEDY}")
    mime = mime or mime_of(url)
    if not mime:
        raise said.refusal(at, url, f"Gemini must be told what kind of file a URL leads to. {DATA_REMEDY}")
    return {"fileData": {"mimeType": mime, "fileUri": url.removeprefix("file:"), **named}}


def render_call(call: ToolCall, at: str, said: Translation) -> dict[str, Any]:
    """Return a call as a part. Raises `Invalid` (untranslatable) when its arguments are not an object."""
    if not is_object(call.arguments or "{}"):
        raise said.refusal(
            f"{at}.function.arguments", call.arguments, "Send arguments that are a JSON object."
        )
    extras = dict(call.extras)
    signature = signature_of(extras.pop(SIGNATURE, None))
    inner: dict[str, Any] = {"name": call.name, "args": Raw((call.arguments or "{}").encode())}
    if call.id and not (said.native and is_made(call.id)):
        inner["id"] = call.id
    wire: dict[str, Any] = {"functionCall": inner}
    if signature:
        wire["thoughtSignature"] = signature
    _spread(said.own_call(extras, at), inner, wire)
    return wire


def render_answer(message: Message, name: str, at: str, said: Translation) -> dict[str, Any]:
    """Return what a function returned, a message of role "tool", as a part."""
    extras = dict(message.extras)
    failed = extras.pop("is_error", None) == _TRUE
    words = [part.text for part in message.content if isinstance(part, Text)]
    others = tuple(part for part in message.content if not isinstance(part, Text))
    if any(part.cache for part in message.content if isinstance(part, Text)):
        said.leave("cache_control")
    told = "\n".join(words)
    inner: dict[str, Any] = {"name": name}
    if failed:
        inner["response"] = {"error": told}
    else:
        inner["response"] = Raw(told.encode()) if is_object(told) else {"output": told}
    if others:
        inner["parts"] = render_parts(others, at, said)
    if message.tool_call_id and not (said.native and is_made(message.tool_call_id)):
        inner["id"] = message.tool_call_id
    wire: dict[str, Any] = {"functionResponse": inner}
    _spread(said.own_message(extras, at), inner, wire)
    return wire


def signature_of(extra: Raw | None) -> str:
    """Return the thought signature in a call's ``extra_content``, "" when there is none."""
    if extra is None:
        return ""
    try:
        return _SIGNED.decode(extra).google.thought_signature
    except msgspec.DecodeError:
        return ""


def _spread(extras: Extras, inner: dict[str, Any], outer: dict[str, Any]) -> None:
    """Put each extra where it came from: ``function.`` ones inside."""
    for name, value in extras.items():
        if name.startswith("function."):
            inner[name.removeprefix("function.")] = value
        else:
            outer[name] = value
