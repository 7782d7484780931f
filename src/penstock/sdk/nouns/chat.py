"""Chat with a model, whole or as it is written; the models there are.

Promises: every parameter of OpenAI's chat API goes through as given; a streamed answer that was cut, or that ended with
an error, raises and never looks whole; nothing is sent twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from penstock.kernel.errors import Invalid, Unavailable, Upstream
from penstock.net.client import Timers
from penstock.net.http1 import Headers
from penstock.net.sse import SseEvent
from penstock.sdk.answers import Answer, Chunk, Completion, Message, TokenUsage
from penstock.sdk.calls import Calls, decoded, encoded
from penstock.sdk.failures import error_within
from penstock.sdk.replies import Model
from penstock.sdk.streams import EventStream
from penstock.sdk.transport import Incoming, Reply, Transport, told

CHAT: Final = "/v1/chat/completions"
TIMEOUT_S: Final = 610.0
"""A little over the server's own deadline, so that its error is told rather than ours."""
_CONNECT_S: Final = 3.0
_DONE: Final = b"[DONE]"
Messages = Sequence[Mapping[str, object] | Message]
_CHUNK: Final = msgspec.json.Decoder(Chunk)


class ChatStream(EventStream[Chunk]):
    """An answer as it is written. What headers tell is here once it is entered; `usage` when the last chunk came."""

    def __init__(self, transport: Transport, body: bytes, headers: bytes, timers: Timers) -> None:
        """Ask through `transport` when it is entered."""
        super().__init__(self._asked)
        self._transport = transport
        self._request = (body, headers, timers)
        self._headers: Headers = []
        self._is_done = False
        self._usage: TokenUsage | None = None

    @property
    def request_id(self) -> str:
        """The request's id, which `requests.get` takes."""
        return told(self._headers, b"x-request-id")

    @property
    def route(self) -> str:
        """The back end that answers."""
        return told(self._headers, b"x-penstock-route")

    @property
    def cost_nanos(self) -> int | None:
        """What it cost, if its headers told; else `requests.get(request_id)` does after its end."""
        return _cost_nanos(self._headers)

    @property
    def usage(self) -> TokenUsage | None:
        """The tokens, once the chunk came that tells them."""
        return self._usage

    async def _asked(self) -> Incoming:
        body, headers, timers = self._request
        incoming = await self._transport.stream("POST", CHAT, body, headers=headers, timers=timers)
        self._headers = incoming.headers
        return incoming

    async def _more(self, incoming: Incoming) -> bool:
        """Take one more piece; what comes after the end mark does not matter."""
        try:
            goes_on = await super()._more(incoming)
        except Unavailable:
            if self._is_done:
                return False
            raise
        if not goes_on and not self._is_done:
            raise Upstream("The answer broke off before its end.", code="stream_cut", remedy="Ask again.")
        return goes_on

    def _read(self, event: SseEvent) -> Chunk | None:
        """Return the chunk that an event holds."""
        data = event.data or b""
        if self._is_done or data == _DONE:
            self._is_done = True
            return None
        if b'"error"' in data and (error := error_within(data)) is not None:
            raise error
        try:
            chunk = _CHUNK.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Upstream(f"A chunk was not understood: {error}.", code="malformed_reply") from None
        self._usage = chunk.usage or self._usage
        return chunk


class ChatCalls(Calls):
    """Ask a model."""

    async def create(
        self,
        *,
        model: str,
        messages: Messages,
        feature: str = "",
        idempotency_key: str = "",
        traceparent: str = "",
        timeout_s: float = TIMEOUT_S,
        **parameters: object,
    ) -> Answer:
        """Return the whole answer. `feature` tags the request for the cost explorer; `parameters` are OpenAI's."""
        _refuse_stream(parameters)
        headers = _headers(feature, idempotency_key, traceparent)
        body = encoded({"model": model, "messages": messages, **parameters})
        return _answer(
            await self._transport.call("POST", CHAT, body, headers=headers, timers=_timers(timeout_s))
        )

    def stream(
        self,
        *,
        model: str,
        messages: Messages,
        feature: str = "",
        idempotency_key: str = "",
        traceparent: str = "",
        timeout_s: float = TIMEOUT_S,
        **parameters: object,
    ) -> ChatStream:
        """Return the answer as it is written, to be entered, read and left: ``async with``. Usage is asked for."""
        _refuse_stream(parameters)
        options = {"stream": True, "stream_options": {"include_usage": True}, **parameters}
        body = encoded({"model": model, "messages": messages, **options})
        headers = _headers(feature, idempotency_key, traceparent)
        return ChatStream(self._transport, body, headers, _timers(timeout_s))


class ModelCalls(Calls):
    """The models that this key may use."""

    async def list(self) -> tuple[Model, ...]:
        """Return them."""
        reply = await self._transport.call("GET", "/v1/models")
        return decoded(reply.body, _Models, "/v1/models").data


class _Models(msgspec.Struct, frozen=True):
    data: tuple[Model, ...]


def _answer(reply: Reply) -> Answer:
    said = decoded(reply.body, Completion, CHAT)
    return Answer(
        id=said.id,
        model=said.model,
        created=said.created,
        choices=said.choices,
        usage=said.usage,
        request_id=told(reply.headers, b"x-request-id"),
        route=told(reply.headers, b"x-penstock-route"),
        cost_nanos=_cost_nanos(reply.headers),
        body=reply.body,
    )


def _cost_nanos(headers: Headers) -> int | None:
    """Read what the request cost, None when the reply does not tell."""
    said = told(headers, b"x-penstock-cost-nanos")
    return int(said) if said.isascii() and said.isdigit() and len(said) <= 19 else None


def _headers(feature: str, idempotency_key: str, traceparent: str) -> bytes:
    """Render what goes beside the body. Raises Invalid for what no header can hold."""
    given = {
        "x-penstock-feature": feature,
        "idempotency-key": idempotency_key,
        "traceparent": traceparent,
    }
    for name, value in given.items():
        if not value.isascii() or not value.isprintable():
            raise Invalid("A header holds printable ASCII only.", field=name)
    return "".join(f"{name}: {value}\r\n" for name, value in given.items() if value).encode()


def _timers(timeout_s: float) -> Timers:
    """Allow the whole call `timeout_s` seconds; a model may think all that time before its first word."""
    return Timers(connect_s=_CONNECT_S, first_byte_s=timeout_s, between_chunks_s=timeout_s, total_s=timeout_s)


def _refuse_stream(parameters: Mapping[str, object]) -> None:
    if "stream" in parameters:
        raise Invalid(
            "Whether it is streamed is the method's choice.",
            field="stream",
            remedy="Use `chat.create` for the whole answer, `chat.stream` for one that comes in chunks.",
        )
