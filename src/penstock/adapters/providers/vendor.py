"""A vendor of models over HTTP: everything about a call that does not depend on the words it is made in.

The request's bytes go out as they are and the answer's bytes come back as they are; this file adds the key, watches
the end, and turns every failure into a `ProviderFailure` of one kind. What differs from vendor to vendor is a `Manner`,
made by the small files beside this one.

Promises, on top of the port's: the key appears in its header and nowhere else (a vendor that tells it back in an error
is not repeated), never in a target; a redirect is never followed (it would carry the key elsewhere); an error that
arrives with status 200, whole or as the first event of a stream, is a failure like any other; a stream that ends
without its end mark is `cut`, even if HTTP saw a clean end.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Final

from penstock.adapters.providers.hints import may_retry, rate_hint, retry_after_s
from penstock.adapters.providers.manner import Manner
from penstock.adapters.providers.vendor_reply import Hider, VendorReply, failure_of, first_event_failure
from penstock.adapters.providers.wholes import refused
from penstock.kernel.clock import Clock, SystemClock
from penstock.kernel.errors import Invalid, Unavailable, Upstream
from penstock.net.client import HttpClient, Origin, Response, Timers
from penstock.ports.providers import CallTimers, ChatCall, ProviderFailure
from penstock.ports.secrets import Secret

MAX_ERROR_BYTES: Final = 64 * 1024
MAX_ASIDE_BYTES: Final = 8 * 1024 * 1024
"""A list of models at most."""
MAX_CALL_BYTES: Final = 96 * 1024 * 1024
"""The answer to a call that is no chat: 2,048 vectors of 3,072 numbers are 80 MB of JSON."""
KEY_START_BYTES: Final = 8
ASIDE_TIMERS: Final = CallTimers(connect_s=3.0, first_byte_s=10.0, between_chunks_s=10.0, total_s=20.0)
"""Bounds on calls that ask for something else than an answer."""

_BEFORE_CONTENT: Final = {"cut": "connection_reset", "stalled": "first_byte_timeout"}
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_RESERVED: Final = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "content-type", "accept"}
)


class VendorProvider:
    """A `ChatProvider` over a vendor's HTTP interface. It owns its `HttpClient`."""

    def __init__(
        self,
        name: str,
        manner: Manner,
        *,
        base_url: str,
        client: HttpClient,
        key: Secret | None = None,
        vendor: str = "",
        headers: Mapping[str, str] | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Prepare calls to `base_url`. `vendor` is the price book's provider id (default: `name`); `headers` go with
        every call. Raises `Invalid` for a header or a key that could change a message's shape.
        """
        self.name = name
        self.vendor = vendor or name
        self.dialect = manner.codec.name
        self.limit_name = manner.limit_name
        self._manner = manner
        self._client = client
        self._clock = clock or SystemClock()
        self._origin, path = Origin.parse(base_url)
        self._path = path.encode()
        self._keyless = b"user-agent: penstock\r\naccept-encoding: identity\r\n" + manner.headers
        self._keyless += _header_lines(headers or {})
        self._key: Secret | None = None
        self.rekey(key)
        self._timers_seen = (ASIDE_TIMERS, _timers(ASIDE_TIMERS))

    def rekey(self, key: Secret | None) -> None:
        """Call under `key` from the next call on; calls under way end under theirs. Raises `Invalid` for a key that
        could change a message's shape; the one before stands then.
        """
        common = self._keyless
        if key is not None:
            common += self._manner.key_header % header_value("key", key.reveal()) + b"\r\n"
        self._hide = _hider(key, self._key)  # an answer to a call under the key before may tell that one back
        self._key = key
        self._get_headers = common + b"accept: application/json\r\n"
        self._json_headers = self._get_headers + b"content-type: application/json\r\n"
        self._sse_headers = common + b"accept: text/event-stream\r\ncontent-type: application/json\r\n"

    async def chat(self, call: ChatCall) -> VendorReply:
        """Start one attempt. Raises `ProviderFailure`."""
        manner = self._manner
        headers = self._sse_headers if call.stream else self._json_headers
        try:
            response = await self._client.request(
                self._origin,
                b"POST",
                self._path + manner.target(call),
                headers + b"x-request-id: %b\r\n" % header_value("request_id", call.request_id),
                manner.shape(call.body),
                self._timers(call.timers),
            )
        except Unavailable as error:
            raise failure_of(error) from None
        if response.status != 200:
            raise await self._refused(response)
        # One that was asked for a stream may send a whole reply instead, or an error.
        if not call.stream or b"json" in (response.header(b"content-type") or b""):
            return VendorReply(response, manner, self._hide, self._clock, streamed=False)
        return await self._begun(response)

    async def close(self) -> None:
        """Release every connection."""
        await self._client.close()

    async def _aside(self, method: bytes, target: bytes, body: bytes = b"") -> bytes:
        """Ask for something that is no answer, and return the body. Raises `ProviderFailure`."""
        headers = self._json_headers if body else self._get_headers
        path = self._path + target
        return await self._whole(method, path, headers, body, _timers(ASIDE_TIMERS), MAX_ASIDE_BYTES)

    async def _called(
        self, target: bytes, body: bytes, request_id: str, timers: CallTimers, *, under: bytes | None = None
    ) -> bytes:
        """Make a call that is no chat, and return the body. `under` is the path before `target` where that of the base
        URL will not do. Raises `ProviderFailure`.
        """
        path = (self._path if under is None else under) + target
        headers = self._json_headers + b"x-request-id: %b\r\n" % header_value("request_id", request_id)
        return await self._whole(b"POST", path, headers, body, self._timers(timers), MAX_CALL_BYTES)

    async def _whole(
        self, method: bytes, path: bytes, headers: bytes, body: bytes, timers: Timers, max_bytes: int
    ) -> bytes:
        try:
            response = await self._client.request(self._origin, method, path, headers, body, timers)
            if response.status != 200:
                raise await self._refused(response)
            try:
                return await response.read(max_bytes)
            finally:
                response.close()
        except ProviderFailure:
            raise
        except Unavailable as error:
            raise failure_of(error) from None

    @contextmanager
    def _telling(self, what: str) -> Generator[None, None, None]:
        """Around what says a request and reads `what` comes back: `ProviderFailure` for words that cannot be said, and
        for a reply that is none.
        """
        try:
            yield
        except ProviderFailure:
            raise
        except Invalid as error:
            raise refused(error) from None
        except Upstream:
            raise self._nonsense(what) from None

    def _nonsense(self, expected: str) -> ProviderFailure:
        """Return the failure of a vendor that answered with something else than `expected`."""
        return ProviderFailure(
            f"{self.name} did not answer with {expected}.", kind="malformed_reply", status=200
        )

    def _timers(self, timers: CallTimers) -> Timers:
        """Return net's form of `timers`, made anew only when they changed."""
        if timers is not self._timers_seen[0]:
            self._timers_seen = (timers, _timers(timers))
        return self._timers_seen[1]

    async def _begun(self, response: Response) -> VendorReply:
        """Wait for a stream's first bytes, so that what fails before them can still be tried elsewhere."""
        try:
            first = await response.chunk()
        except Unavailable as error:
            response.close()
            raise failure_of(error, _BEFORE_CONTENT) from None
        except BaseException:  # because a cancelled caller holds no reply it could close
            response.close()
            raise
        failure = first_event_failure(first, self._manner.codec, self._hide)
        if failure is not None:
            response.close()
            raise failure
        return VendorReply(response, self._manner, self._hide, self._clock, streamed=True, first=first)

    async def _refused(self, response: Response) -> ProviderFailure:
        """Read a refusal, bounded, and say what it means."""
        status, header, now_s = response.status, response.header, self._clock.wall_s()
        try:
            body = self._hide(await response.read(MAX_ERROR_BYTES))
        except Unavailable:
            body = b""  # the status alone must do
        finally:
            response.close()
        said = self._manner.codec.read_error(status, body)
        if 300 <= status < 400:
            message = f"{self.name} answered with a redirect ({status}), which is not followed: set its final base URL."
        else:
            message = f"{self.name} answered {status}: {said.message}"
        hint = retry_after_s(header, now_s)
        return ProviderFailure(
            message,
            kind=said.kind,
            status=status,
            retry_after_s=said.retry_after_s if hint is None else hint,
            body=body,
            content_type=(header(b"content-type") or b"").decode("latin-1"),
            may_retry=may_retry(header),
            rates=rate_hint(header, self._manner.rates, now_s),
        )


def _hider(*keys: Secret | None) -> Hider:
    """Return what hides keys where a vendor tells one back ("Incorrect API key provided: …"), whole or cut short."""
    starts = {key.reveal().encode()[:KEY_START_BYTES] for key in keys if key is not None}
    hidden = [re.escape(start) for start in starts if len(start) == KEY_START_BYTES]
    if not hidden:
        return bytes
    told = re.compile(rb"(?:%b)[^\s\"'<>\\,;]*" % b"|".join(hidden))
    return lambda body: told.sub(b"***", body)


def _timers(timers: CallTimers) -> Timers:
    return Timers(
        connect_s=timers.connect_s,
        first_byte_s=timers.first_byte_s,
        between_chunks_s=timers.between_chunks_s,
        total_s=timers.total_s,
    )


def _header_lines(headers: Mapping[str, str]) -> bytes:
    """Render configured headers. Raises `Invalid` for a name or a value that could change the message's shape."""
    lines: list[bytes] = []
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or name.lower() in _RESERVED:
            raise Invalid(
                "This header cannot be set.",
                field=f"headers.{name}",
                remedy="Remove it from the configuration.",
            )
        lines.append(b"%b: %b\r\n" % (name.lower().encode(), header_value(name, value)))
    return b"".join(lines)


def header_value(name: str, value: str) -> bytes:
    """Return a header's value as bytes. Raises `Invalid` for one that could change the message's shape."""
    if not value.isascii() or not value.isprintable() or value != value.strip():
        raise Invalid("A header's value must be printable ASCII without blanks around it.", field=name)
    return value.encode("ascii")
