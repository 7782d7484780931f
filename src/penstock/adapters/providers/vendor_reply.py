"""A vendor's answer on its way: net's response, with failures translated and the end watched.

Promises: an error that arrives with status 200 is a failure, and so is a body that is no answer; a stream that ends
without what its vendor ends streams with is `cut`; no error repeats the key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from penstock.adapters.providers.hints import rate_hint
from penstock.adapters.providers.manner import Manner
from penstock.dialects.codec import ERROR, Codec
from penstock.dialects.nonsense import UNREADABLE
from penstock.dialects.openai_facts import event_data
from penstock.kernel.clock import Clock
from penstock.kernel.errors import Unavailable
from penstock.net.client import Response
from penstock.ports.providers import ProviderFailure, RateHint

Hider = Callable[[bytes], bytes]
"""Takes our key out of what a vendor said."""

MAX_KEPT_BYTES: Final = 64 * 1024
"""Of an error's body."""
TAIL_BYTES: Final = 4096
SMALL_BYTES: Final = 64
"""Pieces below this are put together before the end is looked for in them."""

_KINDS: Final = {
    # net's words for what went wrong → kernel.faults
    "connect_failed": "connect_failed",
    "connect_timeout": "connect_timeout",
    "pool_full": "pool_exhausted",
    "pool_timeout": "pool_exhausted",
    "connection_reset": "connection_reset",
    "first_byte_timeout": "first_byte_timeout",
    "malformed_reply": "malformed_reply",
    "upstream_cut": "cut",
    "upstream_stalled": "stalled",
    "upstream_total_timeout": "total_timeout",
    "reply_too_large": "reply_too_large",
    "closed": "cut",
}


class VendorReply:
    """A successful answer. Whoever holds it closes it."""

    __slots__ = (
        "_before",
        "_clock",
        "_first",
        "_hide",
        "_last",
        "_manner",
        "_response",
        "status",
        "streamed",
    )

    def __init__(
        self,
        response: Response,
        manner: Manner,
        hide: Hider,
        clock: Clock,
        *,
        streamed: bool,
        first: bytes = b"",
    ) -> None:
        """Take over `response`; `first` are bytes already read from it."""
        self.status = response.status
        self.streamed = streamed
        self._response = response
        self._manner = manner
        self._hide = hide
        self._clock = clock
        self._first = first
        self._last = b""
        self._before = b""

    @property
    def rates(self) -> RateHint:
        """Return the vendor's rate limits as its headers tell them."""
        return rate_hint(self._response.header, self._manner.rates, self._clock.wall_s())

    @property
    def buffered_bytes(self) -> int:
        """Return how many received bytes wait to be read."""
        return len(self._first) + self._response.buffered_bytes

    def header(self, name: bytes) -> bytes | None:
        """Return a header of the vendor's response; `name` in lower case."""
        return self._response.header(name)

    async def read(self, max_bytes: int) -> bytes:
        """Return the whole body. Raises `ProviderFailure`, also for an error sent with status 200."""
        try:
            body = await self._response.read(max_bytes)
        except Unavailable as error:
            raise failure_of(error) from None
        manner = self._manner
        if body.rstrip()[-1:] != b"}" or not _has_one_of(manner.answer_marks, body):
            raise _not_an_answer(self._hide(body), manner.codec)
        inner = b"" if manner.inner_error is None else manner.inner_error(body)
        if inner:
            raise _vendor_failure(self._hide(inner), manner.codec)
        return body

    async def chunk(self) -> bytes:
        """Return the next bytes, b"" at the true end. Raises `ProviderFailure`."""
        if self._first:
            data, self._first = self._first, b""
        else:
            try:
                data = await self._response.chunk()
            except Unavailable as error:
                raise failure_of(error) from None
        if len(data) >= SMALL_BYTES:
            self._before, self._last = self._last, data
        elif data:
            self._last = (self._last + data)[-TAIL_BYTES:]  # else an end in crumbs would not be seen as one
        elif self.streamed and not self._ended():
            raise ProviderFailure(
                "The provider's stream ended without its end mark.", kind="cut", status=self.status
            )
        return data

    def _ended(self) -> bool:
        tail = b"\n%b%b" % (self._before[-TAIL_BYTES:], self._last)
        return any(end.search(tail) for end in self._manner.ends)

    def close(self) -> None:
        """Let the vendor go. Idempotent."""
        self._response.close()


def _has_one_of(marks: tuple[bytes, ...], body: bytes) -> bool:
    """Tell whether `body` has one of `marks`: an answer's own members come first or last, so this ends soon."""
    for mark in marks:  # noqa: SIM110 - any() over a generator takes five times as long
        if mark in body:
            return True
    return False


def failure_of(error: Unavailable, instead: Mapping[str, str] | None = None) -> ProviderFailure:
    """Translate net's failure; `instead` renames kinds that mean something else before the first content byte."""
    kind = _KINDS.get(error.reason, "server_error")
    return ProviderFailure(
        error.message,
        kind=(instead or {}).get(kind, kind),
        dispatched=getattr(error, "dispatched", True),
        retry_after_s=error.retry_after_s,
    )


def first_event_failure(first: bytes, codec: Codec, hide: Hider) -> ProviderFailure | None:
    """Return the failure that the first bytes of a stream tell, None when they are an answer's."""
    if not first:
        return ProviderFailure(
            "The provider's stream ended before it began.", kind="malformed_reply", status=200
        )
    if b'"error"' not in first:
        return None
    event = first.replace(b"\r\n", b"\n").partition(b"\n\n")[0] + b"\n\n"
    if codec.facts().feed(event) != ERROR:
        return None
    return _vendor_failure(hide(event_data(event)), codec)


def _not_an_answer(body: bytes, codec: Codec) -> ProviderFailure:
    try:
        value = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except UNREADABLE:
        value = {}
    if "error" in value or "detail" in value:
        return _vendor_failure(body, codec)
    return ProviderFailure(
        "The provider's reply is not an answer.", kind="malformed_reply", status=200, body=body[:2048]
    )


def _vendor_failure(body: bytes, codec: Codec) -> ProviderFailure:
    said = codec.read_error(200, body)
    return ProviderFailure(
        f"The provider answered with an error: {said.message}",
        kind=said.kind,
        status=200,
        retry_after_s=said.retry_after_s,
        body=body[:MAX_KEPT_BYTES],
        content_type="application/json",
    )
