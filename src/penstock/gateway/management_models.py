"""The bodies of the management API. Unknown members are refused, so nothing can be smuggled past a reader.

Promise: what a caller may set stands here and nothing else; identifiers are 1 to 64 of ``a-z A-Z 0-9 . _ -``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]
Nanos = Annotated[int, Field(ge=0, le=9_000_000_000_000_000_000)]
Count = Annotated[int, Field(ge=0, le=1_000_000_000)]


class Body(BaseModel):
    """A strict body: unknown members are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RateBody(Body):
    """Limits of one scope; 0 is no limit."""

    requests_per_minute: Count = 0
    tokens_per_minute: Count = 0
    concurrency: Count = 0


class CapBody(Body):
    """A budget: at most `limit_nanos` nano-dollars per window (UTC)."""

    window: Literal["day", "month", "total"]
    limit_nanos: Nanos
    warn_percent: Annotated[list[Annotated[int, Field(ge=1, le=100)]], Field(max_length=10)] = [50, 80, 100]
    hard: bool = True


Caps = Annotated[list[CapBody], Field(max_length=3)]


class KeyBody(Body):
    """A key to be made. `role` admin may manage its own organisation; only an owner may make admins."""

    org: Name = "default"
    team: Name = "default"
    project: Name = "default"
    user: Name = "default"
    name: Annotated[str, Field(max_length=128)] = ""
    role: Literal["caller", "admin", "owner"] = "caller"
    tier: Name = "standard"
    models: Annotated[list[Annotated[str, Field(min_length=1, max_length=256)]], Field(max_length=200)] = []
    rate: RateBody = RateBody()
    caps: Caps = []
    max_input_tokens: Count = 0
    max_output_tokens: Count = 0
    max_request_nanos: Nanos = 0
    expires_in_s: Annotated[int, Field(ge=0, le=10 * 365 * 86_400)] = 0
    end_users: bool = False


class RotateBody(Body):
    """A rotation: the old key goes on for `overlap_s` seconds."""

    overlap_s: Annotated[int, Field(ge=0, le=30 * 86_400)] = 3600


class ScopeBody(Body):
    """Limits of one level of the tenancy path. Name the level and every name above it."""

    level: Literal["org", "team", "project", "user"]
    org: Name = "default"
    team: Name = "default"
    project: Name = "default"
    user: Name = "default"
    name: Annotated[str, Field(max_length=128)] = ""
    rate: RateBody = RateBody()
    caps: Caps = []
    user_rate: RateBody = RateBody()
    user_caps: Caps = []


class KeyView(BaseModel):
    """A key as it is shown: never its token, never its MAC."""

    id: str
    org: str
    team: str
    project: str
    user: str
    name: str
    role: str
    tier: str
    models: list[str]
    rate: RateBody
    caps: list[CapBody]
    max_input_tokens: int
    max_output_tokens: int
    max_request_nanos: int
    created_s: float
    expires_s: float
    revoked_s: float
    end_users: bool


class MadeKey(BaseModel):
    """A new key. `token` is shown only here."""

    key: KeyView
    token: str


class ScopeView(BaseModel):
    """A level with its limits."""

    path: str
    level: str
    name: str
    rate: RateBody
    caps: list[CapBody]
    user_rate: RateBody
    user_caps: list[CapBody]


class UsageRow(BaseModel):
    """What one account was charged. `held_nanos` is reserved by requests under way."""

    account: str
    posted_nanos: int
    held_nanos: int
    requests: int


class BudgetRow(BaseModel):
    """A budget now. `room_nanos` is what a request may still cost."""

    account: str
    level: str
    window: str
    limit_nanos: int
    posted_nanos: int
    held_nanos: int
    room_nanos: int
    hard: bool


class LedgerView(BaseModel):
    """The ledger's verdict on itself."""

    whole: bool
    entries: int
    operations: int
    pending: int
    posted_nanos: int
    held_nanos: int
    heads: dict[str, str]
    problems: list[str]


class PriceRow(BaseModel):
    """A price in force today, in nano-dollars per million tokens."""

    provider: str
    model: str
    version: str
    input: int
    cached_input: int
    output: int
    context_window: int
    max_output_tokens: int
    free: bool
