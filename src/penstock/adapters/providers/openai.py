"""Any server that speaks OpenAI chat completions: OpenAI, Azure, vLLM, SGLang, Ollama, OpenRouter, Groq and so on.

The request's bytes go out as they are and the answer's bytes come back as they are; this file adds the key, watches
the end, and turns every failure into a `ProviderFailure` of one kind.

Promises, on top of the port's: the key appears in the Authorization header and nowhere else (a vendor that tells it
back in an error is not repeated); a redirect is never
followed (it would carry the key elsewhere); an error that arrives with status 200, whole or as the first event of a
stream, is a failure like any other; a stream that ends without its end mark is `cut`, even if HTTP saw a clean end.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from penstock.adapters.providers.hints import RateHint, may_retry, rate_hint, retry_after_s
from penstock.dialects.openai_errors import read_vendor_error
from penstock.dialects.openai_facts import ERROR, StreamFacts, event_data
from penstock.kernel.clock import Clock, SystemClock
from penstock.kernel.errors import Invalid, Unavailable
from penstock.net.client import HttpClient, Origin, Response, Timers
from penstock.ports.providers import CallTimers, ChatCall, ProviderFailure
from penstock.ports.secrets import Secret

MAX_ERROR_BYTES: Final = 64 * 1024
MAX_MODELS_BYTES: Final = 8 * 1024 * 1024
KEY_START_BYTES: Final = 8
MODELS_TIMERS: Final = CallTimers(connect_s=3.0, first_byte_s=10.0, between_chunks_s=10.0, total_s=20.0)

_KINDS: Final = {
    # net's words for what went wrong → kernel.faults
    "connect_failed": "connect_failed",
    "connect_timeout": "connect_timeout",
    "pool_full": "overloaded",
    "pool_timeout": "overloaded",
    "connection_reset": "connection_reset",
    "first_byte_timeout": "first_byte_timeout",
    "malformed_reply": "malformed_reply",
    "upstream_cut": "cut",
    "upstream_stalled": "stalled",
    "upstream_total_timeout": "total_timeout",
    "reply_too_large": "reply_too_large",
    "closed": "cut",
}
_BEFORE_CONTENT: Final = {"cut": "connection_reset", "stalled": "first_byte_timeout"}
_FINISHED: Final = re.compile(rb'"finish_reason": ?"')
Hider = Callable[[bytes], bytes]
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_RESERVED: Final = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "content-type", "accept"}
)


class _Model(msgspec.Struct, gc=False):
    id: str


class _Models(msgspec.Struct, gc=False):
    data: list[_Model]


_MODELS: Final = msgspec.json.Decoder(_Models)


class OpenAIProvider:
    """A `ChatProvider` and `ListsModels` over an OpenAI-compatible server. It owns its `HttpClient`."""

    dialect = "openai"

    def __init__(
        self,
        name: str,
        *,
        base_url: str,
        client: HttpClient,
        key: Secret | None = None,
        vendor: str = "",
        headers: Mapping[str, str] | None = None,
        limit_name: str = "",
        clock: Clock | None = None,
    ) -> None:
        """Prepare calls to `base_url` (with its ``/v1`` where the server has one).

        `vendor` is the price book's provider id (default: `name`). `headers` go with every call. `limit_name` is the
        member this server obeys as output limit; by default `max_completion_tokens` for the vendor "openai" and
        `max_tokens` for everybody else (Ollama and older vLLM ignore the new name, and an ignored limit costs money).
        """
        self.name = name
        self.vendor = vendor or name
        self.limit_name = limit_name or ("max_completion_tokens" if self.vendor == "openai" else "max_tokens")
        self._client = client
        self._clock = clock or SystemClock()
        self._origin, path = Origin.parse(base_url)
        self._chat_target = f"{path}/chat/completions".encode()
        self._models_target = f"{path}/models".encode()
        common = b"user-agent: penstock\r\naccept-encoding: identity\r\n" + _header_lines(headers or {})
        self._hide = _hider(key)
        if key is not None:
            common += b"authorization: Bearer %b\r\n" % _header_value("key", key.reveal())
        self._get_headers = common + b"accept: application/json\r\n"
        self._json_headers = self._get_headers + b"content-type: application/json\r\n"
        self._timers_seen = (MODELS_TIMERS, _timers(MODELS_TIMERS))
        self._sse_headers = common + b"accept: text/event-stream\r\ncontent-type: application/json\r\n"

    async def chat(self, call: ChatCall) -> OpenAIReply:
        """Start one attempt. Raises `ProviderFailure`."""
        headers = self._sse_headers if call.stream else self._json_headers
        try:
            response = await self._client.request(
                self._origin,
                b"POST",
                self._chat_target,
                headers + b"x-request-id: %b\r\n" % _header_value("request_id", call.request_id),
                call.body,
                self._timers(call.timers),
            )
        except Unavailable as error:
            raise _failure(error) from None
        if response.status != 200:
            raise await self._refused(response)
        if not call.stream:
            return OpenAIReply(response, self._hide, streamed=False)
        kind = response.header(b"content-type") or b""
        if b"json" in kind:  # asked for a stream, got a whole reply (or an error)
            return OpenAIReply(response, self._hide, streamed=False)
        return await self._begun(response)

    async def models(self) -> Sequence[str]:
        """Return the server's model names. Raises `ProviderFailure`."""
        try:
            response = await self._client.request(
                self._origin, b"GET", self._models_target, self._get_headers, b"", _timers(MODELS_TIMERS)
            )
            if response.status != 200:
                raise await self._refused(response)
            try:
                body = await response.read(MAX_MODELS_BYTES)
            finally:
                response.close()
        except ProviderFailure:
            raise
        except Unavailable as error:
            raise _failure(error) from None
        try:
            return [model.id for model in _MODELS.decode(body).data]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise ProviderFailure(
                f"{self.name} did not answer with a list of models.", kind="malformed_reply", status=200
            ) from None

    async def close(self) -> None:
        """Release every connection."""
        await self._client.close()

    def _timers(self, timers: CallTimers) -> Timers:
        """Return net's form of `timers`, made anew only when they changed."""
        if timers is not self._timers_seen[0]:
            self._timers_seen = (timers, _timers(timers))
        return self._timers_seen[1]

    async def _begun(self, response: Response) -> OpenAIReply:
        """Wait for a stream's first bytes, so that what fails before them can still be tried elsewhere."""
        try:
            first = await response.chunk()
        except Unavailable as error:
            response.close()
            raise _failure(error, _BEFORE_CONTENT) from None
        except BaseException:  # because a cancelled caller holds no reply it could close
            response.close()
            raise
        failure = _first_event_failure(first, self._hide)
        if failure is not None:
            response.close()
            raise failure
        return OpenAIReply(response, self._hide, streamed=True, first=first)

    async def _refused(self, response: Response) -> ProviderFailure:
        """Read a refusal, bounded, and say what it means."""
        status, header = response.status, response.header
        try:
            body = self._hide(await response.read(MAX_ERROR_BYTES))
        except Unavailable:
            body = b""  # the status alone must do
        finally:
            response.close()
        said = read_vendor_error(status, body)
        if 300 <= status < 400:
            message = f"{self.name} answered with a redirect ({status}), which is not followed: set its final base URL."
        else:
            message = f"{self.name} answered {status}: {said.message}"
        hint = retry_after_s(header, self._clock.wall_s())
        return ProviderFailure(
            message,
            kind=said.kind,
            status=status,
            retry_after_s=said.retry_after_s if hint is None else hint,
            body=body,
            content_type=(header(b"content-type") or b"").decode("latin-1"),
            may_retry=may_retry(header),
        )


class OpenAIReply:
    """A successful answer on its way: net's response, with failures translated and the end watched."""

    __slots__ = ("_before", "_first", "_hide", "_last", "_response", "status", "streamed")

    def __init__(self, response: Response, hide: Hider, *, streamed: bool, first: bytes = b"") -> None:
        """Take over `response`; `first` are bytes already read from it; `hide` takes our key out of errors."""
        self.status = response.status
        self.streamed = streamed
        self._hide = hide
        self._response = response
        self._first = first
        self._last = b""
        self._before = b""

    @property
    def rates(self) -> RateHint:
        """Return the vendor's rate limits as its headers tell them."""
        return rate_hint(self._response.header)

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
            raise _failure(error) from None
        # An answer's own members come first or last, its text in between: one search settles the usual case.
        if b'"choices"' not in body or body.rstrip()[-1:] != b"}":
            raise _not_an_answer(self._hide(body))
        return body

    async def chunk(self) -> bytes:
        """Return the next bytes, b"" at the true end. Raises `ProviderFailure`."""
        if self._first:
            data, self._first = self._first, b""
        else:
            try:
                data = await self._response.chunk()
            except Unavailable as error:
                raise _failure(error) from None
        if data:
            self._before, self._last = self._last, data
        elif self.streamed and not _ended(self._before[-4096:] + self._last):
            raise ProviderFailure(
                "The provider's stream ended without its end mark.", kind="cut", status=self.status
            )
        return data

    def close(self) -> None:
        """Let the vendor go. Idempotent."""
        self._response.close()


def _hider(key: Secret | None) -> Hider:
    """Return what hides the key where a vendor tells it back ("Incorrect API key provided: …"), whole or cut short."""
    start = b"" if key is None else key.reveal().encode()[:KEY_START_BYTES]
    if len(start) < KEY_START_BYTES:
        return bytes
    told = re.compile(re.escape(start) + rb"[^\s\"'<>\\,;]*")
    return lambda body: told.sub(b"***", body)


def _ended(tail: bytes) -> bool:
    """Tell whether the last bytes of a stream are an end: the mark, a finish reason, or an error event."""
    return b"[DONE]" in tail or b'"error"' in tail or _FINISHED.search(tail) is not None


def _first_event_failure(first: bytes, hide: Hider) -> ProviderFailure | None:
    """Return the failure that the first bytes of a stream tell, None when they are an answer's."""
    if not first:
        return ProviderFailure(
            "The provider's stream ended before it began.", kind="malformed_reply", status=200
        )
    if b'"error"' not in first:
        return None
    event = first.replace(b"\r\n", b"\n").partition(b"\n\n")[0] + b"\n\n"
    facts = StreamFacts()
    if facts.feed(event) != ERROR:
        return None
    return _vendor_failure(hide(event_data(event)))


def _not_an_answer(body: bytes) -> ProviderFailure:
    try:
        value = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = {}
    if "error" in value or "detail" in value:
        return _vendor_failure(body)
    return ProviderFailure(
        "The provider's reply is not a chat completion.", kind="malformed_reply", status=200, body=body[:2048]
    )


def _vendor_failure(body: bytes) -> ProviderFailure:
    said = read_vendor_error(200, body)
    return ProviderFailure(
        f"The provider answered with an error: {said.message}",
        kind=said.kind,
        status=200,
        retry_after_s=said.retry_after_s,
        body=body[:MAX_ERROR_BYTES],
        content_type="application/json",
    )


def _failure(error: Unavailable, instead: Mapping[str, str] | None = None) -> ProviderFailure:
    """Translate net's failure; `instead` renames kinds that mean something else before the first content byte."""
    kind = _KINDS.get(error.reason, "server_error")
    return ProviderFailure(
        error.message,
        kind=(instead or {}).get(kind, kind),
        dispatched=getattr(error, "dispatched", True),
        retry_after_s=error.retry_after_s,
    )


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
        lines.append(b"%b: %b\r\n" % (name.lower().encode(), _header_value(name, value)))
    return b"".join(lines)


def _header_value(name: str, value: str) -> bytes:
    if not value.isascii() or not value.isprintable() or value != value.strip():
        raise Invalid("A header's value must be printable ASCII without blanks around it.", field=name)
    return value.encode("ascii")
