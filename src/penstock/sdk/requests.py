"""What is seen of requests: each one, its spans, what they cost together, and how things are now.

Promise: unknown members are ignored. Money is in whole nano-dollars; times named `_ms` are milliseconds since the
request's first byte, those named `_s` seconds since 1970 (UTC) or plain seconds, 0 when it never came to that.
"""

from __future__ import annotations

from typing import TypedDict

import msgspec

from penstock.sdk.people import JsonValue
from penstock.sdk.replies import Budget


class Filter(TypedDict, total=False):
    """Which requests are meant; what is not given admits all. `org` "" is the caller's own, "*" each (for owners).

    `outcome` is ok, refused or failed; `since_s` and `until_s` (outside) are seconds since 1970, 0 is no bound.
    """

    org: str
    team: str
    project: str
    user: str
    key_id: str
    feature: str
    model: str
    provider: str
    outcome: str
    since_s: float
    until_s: float


# --- requests ---------------------------------------------------------------------------------------------------------


class CallView(msgspec.Struct, frozen=True, kw_only=True):
    """One call to a back end, made for a request."""

    provider: str
    model: str
    began_ms: float = 0.0
    ended_ms: float = 0.0
    outcome: str = "ok"
    cost_nanos: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


class RequestView(msgspec.Struct, frozen=True, kw_only=True):
    """One request: the fields of `kernel.events.RequestEvent`, and its `outcome`."""

    request_id: str
    at_s: float
    outcome: str = ""
    org: str = ""
    team: str = ""
    project: str = ""
    user: str = ""
    key_id: str = ""
    feature: str = ""
    face: str = ""
    model: str = ""
    provider: str = ""
    model_used: str = ""
    route: str = ""
    status: int = 200
    error: str = ""
    stream: bool = False
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost_nanos: int = 0
    saved_nanos: int = 0
    price_version: str = ""
    estimated: bool = False
    routed_ms: float = 0.0
    admitted_ms: float = 0.0
    latency_ms: float = 0.0
    first_token_ms: float = 0.0
    attempts: int = 1
    calls: tuple[CallView, ...] = ()
    cache: str = ""
    finish: str = ""
    temperature: float | None = None
    max_tokens: int = 0
    tools_called: int = 0
    prompt_hash: str = ""
    answer_hash: str = ""
    flags: tuple[str, ...] = ()
    trace_id: str = ""
    parent_span: str = ""
    parent_sampled: bool | None = None


class RequestPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some requests, the latest first; `after` asks for the next page, "" when this is the last."""

    requests: tuple[RequestView, ...]
    after: str = ""


class SpanView(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a request, named as OpenTelemetry names it for generative AI; the root has `depth` 0."""

    name: str
    kind: str = ""
    began_ms: float = 0.0
    ended_ms: float = 0.0
    depth: int = 0
    attributes: dict[str, JsonValue] = {}
    error: str = ""


class RequestDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A request with its spans, the root first, and how good its answer was said to be, 0 to 1."""

    request: RequestView
    spans: tuple[SpanView, ...] = ()
    score: float | None = None


class Scored(msgspec.Struct, frozen=True, kw_only=True):
    """How good the answer of a request was said to be."""

    request_id: str
    score: float


# --- costs ------------------------------------------------------------------------------------------------------------


class CostSum(msgspec.Struct, frozen=True, kw_only=True):
    """Some requests together; `latency_ms` is their mean."""

    requests: int = 0
    failed: int = 0
    refused: int = 0
    estimated: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    cost_nanos: int = 0
    latency_ms: float = 0.0


class CostRow(CostSum, frozen=True, kw_only=True):
    """The requests of one group: `group` has one name for each of `Costs.by`."""

    group: tuple[str, ...]


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """What requests of a period cost, by one or two of their features.

    `settled_nanos` is the ledger's word on the same money, None when it keeps no account of exactly that.
    """

    by: tuple[str, ...]
    rows: tuple[CostRow, ...]
    total: CostSum
    since_s: float
    until_s: float
    settled_nanos: int | None = None


# --- overview ---------------------------------------------------------------------------------------------------------


class SpendRow(Budget, frozen=True, kw_only=True):
    """A budget, how full it is, and in how many seconds it will be empty at this pace (0: unknown)."""

    percent: float = 0.0
    eta_s: float = 0.0


class Pressure(msgspec.Struct, frozen=True, kw_only=True):
    """Something that has a bound: how near it is, when it will be met (0: unknown), and what to do."""

    name: str
    detail: str = ""
    used: float = 0.0
    limit: float = 0.0
    unit: str = ""
    percent: float = 0.0
    eta_s: float = 0.0
    remedy: str = ""
    link: str = ""


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Percentiles of the last `window_s` seconds: of the whole answer, and of its first token."""

    window_s: float = 0.0
    requests: int = 0
    p50_ms: float = 0.0
    p95_ms: float = 0.0
    p99_ms: float = 0.0
    first_p50_ms: float = 0.0
    first_p95_ms: float = 0.0
    first_p99_ms: float = 0.0


class ErrorCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How many requests went wrong, and why."""

    requests: int = 0
    refused: int = 0
    failed: int = 0
    by_code: dict[str, int] = {}


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """One point of the latest minutes."""

    at_s: float
    requests: int = 0
    failed: int = 0
    refused: int = 0
    cost_nanos: int = 0
    p50_ms: float = 0.0
    p95_ms: float = 0.0


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """How things are now; `pressures` has first what breaks first. `every_s`: how often a live view looks (0: once)."""

    at_s: float
    every_s: float = 0.0
    org: str = ""
    spend: tuple[SpendRow, ...] = ()
    today_nanos: int = 0
    month_nanos: int = 0
    pressures: tuple[Pressure, ...] = ()
    latency: Latency = Latency()
    errors: ErrorCounts = ErrorCounts()
    series: tuple[Moment, ...] = ()
    in_flight: int = 0
    live: tuple[RequestView, ...] = ()
    dependencies: dict[str, bool] = {}
    breakers: dict[str, str] = {}
    dropped: dict[str, int] = {}


# --- settings ---------------------------------------------------------------------------------------------------------


class SettingRow(msgspec.Struct, frozen=True, kw_only=True):
    """One setting as it is in force; a secret's value is three stars."""

    key: str
    section: str = ""
    value: JsonValue = None
    default: JsonValue = None
    changed: bool = False
    description: str = ""
    unit: str = ""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Every setting, and the file they were read from ("" for none)."""

    rows: tuple[SettingRow, ...]
    file: str = ""
