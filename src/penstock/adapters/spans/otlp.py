"""Spans to any collector of OpenTelemetry: OTLP 1 over HTTP, as protobuf, over Penstock's own client.

The messages are the ones that the OpenTelemetry project generates from the protocol's definition, joined as bytes: most
attributes of a request are those of the one before it, and an encoded one is remembered. Its `OTLPSpanExporter` is not
used: it would encode whole batches on a thread (which holds the event loop up for milliseconds at a time), repeat
failed batches by itself behind our bounds, hide the collector's answer, and read the environment.

Promises, on top of the port's: the event loop is held for one slice of a batch at a time; headers (a collector's key)
are sent to the collector and shown nowhere; a redirect is never followed.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import starmap
from typing import Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, SpanFlags, Status
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan

from penstock.kernel.errors import Invalid, Rejected, Unavailable
from penstock.kernel.spans import Attribute, Span
from penstock.net.client import HttpClient, Origin, Response, Timers

TRACES_PATH: Final = "/v1/traces"
SLICE: Final = 24
"""Spans encoded without letting the event loop breathe (about 0.2 ms)."""
MAX_ANSWER_BYTES: Final = 64 * 1024
MAX_RETRY_AFTER_S: Final = 300.0
AGAIN: Final = frozenset({429, 502, 503, 504})
"""The statuses after which the protocol lets a batch be sent again."""
REMEMBERED: Final = 4_096
"""Encoded attributes kept at most."""
LEN: Final = 2
RESOURCE_SPANS: Final = ExportTraceServiceRequest.RESOURCE_SPANS_FIELD_NUMBER
SCOPE_SPANS: Final = ResourceSpans.SCOPE_SPANS_FIELD_NUMBER
SPANS: Final = ScopeSpans.SPANS_FIELD_NUMBER
ATTRIBUTES: Final = WireSpan.ATTRIBUTES_FIELD_NUMBER
_KINDS: Final = {
    "server": WireSpan.SPAN_KIND_SERVER,
    "internal": WireSpan.SPAN_KIND_INTERNAL,
    "client": WireSpan.SPAN_KIND_CLIENT,
}
_SAMPLED: Final = 0x01 | SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK
"""What is sent was sampled, by the flag of W3C Trace Context, and whether its parent is remote is known."""
_REMOTE: Final = SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
_RESERVED: Final = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "content-type", "user-agent"}
)


class OtlpSpans:
    """A `SpanSink` that posts to one collector. It owns its `HttpClient`."""

    def __init__(
        self,
        endpoint: str,
        *,
        client: HttpClient,
        schema_url: str,
        resource: Mapping[str, str],
        version: str,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 10.0,
    ) -> None:
        """Prepare posts to `endpoint`: a collector's base, to which ``/v1/traces`` is added, or the whole address.

        `resource` says who sends (``service.name`` and so on), `schema_url` which conventions name the attributes,
        `version` ours. `timeout_s` bounds one batch. Raises Invalid for an address or a header that is none.
        """
        self._client = client
        self._origin, path = _address(endpoint)
        self._target = (path if path.endswith(TRACES_PATH) else path + TRACES_PATH).encode()
        self._headers = b"user-agent: penstock\r\ncontent-type: application/x-protobuf\r\n" + _lines(
            headers or {}
        )
        self._timers = Timers(
            connect_s=timeout_s, first_byte_s=timeout_s, between_chunks_s=timeout_s, total_s=timeout_s
        )
        self._resource = Resource(attributes=_attributes(resource))
        self._scope = InstrumentationScope(name="penstock", version=version)
        self._schema_url = schema_url

    async def export(self, spans: Sequence[Span]) -> int:
        """Post a batch; return how many spans of it the collector did not want. Raises Rejected, Unavailable."""
        body = await self._encoded(spans)
        response = await self._client.request(
            self._origin, b"POST", self._target, self._headers, body, self._timers
        )
        try:
            if response.status == 200:
                return await _refused(response)
        finally:
            response.close()
        if response.status in AGAIN:
            raise Unavailable(
                f"The collector answers {response.status}.",
                code="collector_busy",
                retry_after_s=_retry_after_s(response),
            )
        raise Rejected(
            f"The collector answers {response.status}.",
            code="spans_rejected",
            field="otel.endpoint",
            remedy="Check the address and the headers.",
        )

    async def close(self) -> None:
        """Let the connections go; a batch on its way fails."""
        await self._client.close()

    async def _encoded(self, spans: Sequence[Span]) -> bytes:
        """Return the batch as one message: messages of slices, one after the other, are the message of all."""
        parts: list[bytes] = []
        for start in range(0, len(spans), SLICE):
            parts.append(self.encoded(spans[start : start + SLICE]))
            await asyncio.sleep(0)
        return b"".join(parts)

    def encoded(self, spans: Sequence[Span]) -> bytes:
        """Return spans as one ``ExportTraceServiceRequest``."""
        scoped = ScopeSpans(scope=self._scope, schema_url=self._schema_url).SerializeToString()
        scoped += b"".join([_member(SPANS, _encoded(span)) for span in spans])
        sent = ResourceSpans(resource=self._resource, schema_url=self._schema_url).SerializeToString()
        return _member(RESOURCE_SPANS, sent + _member(SCOPE_SPANS, scoped))


def _address(endpoint: str) -> tuple[Origin, str]:
    """Return where a collector is. Raises Invalid, which shows nothing of an address that holds credentials."""
    try:
        return Origin.parse(endpoint)
    except Invalid as error:
        raise Invalid(error.message, field="otel.endpoint", value=error.value, remedy=error.remedy) from None


def _encoded(span: Span) -> bytes:
    """Return one span: the members of a message may come in any order, and in pieces."""
    bare = WireSpan(
        trace_id=bytes.fromhex(span.trace_id),
        span_id=bytes.fromhex(span.span_id),
        parent_span_id=bytes.fromhex(span.parent_id),
        flags=_SAMPLED | _REMOTE if span.remote_parent else _SAMPLED,
        name=span.name,
        kind=_KINDS[span.kind],
        start_time_unix_nano=span.began_ns,
        end_time_unix_nano=span.ended_ns,
        status=Status(code=Status.STATUS_CODE_ERROR, message=span.error) if span.failed else None,
    )
    return b"".join([bare.SerializeToString(), *starmap(_encoded_attribute, span.attributes.items())])


@lru_cache(maxsize=REMEMBERED, typed=True)
def _encoded_attribute(name: str, value: Attribute) -> bytes:
    return _member(ATTRIBUTES, KeyValue(key=name, value=_value(value)).SerializeToString())


def _member(number: int, message: bytes) -> bytes:
    """Return a message as a member of another: its number and wire type, its length, itself (protobuf's LEN record)."""
    head, size = bytearray((number << 3 | LEN,)), len(message)
    while size > 0x7F:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    head.append(size)
    return bytes(head) + message


def _attributes(attributes: Mapping[str, Attribute]) -> list[KeyValue]:
    return [KeyValue(key=name, value=_value(value)) for name, value in attributes.items()]


def _value(value: Attribute) -> AnyValue:
    if isinstance(value, str):
        return AnyValue(string_value=value)
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    return AnyValue(array_value=ArrayValue(values=[AnyValue(string_value=each) for each in value]))


async def _refused(response: Response) -> int:
    """Return how many spans a collector that took the batch did not want; 0 when its answer does not say."""
    try:
        answer = ExportTraceServiceResponse.FromString(await response.read(MAX_ANSWER_BYTES))
    except (
        Exception
    ):  # because the batch is taken by its status: an answer cut off or not to be read changes nothing
        return 0
    return max(0, answer.partial_success.rejected_spans)


def _retry_after_s(response: Response) -> float | None:
    """Return the seconds that a collector asks to wait; None when it gives no number."""
    text = (response.header(b"retry-after") or b"").strip()
    return min(float(text), MAX_RETRY_AFTER_S) if text.isdigit() and len(text) < 10 else None


def _lines(headers: Mapping[str, str]) -> bytes:
    """Return headers as lines. Raises Invalid, which shows no value."""
    lines: list[bytes] = []
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or name.lower() in _RESERVED:
            raise Invalid(
                "Not the name of a header that may be set.", field="otel.headers_secret", value=name
            )
        if not value.isascii() or not value.isprintable():
            raise Invalid("A header holds what no header may hold.", field="otel.headers_secret", value=name)
        lines.append(f"{name.lower()}: {value}\r\n".encode())
    return b"".join(lines)
