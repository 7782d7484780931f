"""The sink of spans keeps every promise of its port, and the suite finds bugs seeded into it.

At the other end is a collector that speaks OTLP through the official messages and Python's own HTTP server.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan

from penstock.adapters.spans import otlp
from penstock.adapters.spans.otlp import OtlpSpans
from penstock.contracts import spans
from penstock.contracts.spans import CASES, SpansHarness
from penstock.kernel.errors import Rejected, Unavailable
from penstock.net.client import HttpClient
from penstock.ports import spans as port
from tests.collector import Collector
from tests.contracts.engines import first_broken, kept
from tests.contracts.file_harness import promises_checked, promises_of
from tests.contracts.not_tried import tried
from tests.support import run

TIMEOUT_S = 1.0
"""Generous, so that a busy machine is never taken for a collector that is silent."""


def sink(url: str, adapter: type[OtlpSpans] = OtlpSpans, timeout_s: float = TIMEOUT_S) -> OtlpSpans:
    """Make a sink that posts to `url`."""
    return adapter(
        url,
        client=HttpClient(),
        schema_url="https://opentelemetry.io/schemas/1.41.1",
        resource={"service.name": "penstock"},
        version="1",
        timeout_s=timeout_s,
    )


@asynccontextmanager
async def collected(adapter: type[OtlpSpans] = OtlpSpans) -> AsyncIterator[SpansHarness]:
    """Give a sink in front of a collector of its own."""
    with Collector() as collector:

        async def reopen() -> OtlpSpans:
            await harness.port.close()
            harness.port = sink(collector.url, adapter)
            return harness.port

        async def peer() -> OtlpSpans:
            return harness.port

        async def until_asked(times: int) -> None:
            while collector.asked < times:
                await asyncio.sleep(0.005)

        async def cut_off() -> OtlpSpans:
            with socket.socket() as unheard:
                unheard.bind(("127.0.0.1", 0))
                return sink(f"http://127.0.0.1:{unheard.getsockname()[1]}", adapter)

        harness = SpansHarness(
            sink(collector.url, adapter),
            asyncio.sleep,
            reopen,
            peer,
            arrived=collector.spans,
            asked=lambda: collector.asked,
            until_asked=until_asked,
            order=collector.order,
            cut_off=cut_off,
        )
        try:
            yield harness
        finally:
            await OtlpSpans.close(harness.port)  # whatever a mutant does with it
        assert collector.faults == []


@pytest.mark.parametrize(
    "case", [case for _, _, case in CASES.cases], ids=[name for name, _, _ in CASES.cases]
)
def test_otlp(case):
    run(tried("spans/otlp", case, kept(case, collected())))


def test_every_promise_has_a_case():
    assert promises_checked(CASES) == promises_of(port)


# ---------------------------------------------------------------------------------- the suite can fail: seeded bugs


class TellsNoneWasRefused(OtlpSpans):
    """A partial success counts as a whole one."""

    async def export(self, spans):
        await super().export(spans)
        return 0


class TakesRefusalForBusy(OtlpSpans):
    """What will never be taken may be tried again."""

    async def export(self, spans):
        try:
            return await super().export(spans)
        except Rejected as error:
            raise Unavailable(error.message) from None


class ForgetsWhenToComeBack(OtlpSpans):
    """The time that a collector asks for is lost."""

    async def export(self, spans):
        try:
            return await super().export(spans)
        except Unavailable as error:
            error.retry_after_s = None
            raise


class SwallowsSilence(OtlpSpans):
    """A collector that does not answer has taken the batch."""

    async def export(self, spans):
        try:
            return await super().export(spans)
        except Unavailable as error:
            if error.reason in {"first_byte_timeout", "connection_reset"}:
                return 0
            raise


class AsksAgainByItself(OtlpSpans):
    """A busy collector is asked once more at once."""

    async def export(self, spans):
        try:
            return await super().export(spans)
        except Unavailable:
            return await super().export(spans)


class SendsTheFirstSlice(OtlpSpans):
    """A batch ends where its first slice does."""

    async def _encoded(self, spans):
        return self.encoded(spans[: otlp.SLICE])


class WaitsForEver(OtlpSpans):
    """No timer runs."""

    def __init__(self, endpoint, *, timeout_s, **options):
        super().__init__(endpoint, timeout_s=3600.0, **options)


class StaysOpen(OtlpSpans):
    """Closing closes nothing."""

    async def close(self):
        pass


MUTANTS = [
    TellsNoneWasRefused,
    TakesRefusalForBusy,
    ForgetsWhenToComeBack,
    SwallowsSilence,
    AsksAgainByItself,
    SendsTheFirstSlice,
    WaitsForEver,
    StaysOpen,
]


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_suite_catches(mutant, monkeypatch):
    monkeypatch.setattr(spans, "PATIENCE_S", 2 * TIMEOUT_S)
    assert first_broken(CASES, lambda: collected(mutant)), mutant.__doc__


def loses_the_parent(span: WireSpan) -> None:
    """Every span is a root."""
    span.parent_span_id = b""


def forgets_that_the_parent_is_remote(span: WireSpan) -> None:
    """A caller's span is taken for one of ours."""
    span.flags &= ~otlp._REMOTE


def tells_no_failure(span: WireSpan) -> None:
    """What failed looks like what did not."""
    span.ClearField("status")


def tells_refusals_as_failures(span: WireSpan) -> None:
    """An answer of 4xx counts as a failure."""
    span.status.code = 2


def rounds_times(span: WireSpan) -> None:
    """Times are whole milliseconds."""
    span.start_time_unix_nano -= span.start_time_unix_nano % 1_000_000


def tells_truths_as_numbers(span: WireSpan) -> None:
    """True is 1."""
    for pair in span.attributes:
        if pair.value.WhichOneof("value") == "bool_value":
            pair.value.int_value = pair.value.bool_value


def calls_every_span_internal(span: WireSpan) -> None:
    """Kinds are lost."""
    span.kind = WireSpan.SPAN_KIND_INTERNAL


def drops_what_says_nothing(span: WireSpan) -> None:
    """Attributes that are empty or zero are left out."""
    for pair in [pair for pair in span.attributes if not any(v for _, v in pair.value.ListFields())]:
        span.attributes.remove(pair)


SPOILS = [
    loses_the_parent,
    forgets_that_the_parent_is_remote,
    tells_no_failure,
    tells_refusals_as_failures,
    rounds_times,
    tells_truths_as_numbers,
    calls_every_span_internal,
    drops_what_says_nothing,
]


@pytest.mark.parametrize("spoil", SPOILS)
def test_the_suite_catches_on_the_wire(spoil, monkeypatch):
    class Spoilt(OtlpSpans):
        def encoded(self, spans):
            message = otlp.ExportTraceServiceRequest.FromString(super().encoded(spans))
            for resource in message.resource_spans:
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        spoil(span)
            return message.SerializeToString()

    assert first_broken(CASES, lambda: collected(Spoilt)), spoil.__doc__


def test_and_blames_nothing_else():
    assert not first_broken(CASES, collected)
