"""An error reply turned back into the error it was.

Promise: whatever a server (or a proxy in between) answers becomes one `PenstockError` of the kernel's tree, with the
figures the body carries, so that the exit code and the one line for people are those of the error itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from penstock.kernel import errors
from penstock.kernel.errors import PenstockError


class _Told(msgspec.Struct, frozen=True):
    message: str = ""
    code: str | None = None
    param: str | None = None
    value: object = None
    limit: object = None
    remedy: str = ""


class _Body(msgspec.Struct, frozen=True):
    error: _Told


_DECODER = msgspec.json.Decoder(_Body)
_BY_STATUS: Final[dict[int, type[PenstockError]]] = {
    400: errors.Invalid,
    401: errors.Unauthenticated,
    403: errors.Forbidden,
    404: errors.NotFound,
    405: errors.Invalid,
    409: errors.Conflict,
    413: errors.TooLarge,
    422: errors.Invalid,
    429: errors.OverLimit,
    502: errors.Upstream,
    503: errors.Unavailable,
    504: errors.TimedOut,
}


def _tree(root: type[PenstockError]) -> Iterator[type[PenstockError]]:
    for kind in root.__subclasses__():
        if kind.__module__ == errors.__name__ and kind is not errors.Broken:
            yield kind
            yield from _tree(kind)


_BY_CODE: Final = {kind.code: kind for kind in _tree(PenstockError)}


def error_of(status: int, body: bytes) -> PenstockError:
    """Return the error that a reply with `status` >= 400 stands for; never raises."""
    try:
        told = _DECODER.decode(body).error
    except msgspec.DecodeError:
        told = _Told(message=f"The server answered {status} with something that is not an error of Penstock.")
    kind = _BY_CODE.get(told.code or "") or _BY_STATUS.get(status, PenstockError)
    return kind(
        told.message.partition(" · ")[0],
        code=told.code or "",
        field=told.param or "",
        value=told.value,
        limit=told.limit,
        remedy=told.remedy,
    )
