"""Files and batches on the OpenAI wire: what is asked, what is told, and the lines of a batch's files.

Promises: a batch and a file are told with every member their SDK reads; a line that is no request is an `Invalid` with
its member's name; an output line says either the whole reply or why there is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Raw

from penstock.dialects.nonsense import UNREADABLE
from penstock.kernel.errors import Invalid

Endpoint = Literal[
    "/v1/chat/completions", "/v1/responses", "/v1/completions", "/v1/embeddings", "/v1/moderations"
]

_Id = Annotated[str, Meta(min_length=1, max_length=512)]


class BatchAsk(msgspec.Struct, frozen=True, kw_only=True):
    """What creates a batch."""

    input_file_id: Annotated[str, Meta(min_length=1, max_length=64)]
    endpoint: Endpoint
    completion_window: Literal["24h"]
    metadata: Annotated[
        dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]], Meta(max_length=16)
    ] = {}


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One request of a batch."""

    custom_id: _Id
    method: Literal["POST"]
    url: str
    body: Raw


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How far a batch is."""

    total: int = 0
    completed: int = 0
    failed: int = 0


class LineError(msgspec.Struct, frozen=True, kw_only=True):
    """Why a batch cannot be run; `line` counts from 1, None is the whole file."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None


_ASK: Final = msgspec.json.Decoder(BatchAsk)
_LINE: Final = msgspec.json.Decoder(Line)


def parse_batch(body: bytes) -> BatchAsk:
    """Read what creates a batch. Raises `Invalid`."""
    try:
        return _ASK.decode(body)
    except UNREADABLE as error:
        raise Invalid(
            f"This creates no batch: {error}.", remedy="See OpenAI's reference of batches."
        ) from None


def parse_line(line: bytes, endpoint: str) -> Line:
    """Read one line of an input file. Raises `Invalid`."""
    try:
        asked = _LINE.decode(line)
    except UNREADABLE as error:
        raise Invalid(f"This line is no request: {error}.", code="invalid_json_line") from None
    if asked.url != endpoint:
        raise Invalid(
            "The url is not the batch's endpoint.", code="mismatched_url", field="url", value=asked.url[:100]
        )
    return asked


def one_line(text: bytes | Raw) -> Raw:
    """Return JSON without line breaks, which would be the end of a line: most vendors write replies over several."""
    broken = bytes(text)
    return Raw(msgspec.json.format(broken, indent=-1) if b"\n" in broken or b"\r" in broken else broken)


def render_answer(line_id: str, custom_id: str, status: int, request_id: str, body: bytes) -> bytes:
    """Return an output line: a reply, good or bad."""
    response = {"status_code": status, "request_id": request_id, "body": one_line(body)}
    return msgspec.json.encode({"id": line_id, "custom_id": custom_id, "response": response, "error": None})


def render_unanswered(line_id: str, custom_id: str, code: str, message: str) -> bytes:
    """Return an output line of a request that was never answered."""
    error = {"code": code, "message": message}
    return msgspec.json.encode({"id": line_id, "custom_id": custom_id, "response": None, "error": error})


def render_file(
    file_id: str, name: str, purpose: str, size: int, *, created_s: float, expires_s: float
) -> dict[str, Any]:
    """Return a file as its SDK reads it; `size` in bytes."""
    return {
        "id": file_id,
        "object": "file",
        "bytes": size,
        "created_at": int(created_s),
        "expires_at": int(expires_s),
        "filename": name,
        "purpose": purpose,
        "status": "processed",
        "status_details": None,
    }


def render_page(data: Sequence[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    """Return one page of a list."""
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return {"object": "list", "data": data, "first_id": first, "last_id": last, "has_more": has_more}
