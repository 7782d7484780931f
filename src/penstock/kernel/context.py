"""Who is asking, and under which request: the two values that travel down the whole path.

Promise: a `Principal` is immutable and complete (everything admission needs is resolved when the key is looked up,
nothing is fetched per request); the tenancy path runs organisation → team → project → user → key.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

LEVELS = ("org", "team", "project", "user", "key")


class Rate(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Limits of one scope. 0 means no limit.

    `window`: no more than so many in any minute, counted exactly, where a bucket (False) lets up to twice as many
    through in a minute that begins with it full.
    """

    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    concurrency: int = 0
    window: bool = False

    @property
    def is_set(self) -> bool:
        """Whether anything is limited; how it is counted limits nothing."""
        return bool(self.requests_per_minute or self.tokens_per_minute or self.concurrency)


class Cap(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A budget of one scope: at most `limit_nanos` (nano-dollars) per `window` ("day", "month" or "total", UTC)."""

    window: str
    limit_nanos: int
    warn_percent: tuple[int, ...] = (50, 80, 100)
    hard: bool = True


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """One level of the tenancy path with what is limited there. `path` is unique, e.g. ``org:acme/team:search``."""

    level: str
    path: str
    rate: Rate = Rate()
    caps: tuple[Cap, ...] = ()


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """A caller whose key was checked."""

    key_id: str
    org: str
    team: str
    project: str
    user: str
    role: str = "caller"
    tier: str = "standard"
    models: tuple[str, ...] = ()
    scopes: tuple[Scope, ...] = ()
    max_input_tokens: int = 0
    max_output_tokens: int = 0
    max_request_nanos: int = 0
    expires_at_s: float = 0.0

    def may_use(self, model: str) -> bool:
        """Tell whether the key's model list admits `model`; an empty list admits every model."""
        return not self.models or model in self.models


def no_header(_name: bytes) -> bytes | None:
    """Return None: what a request without headers says of each."""
    return None


class RequestContext:
    """What one request carries from socket to settlement. Mutable on purpose: rungs note what they decided.

    `deadline_s` is on the monotonic clock. `route` is the explanation returned in ``x-penstock-route``. `trace_id` and
    `parent_span` are the caller's own (kernel/trace_context), "" when it named none; `parent_sampled` is its decision.
    `header` reads a header of the request (its name in lower case), None for one it has not. `caller_left` is set once
    its connection is gone.
    """

    __slots__ = (
        "caller_left",
        "deadline_s",
        "feature",
        "header",
        "parent_sampled",
        "parent_span",
        "principal",
        "received_ns",
        "request_id",
        "route",
        "trace_id",
    )

    def __init__(
        self, request_id: str, principal: Principal, *, deadline_s: float, received_ns: int, feature: str = ""
    ) -> None:
        """Bind a request to its caller."""
        self.request_id = request_id
        self.principal = principal
        self.deadline_s = deadline_s
        self.received_ns = received_ns
        self.feature = feature
        self.route = ""
        self.trace_id = ""
        self.parent_span = ""
        self.parent_sampled: bool | None = None
        self.header: Callable[[bytes], bytes | None] = no_header
        self.caller_left = False
