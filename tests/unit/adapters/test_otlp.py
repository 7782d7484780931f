"""Spans over OTLP: what goes over the wire is what the official exporter would send, and nothing shows the headers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec
import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from penstock.adapters.spans.otlp import SLICE, OtlpSpans
from penstock.kernel.errors import Invalid, PenstockError, Rejected
from penstock.kernel.events import Call, RequestEvent
from penstock.kernel.spans import Attribute, Span
from penstock.mechanisms.spans import spans_of
from penstock.net.client import HttpClient
from tests.collector import Collector, attributes
from tests.support import run

SCHEMA = "https://opentelemetry.io/schemas/1.41.1"
RESOURCE = {"service.name": "penstock", "service.version": "1"}
EVENT = RequestEvent(
    request_id="req_1", at_s=1_800_000_000.25, org="acme", team="Küche", model="fast", provider="sim",
    model_used="gpt-4o", route="fast>sim/gpt-4o", stream=True, status=502, error="upstream_error", input_tokens=12,
    output_tokens=3, cost_nanos=777, routed_ms=1.0, admitted_ms=3.0, first_token_ms=50.5, latency_ms=90.125,
    calls=(Call("dear", "big", 3.0, 10.0, "overloaded"), Call("sim", "gpt-4o", 20.0, 90.0, "ok", 777, 12, 3)),
    finish="stop", temperature=0.5, max_tokens=100, flags=("pii", "long"),
    trace_id="4bf92f3577b34da6a3ce929d0e0e4736", parent_span="00f067aa0ba902b7", parent_sampled=True,
)  # fmt: skip


def sink(endpoint: str, headers: Mapping[str, str] | None = None) -> OtlpSpans:
    return OtlpSpans(
        endpoint, client=HttpClient(), schema_url=SCHEMA, resource=RESOURCE, version="1", headers=headers
    )


async def sent(endpoint: str, headers: Mapping[str, str] | None = None) -> None:
    """Send one request's spans and let the connection go."""
    opened = sink(endpoint, headers)
    try:
        await opened.export(spans_of(EVENT))
    finally:
        await opened.close()


def official(span: Span) -> ReadableSpan:
    """Return a span as OpenTelemetry's own SDK holds it."""
    trace_id = int(span.trace_id, 16)

    def context(span_id: str, *, is_remote: bool) -> SpanContext:
        return SpanContext(trace_id, int(span_id, 16), is_remote, TraceFlags(TraceFlags.SAMPLED))

    return ReadableSpan(
        name=span.name,
        context=context(span.span_id, is_remote=False),
        parent=context(span.parent_id, is_remote=span.remote_parent) if span.parent_id else None,
        resource=Resource(RESOURCE, SCHEMA),
        attributes=span.attributes,
        kind=SpanKind[span.kind.upper()],
        instrumentation_scope=InstrumentationScope("penstock", "1", SCHEMA),
        status=Status(StatusCode.ERROR, span.error) if span.failed else Status(),
        start_time=span.began_ns,
        end_time=span.ended_ns,
    )


def spans_in(message: ExportTraceServiceRequest) -> list[WireSpan]:
    return [
        each for resource in message.resource_spans for scope in resource.scope_spans for each in scope.spans
    ]


def test_the_message_is_the_one_that_the_official_encoder_writes() -> None:
    spans = spans_of(EVENT)
    assert len(spans) >= 6
    ours = ExportTraceServiceRequest.FromString(sink("http://127.0.0.1").encoded(spans))
    theirs = encode_spans([official(span) for span in spans])
    for one, other in zip(spans_in(ours), spans_in(theirs), strict=True):
        other.flags |= TraceFlags.SAMPLED  # this SDK leaves the flags of W3C out, others tell them
        if not other.status.code:
            other.ClearField("status")  # a status that says nothing may be there or not
        for span in (one, other):
            span.attributes.sort(key=lambda pair: pair.key)
        assert one == other
    assert ours == theirs


@pytest.mark.parametrize("values", [(True, 1, 1.0), (0, False, 0.0), ("1", 1), (("a",), "a")])
def test_equal_values_keep_their_types(values: tuple[Attribute, ...]) -> None:
    span = spans_of(EVENT)[0]
    for value in (*values, *values):
        one = msgspec.structs.replace(span, attributes={"same": value})
        (there,) = spans_in(ExportTraceServiceRequest.FromString(sink("http://127.0.0.1").encoded([one])))
        told = attributes(there.attributes)["same"]
        assert (type(told), told) == (type(value), value)


@pytest.mark.parametrize("size", [0, 1, 126, 127, 128, 129, 1_000, 16_383, 16_384, 20_000, 2_100_000])
def test_a_text_of_any_length_arrives(size: int) -> None:
    span = msgspec.structs.replace(spans_of(EVENT)[0], attributes={"text": "x" * size})
    (there,) = spans_in(ExportTraceServiceRequest.FromString(sink("http://127.0.0.1").encoded([span])))
    assert attributes(there.attributes) == {"text": "x" * size}


def test_slices_add_up_to_one_message() -> None:
    async def story() -> None:
        with Collector() as collector:
            opened = sink(collector.url)
            spans = [each for _ in range(20) for each in spans_of(EVENT)]
            assert len(spans) > 2 * SLICE
            await opened.export(spans)
            await opened.close()
            assert len(collector.requests) == 1
            assert [each.name for each in collector.spans()] == [each.name for each in spans]
            for resource in collector.resources():
                assert attributes(resource.resource.attributes) == RESOURCE
                assert resource.schema_url == resource.scope_spans[0].schema_url == SCHEMA
                scope = resource.scope_spans[0].scope
                assert (scope.name, scope.version) == ("penstock", "1")

    run(story())


def test_the_event_loop_breathes_between_slices() -> None:
    async def story() -> None:
        breaths = 0

        async def breathe() -> None:
            nonlocal breaths
            while True:
                breaths += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(breathe())
        await sink("http://127.0.0.1")._encoded(spans_of(EVENT) * 100)
        assert breaths >= len(spans_of(EVENT)) * 100 // SLICE
        task.cancel()

    run(story())


@pytest.mark.parametrize(
    ("base", "path"),
    [
        ("", "/v1/traces"),
        ("/", "/v1/traces"),
        ("/v1/traces", "/v1/traces"),
        ("/v1/traces/", "/v1/traces"),
        ("/api/otlp", "/api/otlp/v1/traces"),
    ],
)
def test_the_path_of_traces_is_added_where_it_is_not(base: str, path: str) -> None:
    with Collector(path) as collector:
        run(sent(collector.url + base))
        assert len(collector.requests) == 1


def test_headers_go_to_the_collector() -> None:
    with Collector() as collector:
        run(sent(collector.url, {"Authorization": "Basic c2VjcmV0", "x-scope": "a b"}))
        (headers,) = collector.headers
        assert (headers["authorization"], headers["x-scope"]) == ("Basic c2VjcmV0", "a b")
        assert headers["content-type"] == "application/x-protobuf"


@pytest.mark.parametrize("order", ["401", "503", "cut"])
def test_no_error_shows_a_header(order: str) -> None:
    with Collector() as collector:
        collector.order(order)
        with pytest.raises(PenstockError) as raised:
            run(sent(collector.url, {"authorization": "c2VjcmV0"}))
        assert "c2VjcmV0" not in repr(raised.value) + str(raised.value) + str(vars(raised.value))


def test_a_redirect_is_not_followed() -> None:
    with Collector() as elsewhere, Collector() as collector:
        collector.order(f"307; location={elsewhere.url}/v1/traces")
        with pytest.raises(Rejected):
            run(sent(collector.url, {"authorization": "c2VjcmV0"}))
        assert (elsewhere.asked, collector.asked) == (0, 1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("host", "x"),
        ("Content-Length", "3"),
        ("content-type", "text/plain"),
        ("", "x"),
        ("a b", "x"),
        ("a:", "x"),
        ("a\r\nb", "x"),
        ("a", "c2VjcmV0\r\nb: c"),
        ("a", "c2VjcmV0\x00"),
        ("a", "c2VjcmV0é"),
    ],
)
def test_a_header_that_is_none_is_refused_and_not_shown(name: str, value: str) -> None:
    with pytest.raises(Invalid) as raised:
        sink("http://127.0.0.1:4318", {name: value})
    assert raised.value.field == "otel.headers_secret"
    assert "c2VjcmV0" not in str(raised.value)


@pytest.mark.parametrize(
    "endpoint",
    [
        "127.0.0.1:4318",
        "grpc://a:4317",
        "http://",
        "http://a/?x=1",
        "http://a:b",
        "http://kim:c2VjcmV0@a:4318",
    ],
)
def test_an_address_that_is_none_is_refused_with_the_settings_name(endpoint: str) -> None:
    with pytest.raises(Invalid) as raised:
        sink(endpoint)
    assert raised.value.field == "otel.endpoint"
    assert "c2VjcmV0" not in str(raised.value)


@pytest.mark.parametrize(
    ("asked", "wait_s"), [("299", 299.0), ("301", 300.0), ("9" * 9, 300.0), ("9" * 30, None)]
)
def test_the_pause_that_a_collector_asks_for_is_bounded(asked: str, wait_s: float | None) -> None:
    with Collector() as collector:
        collector.order(f"503; retry-after={asked}")
        with pytest.raises(PenstockError) as raised:
            run(sent(collector.url))
        assert raised.value.retry_after_s == wait_s
