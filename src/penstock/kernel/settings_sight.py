"""Seeing it: audit, traces, a collector."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from penstock.kernel.settings_types import Count, Positive, Seconds, Text, doc


class AuditSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Seeing it."""

    buffer_records: Annotated[
        Positive, doc("Audit records waiting at most; more are dropped and counted.")
    ] = 10_000
    retain_days: Annotated[Positive, doc("Days the audit stream is kept.")] = 90
    metering: Annotated[
        bool,
        doc(
            "Write each settlement to the topic `metering` of the stream, too; as many wait at most as audit records, "
            "and it is kept as long."
        ),
    ] = False
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], doc("Least severe level logged.")] = (
        "INFO"
    )
    request_log: Annotated[bool, doc("Write one structured log line per request.")] = False


class TraceSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is kept of requests, to look them up and to add up what they cost."""

    store: Annotated[
        bool, doc("Keep requests and totals. Off, the console shows the last 15 minutes only.")
    ] = True
    url: Annotated[
        Text, doc("`sqlite:` (inside `data`) or `postgresql://…`; empty: like `store.records_url`.")
    ] = ""
    per_s: Annotated[
        Count,
        doc(
            "Requests kept in each second at most, of each process, drawn by chance. Those that failed, were refused "
            "by a provider, were billed by an estimate or took 30 s are kept besides. Totals count every request."
        ),
    ] = 200
    retain_days: Annotated[Positive, doc("Days requests are kept.")] = 30
    totals_days: Annotated[Positive, doc("Days hourly totals are kept.")] = 400


class OtelSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Traces of requests for a collector of OpenTelemetry, by OTLP over HTTP."""

    endpoint: Annotated[
        Text,
        doc(
            "Where a collector takes OTLP over HTTP, e.g. `http://127.0.0.1:4318`; `/v1/traces` is added when it is "
            "not there. Empty sends nothing."
        ),
    ] = ""
    headers_secret: Annotated[
        Text,
        doc(
            "Name of the secret that holds headers for it, as `name=value,name=value` (the form of "
            "`OTEL_EXPORTER_OTLP_HEADERS`); empty sends none."
        ),
    ] = ""
    share: Annotated[
        Annotated[float, Meta(ge=0, le=1)],
        doc("Share of traces sent, by trace id. What was refused or failed is always sent."),
    ] = 1.0
    follow_caller: Annotated[
        bool, doc("A caller that has decided about its own part of the trace has decided about ours.")
    ] = True
    names: Annotated[
        Literal["1.41", "1.36", "1.26"],
        doc("Version of OpenTelemetry's conventions for generative AI that names the attributes."),
    ] = "1.41"
    service_name: Annotated[Text, Meta(min_length=1), doc("Who sends: `service.name`.")] = "penstock"
    timeout_s: Annotated[Seconds, doc("Seconds for one batch, from connecting to the answer.")] = 10.0
    buffer_requests: Annotated[
        Positive, doc("Requests waiting at most; the traces of more are dropped and counted.")
    ] = 5_000
    ca_file: Annotated[Text, doc("PEM file of extra certificate authorities.")] = ""
    proxy: Annotated[Text, doc("HTTP proxy to reach it through; empty goes direct.")] = ""
