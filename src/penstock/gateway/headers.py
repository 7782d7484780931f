"""Reply headers of the gateway: who served the request, what is left of the limits, what was clamped, what it cost.

The `x-ratelimit-*` names and the duration format are OpenAI's (platform documentation, "Rate limits in headers"), so
that its SDKs and their users read them as they are; of several limits of one kind the tightest is told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from penstock.gateway.admission import Seat
from penstock.kernel.context import RequestContext


class Said(Protocol):
    """How a request was put to its provider (`gateway/wording.Wording`)."""

    @property
    def face(self) -> Spoken:
        """Return the caller's dialect."""
        ...

    def headers(self) -> bytes:
        """Return header lines about what the provider was not told."""
        ...


class Reasoned(Protocol):
    """Whoever answers (`gateway/targets.Target`)."""

    @property
    def headers(self) -> bytes:
        """Return the header line that says why it was chosen."""
        ...


class Spoken(Protocol):
    """How a dialect tells what stands beside the body (`gateway/faces.Face`)."""

    @property
    def id_header(self) -> bytes:
        """Return the header line its SDK looks for the request's id in besides `x-request-id`; b"" for none."""
        ...

    @property
    def limits(self) -> Callable[[Seat], bytes]:
        """Return what renders the limits."""
        ...


def request_headers(context: RequestContext, said: Said, seat: Seat, target: Reasoned) -> bytes:
    """Render everything known before the cost is."""
    face = said.face
    ids = id_lines(face.id_header, context.request_id)
    lines = b"%b%b%b%b" % (ids, target.headers, face.limits(seat), said.headers())
    if seat.output_tokens < seat.wanted_tokens:
        lines += b"x-penstock-max-tokens: %d; instead-of=%d\r\n" % (seat.output_tokens, seat.wanted_tokens)
    return lines


def id_lines(another: bytes, request_id: str) -> bytes:
    """Render the request's id, in `another` header besides (a whole line to fill in) where it is given."""
    line = b"x-request-id: %b\r\n" % request_id.encode()
    return line + another % request_id.encode() if another else line


def money_headers(cost_nanos: int) -> bytes:
    """Render the cost of the operation in nano-dollars."""
    return b"x-penstock-cost-nanos: %d\r\n" % cost_nanos


class Left(NamedTuple):
    """What is left of one limit: of `limit` per minute `remaining`, and seconds until it is whole again."""

    limit: int
    remaining: int
    reset_s: float


def limits_left(seat: Seat) -> tuple[Left | None, Left | None]:
    """Return what is left of the tightest request and the tightest token limit; None where none is set."""
    return _left(seat, seat.plan.request_limits), _left(seat, seat.plan.token_limits)


def _left(seat: Seat, limits: Mapping[int, int]) -> Left | None:
    remaining = seat.taken.remaining
    if not limits or not remaining:
        return None
    at = min(limits, key=remaining.__getitem__)
    return Left(limits[at], remaining[at], seat.taken.reset_s[at])


def limit_headers(seat: Seat) -> bytes:
    """Render what is left of the request and token limits; nothing where none is set."""
    plan, taken = seat.plan, seat.taken
    remaining = taken.remaining
    if not remaining:
        return b""
    lines = b""
    for form, limits in ((_REQUESTS, plan.request_limits), (_TOKENS, plan.token_limits)):
        if limits:
            at = min(limits, key=remaining.__getitem__)  # the first of equals
            lines += form % (limits[at], remaining[at], _duration(taken.reset_s[at]))
    return lines


def _lines(what: bytes) -> bytes:
    return b"x-ratelimit-limit-%b: %%d\r\nx-ratelimit-remaining-%b: %%d\r\nx-ratelimit-reset-%b: %%b\r\n" % (
        what,
        what,
        what,
    )


_REQUESTS = _lines(b"requests")
_TOKENS = _lines(b"tokens")


def _duration(seconds: float) -> bytes:
    """Render as OpenAI does: ``850ms``, ``12s``, ``6m0s``."""
    if seconds < 1:
        return b"%dms" % int(seconds * 1000 + 0.999)
    whole = int(seconds + 0.999)
    return b"%ds" % whole if whole < 60 else b"%dm%ds" % divmod(whole, 60)
