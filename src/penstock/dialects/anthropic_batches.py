"""Message batches on the Anthropic wire: what is asked, what is told, and the lines of results.

Promises: a batch is told with every member its SDK reads; `parse_batch` refuses what no result could be told of (no
`custom_id`, the same one twice, a stream); whether `params` are a request is found when its turn comes, and told in its
result. Requests stand still while a batch is processed and move to their end all at once, as the reference has it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Raw

from penstock.dialects.members import OBJECT
from penstock.dialects.nonsense import UNREADABLE
from penstock.dialects.openai_batches import Counts, Line, one_line
from penstock.dialects.strict_json import decode_as, refusal
from penstock.kernel.errors import Invalid

ENDPOINT: Final = "/v1/messages"
PATH: Final = "/v1/messages/batches"
CUSTOM_ID: Final = r"^[a-zA-Z0-9_-]{1,64}$"
REMEDIES: Final = {
    "": "See the Anthropic reference of message batches for this member.",
    "requests": "Send a list of requests, each with a custom_id and params.",
    "custom_id": "Send 1 to 64 letters, digits, hyphens and underscores, another one for each request.",
    "params": "Send what POST /v1/messages takes, not streamed.",
}
_UNENDED: Final = {"batch_cancelled": "canceled", "batch_expired": "expired"}
"""Why a line never ended → what its result is called."""


class _Request(msgspec.Struct, gc=False):
    custom_id: Annotated[str, Meta(pattern=CUSTOM_ID)]
    params: Raw


class _Batch(msgspec.Struct, gc=False):
    requests: Annotated[list[_Request], Meta(min_length=1)]


class _Params(msgspec.Struct, gc=False):
    stream: bool | None = None


_BATCH: Final = msgspec.json.Decoder(_Batch)
_PARAMS: Final = msgspec.json.Decoder(_Params)


def parse_batch(body: bytes, most: int) -> list[Line]:
    """Read what creates a batch of at most `most` requests. Raises `Invalid`."""
    try:
        asked = decode_as(body, _BATCH).requests
    except msgspec.ValidationError as error:
        raise refusal(error, body, REMEDIES) from None
    if len(asked) > most:
        raise _wrong("requests", "There are too many requests.", len(asked), most)
    seen: set[str] = set()
    for at, each in enumerate(asked):
        if each.custom_id in seen:
            field = f"requests[{at}].custom_id"
            raise _wrong(field, "The custom_id comes twice.", each.custom_id, code="duplicate_custom_id")
        seen.add(each.custom_id)
        if _streams(each.params):
            raise _wrong(f"requests[{at}].params.stream", "A request of a batch is not streamed.", "true")
    return [
        Line(custom_id=each.custom_id, method="POST", url=ENDPOINT, body=one_line(each.params))
        for each in asked
    ]


def _streams(params: Raw) -> bool:
    try:
        return bool(_PARAMS.decode(params).stream)
    except UNREADABLE:
        return False  # no request at all: its result will say so


def _wrong(
    field: str, message: str, value: object, limit: object = None, code: str = "invalid_field"
) -> Invalid:
    remedy = REMEDIES.get(field.rpartition(".")[2], REMEDIES["params"])
    return Invalid(message, code=code, field=field, value=value, limit=limit, remedy=remedy)


# ------------------------------------------------------------------------------------------------------- told


def render_batch(
    batch_id: str,
    status: str,
    counts: Counts,
    *,
    created_s: float,
    expires_s: float,
    entered: dict[str, float],
) -> dict[str, Any]:
    """Return a batch as its SDK reads it; `status` is the engine's, `entered` when it came into each (since 1970)."""
    ended_s = next(
        (entered[each] for each in ("completed", "cancelled", "expired", "failed") if each in entered), None
    )
    told = "in_progress" if ended_s is None else "ended"
    return {
        "id": batch_id,
        "type": "message_batch",
        "processing_status": "canceling" if status == "cancelling" else told,
        "request_counts": _counts(status, counts, ended=ended_s is not None),
        "created_at": _moment(created_s),
        "expires_at": _moment(expires_s),
        "ended_at": None if ended_s is None else _moment(ended_s),
        "cancel_initiated_at": _moment(entered["cancelling"]) if "cancelling" in entered else None,
        "archived_at": None,
        "results_url": None if ended_s is None else f"{PATH}/{batch_id}/results",
    }


def _counts(status: str, counts: Counts, *, ended: bool) -> dict[str, int]:
    unended = counts.total - counts.completed - counts.failed
    told = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
    if not ended:
        return {**told, "processing": counts.total}
    why = "expired" if status == "expired" else "canceled"
    return {**told, "succeeded": counts.completed, "errored": counts.failed, why: unended}


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def render_deleted(batch_id: str) -> dict[str, Any]:
    """Return what is told of a batch that is no more."""
    return {"id": batch_id, "type": "message_batch_deleted"}


def render_answer(_line_id: str, custom_id: str, status: int, request_id: str, body: bytes) -> bytes:
    """Return the result of a request that was answered, well or not."""
    if status == 200:
        return _result(custom_id, {"type": "succeeded", "message": one_line(body)})
    error = {**OBJECT.decode(body), "request_id": request_id}
    return _result(custom_id, {"type": "errored", "error": error})


def render_unanswered(_line_id: str, custom_id: str, code: str, message: str) -> bytes:
    """Return the result of a request that has no answer."""
    if code in _UNENDED:
        return _result(custom_id, {"type": _UNENDED[code]})
    said = {"type": "api_error", "message": message, "details": {"error_code": code}}
    return _result(custom_id, {"type": "errored", "error": {"type": "error", "error": said}})


def _result(custom_id: str, result: dict[str, Any]) -> bytes:
    return msgspec.json.encode({"custom_id": custom_id, "result": result})
