"""How things are now, as it is shown.

Promise: amounts are integer nano-dollars; a percentage may exceed 100; `eta_s` 0 is unknown, or not in sight.
"""

from __future__ import annotations

from pydantic import BaseModel

from penstock.gateway.management.money_models import BudgetRow
from penstock.gateway.management.request_models import RequestView


class SpendRow(BudgetRow):
    """A budget, how full it is with what is held, and in how many seconds it is used up at the pace of the last minute.

    `eta_s` is 0 when it is used up already, and when its window ends before.
    """

    percent: float
    eta_s: float


class Pressure(BaseModel):
    """Something that has a bound: how near it is, in how many seconds it is met, and what to do about it.

    `detail` and `remedy` are sentences for people, `link` the page that shows more ("" for none).
    """

    name: str
    detail: str
    used: float
    limit: float
    unit: str
    percent: float
    eta_s: float = 0.0
    remedy: str
    link: str = ""


class Latency(BaseModel):
    """Percentiles of the last `window_s` seconds, of requests that were not refused: of the end, of the first token."""

    window_s: float = 0.0
    requests: int = 0
    p50_ms: float = 0.0
    p95_ms: float = 0.0
    p99_ms: float = 0.0
    first_p50_ms: float = 0.0
    first_p95_ms: float = 0.0
    first_p99_ms: float = 0.0


class Errors(BaseModel):
    """How many requests of the same time went wrong, and why: `by_code` by the machine-readable code."""

    requests: int = 0
    refused: int = 0
    failed: int = 0
    by_code: dict[str, int] = {}


class Moment(BaseModel):
    """One bucket of that time; `at_s` is its start."""

    at_s: float
    requests: int
    failed: int
    refused: int
    cost_nanos: int
    p50_ms: float
    p95_ms: float


class Overview(BaseModel):
    """How things are now. `pressures` has first what breaks first; `live` the latest requests, the newest first.

    What is the platform's (`in_flight`, `dependencies`, `breakers`, `dropped`) is shown to owners only. `every_s` is
    how often a live view looks, seldomer when that would be in the way of requests; 0 for who asks once.
    """

    at_s: float
    every_s: float = 0.0
    org: str
    spend: list[SpendRow]
    today_nanos: int
    month_nanos: int
    pressures: list[Pressure]
    latency: Latency
    errors: Errors
    series: list[Moment]
    in_flight: int
    live: list[RequestView]
    dependencies: dict[str, bool]
    breakers: dict[str, str]
    dropped: dict[str, int]
