"""What every file of the Gemini codec shares: opening Google's JSON, its media types and its ids for calls.

Promise: Google's parser takes ``snake_case`` and ``camelCase`` names alike, so `open_object` does too; a member given
in both spellings is refused. Only objects whose names Google defines are opened so: a caller's own names (labels, the
arguments of a call, a schema's properties) are never touched.
"""

from __future__ import annotations

import re
from typing import Final
from zlib import crc32

import msgspec
from msgspec import Raw

from penstock.dialects.members import OBJECT, Members
from penstock.dialects.strict_json import decode_as, refusal, shorten
from penstock.kernel.errors import Invalid

NAME: Final = "gemini"
MAX_PARTS: Final = 10_000

REMEDIES: Final = {
    "": "See the Gemini API reference of generateContent for this member.",
    "contents": "Send 1 to 20000 contents, each an object with a role and parts.",
    "role": 'Use "user" or "model".',
    "parts": f'Send 1 to {MAX_PARTS} parts, each an object like {{"text": …}}.',
    "name": "Give the function a name.",
    "args": "Send the arguments as an object.",
    "response": "Send what the function returned as an object.",
    "mimeType": 'Name the media type, like "image/png".',
    "data": "Send the bytes in base64.",
    "fileUri": "Send the URI of the file.",
    "tools": 'Send at most 1024 tools, each an object like {"functionDeclarations": […]}.',
    "candidateCount": "Ask for 1 to 128 candidates.",
    "maxOutputTokens": "Send a whole number of at least 1, or leave it out.",
    "stopSequences": "Send at most 16 strings.",
    "temperature": "Send a number from 0 to 2.",
    "topP": "Send a number from 0 to 1.",
    "topK": "Send a whole number of at least 1.",
    "seed": "Send a whole number.",
    "logprobs": "Send a whole number from 0 to 20.",
}

_SNAKE: Final = re.compile(r"(?<=[a-z0-9])_([a-z0-9])")
_MADE: Final = re.compile(r"call_[0-9]{1,6}_[0-9a-f]{8}")
_DATA_URL: Final = re.compile(r"data:([^;,]+)(?:;[^;,]+)*;base64,", re.IGNORECASE)

MIME_BY_SUFFIX: Final = {
    # what Gemini reads, by the last word of a URL's path (Gemini API: image, document, audio, video understanding)
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "heic": "image/heic",
    "heif": "image/heif",
    "pdf": "application/pdf",
    "txt": "text/plain",
    "md": "text/markdown",
    "csv": "text/csv",
    "html": "text/html",
    "json": "application/json",
    "mp3": "audio/mp3",
    "wav": "audio/wav",
    "aac": "audio/aac",
    "ogg": "audio/ogg",
    "flac": "audio/flac",
    "aiff": "audio/aiff",
    "mp4": "video/mp4",
    "mov": "video/mov",
    "mpeg": "video/mpeg",
    "webm": "video/webm",
    "avi": "video/avi",
}


def open_object(text: Raw | bytes, path: str) -> Members:
    """Open an object whose member names are Google's. Raises `Invalid`."""
    try:
        members = decode_as(text, OBJECT)
    except msgspec.ValidationError as error:
        raise refusal(error, text, REMEDIES, prefix=path) from None
    return Members(camel_cased(members, path), path, REMEDIES)


def take_object(members: Members, name: str) -> Members | None:
    """Remove a member and open it as `open_object` does; None when it is absent or null. Raises `Invalid`."""
    text = members.take_raw(name)
    return None if text is None else open_object(text, members.at(name))


def camel_cased(members: dict[str, Raw], path: str) -> dict[str, Raw]:
    """Return `members` by their camelCase names. Raises `Invalid` for one given in both spellings."""
    if not any("_" in name for name in members):
        return members
    renamed: dict[str, Raw] = {}
    for name, text in members.items():
        told = camel_case(name)
        if told in renamed or (told != name and told in members):
            raise Invalid(
                f"The member {shorten(told)!r} is given in two spellings.",
                code="duplicate_member",
                field=f"{path}.{told}".lstrip("."),
                remedy="Send each member once.",
            )
        renamed[told] = text
    return renamed


def camel_case(name: str) -> str:
    """Return ``max_output_tokens`` as ``maxOutputTokens``; a name that is camelCase already stays."""
    return _SNAKE.sub(lambda found: found.group(1).upper(), name) if "_" in name else name


def is_object(text: str) -> bool:
    """Tell whether `text` is one JSON object."""
    if not text.lstrip(" \t\r\n").startswith("{"):
        return False
    try:
        OBJECT.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


# --------------------------------------------------------------------------------------------------- call ids


def made_id(position: int, name: str, salt: str = "") -> str:
    """Return an id for a call that came without one: the same for the same call, read again.

    `position` counts the calls before it, in the conversation or in the answer; `salt` (the answer's id) keeps those
    of two answers apart.
    """
    return f"call_{position}_{crc32(f'{salt}/{name}'.encode()):08x}"


def is_made(id: str) -> bool:
    """Tell whether `id` has the form of `made_id`, so that Gemini never saw it."""
    return _MADE.fullmatch(id) is not None


# ------------------------------------------------------------------------------------------------------ media


def mime_of(url: str) -> str:
    """Guess the media type of a file by the suffix of its URL's path; "" when it says nothing."""
    path = url.split("?", 1)[0].split("#", 1)[0]
    name = path.rsplit("/", 1)[-1]
    return MIME_BY_SUFFIX.get(name.rsplit(".", 1)[-1].lower(), "") if "." in name else ""


def open_data_url(url: str) -> tuple[str, str] | None:
    """Return media type and base64 text of a ``data:`` URL; None when it is none in base64."""
    found = _DATA_URL.match(url)
    return None if found is None else (found.group(1), url[found.end() :])
