"""The traces of requests for people's own collector: the sink by its settings, and the feed before it.

Promise: without `otel.endpoint` nothing is opened and no driver is needed; a mistake in the settings is told at start,
with the setting's name and without a secret; what was opened is let go by the stack it was given, the feed before its
sink.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from urllib.parse import unquote

from penstock.kernel.errors import Invalid
from penstock.kernel.ids import new_id
from penstock.kernel.settings import OtelSettings, ProviderSettings
from penstock.mechanisms.genai import VOCABULARIES
from penstock.mechanisms.span_feed import SpanFeed
from penstock.mechanisms.spans import BackEnd
from penstock.net.pool import Origin
from penstock.ports.secrets import Secrets
from penstock.ports.spans import SpanSink
from penstock.wiring import adapters
from penstock.wiring.status import version


async def open_span_feed(
    settings: OtelSettings, providers: Sequence[ProviderSettings], kept: Secrets, opening: AsyncExitStack
) -> SpanFeed | None:
    """Open the sink and its feed, if there is a collector; `opening` closes them. The audit pipe is opened after this.

    Raises Invalid for settings that cannot be, NotFound for a secret that is not there.
    """
    if not settings.endpoint:
        return None
    sink = await open_sink(settings, kept)
    opening.push_async_callback(sink.close)
    feed = SpanFeed(
        sink,
        names=VOCABULARIES[settings.names],
        back_ends=back_ends(providers),
        share=settings.share,
        follow_caller=settings.follow_caller,
        capacity=settings.buffer_requests,
    )
    feed.start()
    opening.push_async_callback(feed.close)
    return feed


async def open_sink(settings: OtelSettings, kept: Secrets) -> SpanSink:
    """Open the sink of a collector. Raises like `open_span_feed`."""
    headers = (
        headers_of((await kept.read(settings.headers_secret)).reveal()) if settings.headers_secret else {}
    )
    resource = {
        "service.name": settings.service_name,
        "service.version": version(),
        "service.instance.id": new_id("node_"),
    }
    return adapters.spans(
        settings, headers, resource=resource, schema_url=VOCABULARIES[settings.names].schema_url
    )


def headers_of(text: str) -> dict[str, str]:
    """Return the headers that a secret holds: ``name=value,name=value``, values percent-encoded where they must be.

    It is the form of ``OTEL_EXPORTER_OTLP_HEADERS``, in which vendors show theirs. Raises Invalid, which shows nothing.
    """
    headers: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = part.strip().partition("=")
        if not part.strip():
            continue
        if not equals or not name.strip():
            raise Invalid(
                "The secret of the collector's headers is not of the form that is needed.",
                field="otel.headers_secret",
                remedy="Write name=value,name=value with %20 for a blank and %2C for a comma.",
            )
        headers[name.strip().lower()] = unquote(value.strip())
    return headers


def back_ends(providers: Sequence[ProviderSettings]) -> Mapping[str, BackEnd]:
    """Return whose API each provider speaks to."""
    return {each.name: _back_end(each) for each in providers}


def _back_end(provider: ProviderSettings) -> BackEnd:
    vendor = provider.billed_by
    if not provider.base_url:
        return BackEnd(vendor)
    origin, _ = Origin.parse(provider.base_url)
    return BackEnd(vendor, origin.host, origin.port)
