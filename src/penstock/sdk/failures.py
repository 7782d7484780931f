"""From an error as the server told it back to the error it raised: the inverse of `dialects.openai_errors`.

Promises: the class is the one the server raised, so exit codes and remedies survive the wire; a refined code keeps its
own words; an error that ends a stream comes back as one that is the whole reply; a reply that is not Penstock's (a
proxy's page) is still one error with a sentence, never a traceback.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from penstock.kernel import errors
from penstock.kernel.errors import PenstockError
from penstock.net.http1 import Headers, header


class _Told(msgspec.Struct, frozen=True):
    message: str = ""
    type: str = ""
    code: str | None = None
    param: str | None = None
    value: object = None
    limit: object = None
    remedy: str = ""


class _Body(msgspec.Struct, frozen=True):
    error: _Told


_DECODER = msgspec.json.Decoder(_Body)
_BY_TYPE: Final[dict[str, type[PenstockError]]] = {
    # `type` where it says more than the status; "invalid_request_error" and "server_error" are asked of the status
    "authentication_error": errors.Unauthenticated,
    "policy_error": errors.PolicyRefused,
    "permission_error": errors.Forbidden,
    "not_found_error": errors.NotFound,
    "insufficient_quota": errors.OverBudget,
    "rate_limit_error": errors.OverLimit,
    "conflict_error": errors.Conflict,
    "request_cancelled": errors.Cancelled,
}
_BY_STATUS: Final[dict[int, type[PenstockError]]] = {
    400: errors.Invalid,
    401: errors.Unauthenticated,
    403: errors.Forbidden,
    404: errors.NotFound,
    405: errors.NotFound,
    409: errors.Conflict,
    413: errors.TooLarge,
    422: errors.Invalid,
    429: errors.OverLimit,
    502: errors.Upstream,
    503: errors.Unavailable,
    504: errors.TimedOut,
}
_MID_STREAM: Final[dict[str, type[PenstockError]]] = {
    # what a stream's last event says has no status of its own
    "invalid_request_error": errors.Invalid,
    "server_error": errors.Unavailable,
}


def _tree(root: type[PenstockError]) -> Iterator[type[PenstockError]]:
    for kind in root.__subclasses__():
        if kind.__module__ == errors.__name__ and kind is not errors.Broken:
            yield kind
            yield from _tree(kind)


_BY_CODE: Final[dict[str, type[PenstockError]]] = {
    **{kind.code: kind for kind in _tree(PenstockError)},
    errors.Broken.code: PenstockError,  # the invariant is the server's: nothing is broken here
}


def error_of(status: int, body: bytes, headers: Headers | None = None) -> PenstockError:
    """Return the error that a reply with `status` >= 400 stands for; never raises.

    `headers` tell `retry_after_s`.
    """
    try:
        told = _DECODER.decode(body).error
    except msgspec.DecodeError:
        told = _Told(message=f"The server answered {status} with something that is not an error of Penstock.")
    kind = _BY_CODE.get(told.code or "") or _BY_TYPE.get(told.type) or _BY_STATUS.get(status, PenstockError)
    return _made(kind, told, _retry_after_s(headers or []))


def error_within(data: bytes) -> PenstockError | None:
    """Return the error that one event's `data` says a stream ended with, or None when it says none."""
    try:
        told = _DECODER.decode(data).error
    except msgspec.DecodeError:
        return None
    kind = (
        _BY_CODE.get(told.code or "") or _BY_TYPE.get(told.type) or _MID_STREAM.get(told.type, PenstockError)
    )
    return _made(kind, told, None)


def _made(kind: type[PenstockError], told: _Told, retry_after_s: float | None) -> PenstockError:
    return kind(
        told.message.partition(" · ")[0],
        code=told.code or "",
        field=told.param or "",
        value=told.value,
        limit=told.limit,
        remedy=told.remedy,
        retry_after_s=retry_after_s,
    )


def _retry_after_s(headers: Headers) -> float | None:
    """Read `retry-after-ms`, else `retry-after` (RFC 9110 section 10.2.3, in its seconds form)."""
    for name, unit_s in ((b"retry-after-ms", 0.001), (b"retry-after", 1.0)):
        told = header(headers, name)
        if told is not None and told.isdigit() and len(told) <= 12:
            return int(told) * unit_s
    return None
