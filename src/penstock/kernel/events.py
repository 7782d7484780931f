"""What one request was, did and cost, as one compact value: everything that is seen of it is made from this.

Promise: it holds names, figures and times, never a prompt, an answer, a key or a secret.
"""

from __future__ import annotations

import msgspec

FLAGGED = "flagged"
"""The flag of a request that somebody must look at: what is kept of it is kept for good."""


class Call(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One call to a back end. Times are milliseconds since the request's first byte; `outcome` "ok" or what went wrong.

    `cost_nanos` is in nano-dollars.
    """

    provider: str
    model: str
    began_ms: float
    ended_ms: float
    outcome: str = "ok"
    cost_nanos: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


class RequestEvent(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """What one request was, did and cost. Fields at their default are left out of the record.

    Who: `org` to `key_id`, `feature`. What: `face` (the client's dialect), `model` as asked, `provider` and
    `model_used` as served, `route` as explained to the client. Outcome: `status` is the HTTP status, `error` the
    machine-readable code, `finish` why the model stopped, `attempts` upstream calls made, `calls` each of them, `cache`
    "", "exact", "semantic" or "stale". Money: `cost_nanos` (nano-dollars) under `price_version`; `saved_nanos` is what
    caches saved: what a kept answer had cost when it was fresh, and what the vendor's prompt cache took off the bill
    (below 0: writing cost more than reading saved); `estimated` when the provider did not say what was used. Times:
    `at_s` is wall time at the end; the others are milliseconds since the first byte arrived, 0 when it never came to
    that: `routed_ms` (parsed, back ends chosen), `admitted_ms` (limits taken, money held), `first_token_ms`,
    `latency_ms` (the end). Where it belongs: `trace_id` (32 hexadecimal digits) and `parent_span` (16) as the caller
    named them in `traceparent` (W3C Trace Context), "" when it did not;
    `parent_sampled` whether the caller sends its part of that trace to a collector.
    """

    request_id: str
    at_s: float
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
    calls: tuple[Call, ...] = ()
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

    @property
    def outcome(self) -> str:
        """Return "ok" (a status below 400), "refused" (4xx) or "failed" (everything else)."""
        return outcome_of(self.status)

    @property
    def model_served(self) -> str:
        """Return the model that answered, or the one asked for when none did."""
        return self.model_used or self.model


def outcome_of(status: int) -> str:
    """Return what an HTTP status means for a request: "ok", "refused" or "failed"."""
    if status < 400:
        return "ok"
    return "refused" if status < 500 else "failed"
