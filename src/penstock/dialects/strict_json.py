"""JSON from strangers: the checks every dialect makes before it believes a byte.

Promises: what passes is UTF-8, is one JSON object, nests at most `MAX_DEPTH` deep, holds no NaN, no Infinity and no
lone surrogate, and names no top-level member twice (RFC 8259 leaves duplicates to chance; money must not). A refusal
is an `Invalid` that names field, value, limit and remedy. A well-formed 1 KB body costs about 2 µs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, TypeVar

import msgspec
from msgspec import Raw

from penstock.kernel.errors import Invalid

T = TypeVar("T")

MAX_DEPTH: Final = 64
"""Deepest nesting of arrays and objects accepted; the outermost object is level 1."""
MAX_MEMBERS: Final = 128
"""Most top-level members accepted."""

_OBJECT: Final = msgspec.json.Decoder(dict[str, Raw])
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"')
_SPACE: Final = re.compile(rb"[ \t\n\r]*+")
_ONE_BRACKET: Final = bytes.maketrans(b"[]", b"{}")
_NOT_OPENING: Final = bytes(set(range(256)) - set(b"[{"))
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))


def decode_object(body: bytes) -> dict[str, Raw]:
    """Return the top-level members of `body`, each as the bytes it was written in. Raises `Invalid`."""
    check_text(body)
    try:
        members = _OBJECT.decode(body)
    except RecursionError:
        raise too_deep() from None
    except msgspec.ValidationError:
        raise Invalid(
            "The request body is not a JSON object.",
            code="invalid_json",
            value=shorten(body[:200].decode("utf-8", "replace")),
            remedy='Send one JSON object, like {"model": …}.',
        ) from None
    except msgspec.DecodeError as error:
        raise not_json(error) from None
    if len(members) > MAX_MEMBERS:
        raise Invalid(
            "The request has too many members.",
            code="too_many_members",
            value=len(members),
            limit=MAX_MEMBERS,
            remedy="Send fewer top-level members.",
        )
    refuse_duplicates(body, members)
    return members


def decode_as(raw: bytes | Raw, decoder: msgspec.json.Decoder[T]) -> T:
    """Decode with the bounds of this module. Raises `Invalid` for bad JSON, `msgspec.ValidationError` for bad types."""
    try:
        return decoder.decode(raw)
    except RecursionError:
        raise too_deep() from None
    except UnicodeDecodeError:
        raise _not_utf8() from None
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError as error:
        raise not_json(error) from None


def check_text(body: bytes) -> None:
    """Refuse bytes that are not UTF-8, and nesting past `MAX_DEPTH`. Raises `Invalid`."""
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError:
            raise _not_utf8() from None
    # Depth never exceeds the number of opening brackets: most bodies are settled by counting.
    if len(body.translate(None, _NOT_OPENING)) > MAX_DEPTH and depth_exceeds(body, MAX_DEPTH):
        raise too_deep()


def depth_exceeds(body: bytes, limit: int) -> bool:
    """Tell whether brackets outside strings nest deeper than `limit`.

    Strings (every second piece between quotes, once escapes are gone) and everything but brackets are dropped, then
    one level of innermost pairs is peeled per pass: as many passes as levels, each in C. Brackets that do not pair up
    are left to the parser.
    """
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    pairs = b"".join(body.split(b'"')[::2]).translate(_ONE_BRACKET, _NOT_BRACKETS)
    for _ in range(limit):
        peeled = pairs.replace(b"{}", b"")
        if len(peeled) == len(pairs):
            return False
        pairs = peeled
    return b"{}" in pairs


def refuse_duplicates(body: bytes, members: dict[str, Raw]) -> None:
    """Raise `Invalid` if `body` names a top-level member twice; `members` is what decoding it gave.

    A decoder keeps the last of two, so a body of exactly the length of its members written without spaces has no
    duplicate; any other body is walked, jumping over values.
    """
    length = 1
    for name, raw in members.items():
        length += len(name) + len(memoryview(raw)) + 4
    if length == len(body) or not members:
        return
    # The other usual spacing (Python's `json.dumps`): written out again, it must be the same bytes.
    if length + 2 * len(members) - 1 == len(body):
        spaced = b", ".join([b'"%b": %b' % (name.encode(), raw) for name, raw in members.items()])
        if body.startswith(spaced, 1):
            return
    _walk(body, members)


def _walk(body: bytes, members: dict[str, Raw]) -> None:
    """Go through the top level of `body`, a valid object, and refuse the first name that comes twice."""
    seen: set[str] = set()
    at = _skip_space(body, _skip_space(body, 0) + 1)
    while body[at : at + 1] == b'"':
        key = _STRING.match(body, at)
        if key is None:
            return
        name: str = msgspec.json.decode(key.group(), type=str)
        value = bytes(members[name])
        start = _skip_space(body, _skip_space(body, key.end()) + 1)
        after = _skip_space(body, start + len(value))
        if name in seen or not body.startswith(value, start) or body[after : after + 1] not in (b",", b"}"):
            raise Invalid(
                f"The member {shorten(name)!r} is given twice.",
                code="duplicate_member",
                field=shorten(name),
                remedy="Send each member once: which of two values counts is undefined in JSON.",
            )
        seen.add(name)
        at = _skip_space(body, after + 1)


def shorten(value: object, most: int = 80) -> str:
    """Return `value` as text of at most `most` characters, for an error message."""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def too_deep() -> Invalid:
    """Build the refusal of a body that nests too deep."""
    return Invalid(
        "The JSON nests too deep.",
        code="json_too_deep",
        value=f"more than {MAX_DEPTH} levels",
        limit=MAX_DEPTH,
        remedy="Flatten the structure, or send it as text.",
    )


def not_json(error: Exception) -> Invalid:
    """Build the refusal of a body that is not JSON; `error` is the parser's own."""
    return Invalid(
        "The request body is not valid JSON.",
        code="invalid_json",
        value=shorten(str(error)),
        remedy="Send UTF-8 JSON as RFC 8259 has it: no NaN, no trailing comma, no lone surrogate.",
    )


def _not_utf8() -> Invalid:
    return Invalid("The request body is not UTF-8.", code="invalid_json", remedy="Encode the JSON as UTF-8.")


def _skip_space(body: bytes, at: int) -> int:
    found = _SPACE.match(body, at)
    return found.end() if found else at


def refusal(
    error: msgspec.ValidationError, body: bytes | Raw, remedies: Mapping[str, str], prefix: str = ""
) -> Invalid:
    """Turn a type error of msgspec on `body` into an `Invalid` with field, value, limit and remedy.

    `remedies` maps the last word of a field's path to its sentence ("" is the default); `prefix` is the path of
    `body` inside the whole request.
    """
    said, _, at = str(error).partition(" - at `$")
    path = at.rstrip("`")
    missing = _MISSING.search(said)
    if missing:
        path = f"{path}.{missing.group(1)}"
    bound = _BOUND.search(said)
    field = f"{prefix}{path}".lstrip(".")
    name = _NAME.findall(field)[-1:] or [""]
    return Invalid(
        f"{said.replace('`', '')}." if field else f"The request is not as expected: {said}.",
        code="missing_field" if missing else "invalid_field",
        field=field,
        value=None if missing else _value_at(body, path),
        limit=bound.group(0) if bound else None,
        remedy=remedies.get(name[0], remedies[""]),
    )


_MISSING: Final = re.compile(r"missing required field `([^`]+)`")
_BOUND: Final = re.compile(r"(?:of length )?(?:>=|<=|>|<) -?[0-9.]+")
_NAME: Final = re.compile(r"[A-Za-z_]\w*")
_STEP: Final = re.compile(r"\.([^.\[]+)|\[([0-9]+)\]")


def _value_at(body: bytes | Raw, path: str) -> str | None:
    """Return what stands at `path` (``.messages[1].role``), shortened; None when it cannot be reached."""
    try:
        value = msgspec.json.decode(body)
        for key, index in _STEP.findall(path):
            value = value[key] if key else value[int(index)]
    except (msgspec.DecodeError, LookupError, TypeError, RecursionError):
        return None
    return shorten(value)
