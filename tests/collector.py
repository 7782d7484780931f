"""A collector of OpenTelemetry for tests: takes OTLP/HTTP on a free port, reads it with the official messages.

    with Collector() as collector:
        ... OtlpSpans(collector.url)
        collector.spans()                          what arrived, in order
        collector.order("429; retry-after=7")      what the next request gets

Orders: a status, with `retry-after=SECONDS` or not; `partial=N` (taken, but for N spans); `hang` (the head is read, no
answer comes); `cut` (closed without an answer); `garbage` (taken, with an answer that is no message).

Promise: it is Python's own `http.server`, so that nothing of ours is on its side of the wire; a request that is not
OTLP as the protocol has it gets 400 and is told in `faults`; `close` ends every request that hangs.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Status
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan

from penstock.contracts.spans import Arrived

PROTOBUF = "application/x-protobuf"
KINDS = {
    WireSpan.SPAN_KIND_SERVER: "server",
    WireSpan.SPAN_KIND_INTERNAL: "internal",
    WireSpan.SPAN_KIND_CLIENT: "client",
}
IS_REMOTE = 0x200


class Collector:
    """A receiver of spans that does as it is ordered."""

    def __init__(self, path: str = "/v1/traces") -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        """The batches taken."""
        self.asked = 0
        """Requests that came, whatever became of them."""
        self.headers: list[dict[str, str]] = []
        """The headers of each, names in small letters."""
        self.faults: list[str] = []
        self.path = path
        self.orders: deque[str] = deque()
        self.always = ""
        """What every request gets while there are no orders."""
        self._closing = threading.Event()

    def __enter__(self) -> Self:
        collector = self

        class Handler(_Handler):
            told = collector

        self._server = _Listener(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take no more connections. Idempotent."""
        if not self._closing.is_set():
            self._closing.set()
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    def order(self, *texts: str) -> None:
        """Say what the next requests get, one each."""
        self.orders.extend(texts)

    def spans(self) -> list[Arrived]:
        """Return the spans that were taken, in the order in which they came."""
        return [
            arrived(span)
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def resources(self) -> list[ResourceSpans]:
        """Return what each batch says of who sent it."""
        return [resource for request in self.requests for resource in request.resource_spans]

    def wait(self) -> None:
        """Hang until `close`."""
        self._closing.wait(30)


class _Listener(ThreadingHTTPServer):
    request_queue_size = 128


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    told: Collector

    def do_POST(self) -> None:
        collector = self.told
        body = self.rfile.read(int(self.headers["content-length"]))
        collector.asked += 1
        collector.headers.append({name.lower(): value for name, value in self.headers.items()})
        order = collector.orders.popleft() if collector.orders else collector.always
        what, _, detail = order.partition("=" if order.startswith("partial") else ";")
        match what.strip():
            case "hang":
                collector.wait()
                self.close_connection = True
            case "cut":
                self.close_connection = True
            case "" | "partial" | "garbage":
                self._take(body, what, int(detail) if what == "partial" else 0)
            case status:
                lines = [part.strip().split("=") for part in detail.split(";") if part]
                self._answer(int(status), b"no", lines)

    def _take(self, body: bytes, what: str, refused: int) -> None:
        try:
            if self.path != self.told.path or self.headers["content-type"] != PROTOBUF:
                raise ValueError(f"{self.path} {self.headers['content-type']}")
            request = ExportTraceServiceRequest.FromString(body)
            check(request)
        except Exception as fault:  # because whatever it is, the test must see it
            self.told.faults.append(repr(fault))
            self._answer(400, b"", [])
            return
        self.told.requests.append(request)
        answer = ExportTraceServiceResponse()
        if refused:
            answer.partial_success.rejected_spans = refused
        self._answer(200, b"\xff<html>" if what == "garbage" else answer.SerializeToString(), [])

    def _answer(self, status: int, body: bytes, lines: Sequence[Sequence[str]]) -> None:
        self.send_response(status)
        self.send_header("content-type", PROTOBUF)
        self.send_header("content-length", str(len(body)))
        for name, value in lines:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def check(request: ExportTraceServiceRequest) -> None:
    """Raise ValueError unless every span is one that the specification allows."""
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                sizes = (len(span.trace_id), len(span.span_id), len(span.parent_span_id))
                if sizes not in {(16, 8, 0), (16, 8, 8)}:
                    raise ValueError(f"ids of {sizes} bytes")
                if not span.name or span.end_time_unix_nano < span.start_time_unix_nano:
                    raise ValueError(f"no name, or an end before the beginning: {span}")
                keys = [pair.key for pair in span.attributes]
                if len(keys) != len(set(keys)):
                    raise ValueError(f"an attribute twice: {keys}")


def arrived(span: WireSpan) -> Arrived:
    """Return a span as the contract looks at it."""
    failed = span.status.code == Status.STATUS_CODE_ERROR
    return Arrived(
        name=span.name,
        kind=KINDS.get(span.kind, str(span.kind)),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        remote_parent=bool(span.flags & IS_REMOTE),
        began_ns=span.start_time_unix_nano,
        ended_ns=span.end_time_unix_nano,
        attributes=attributes(span.attributes),
        failed=failed,
        error=span.status.message if failed else "",
    )


def attributes(pairs: Sequence[KeyValue]) -> dict[str, object]:
    """Return attributes as plain values, each of its own type."""
    return {pair.key: _plain(pair.value) for pair in pairs}


def _plain(value: AnyValue) -> object:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return tuple(_plain(each) for each in value.array_value.values)
    return getattr(value, str(kind))
