"""Keys, limits, money and status, as the management API takes and gives them; people and requests have files beside.

    replies    keys, scopes, usage, budgets, prices, the ledger, status, models
    people     people, sessions, who is asking, changes
    oversight  the audit, alerts, invoices
    requests   requests and their spans, costs, the overview, settings
    answers    chat

Promise: unknown members of a reply are ignored, so an older client understands a newer server. Money is in whole
nano-dollars, times are seconds since 1970 (UTC), 0 for never.
"""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from penstock.kernel.context import Cap, Rate


class KeyRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A key to be made. `expires_in_s` 0 never expires; an empty `models` admits every model."""

    org: str = "default"
    team: str = "default"
    project: str = "default"
    user: str = "default"
    name: str = ""
    role: str = "caller"
    tier: str = "standard"
    models: tuple[str, ...] = ()
    rate: Rate = Rate()
    caps: tuple[Cap, ...] = ()
    max_input_tokens: int = 0
    max_output_tokens: int = 0
    max_request_nanos: int = 0
    expires_in_s: int = 0
    end_users: bool = False


class KeyChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What to change of a key; what is not given stays."""

    name: str | UnsetType = UNSET
    models: tuple[str, ...] | UnsetType = UNSET
    rate: Rate | UnsetType = UNSET
    caps: tuple[Cap, ...] | UnsetType = UNSET
    max_input_tokens: int | UnsetType = UNSET
    max_output_tokens: int | UnsetType = UNSET
    max_request_nanos: int | UnsetType = UNSET


class ScopeRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The limits of one level; they replace whatever was set there before."""

    level: str
    org: str = "default"
    team: str = "default"
    project: str = "default"
    user: str = "default"
    name: str = ""
    rate: Rate = Rate()
    caps: tuple[Cap, ...] = ()
    user_rate: Rate = Rate()
    user_caps: tuple[Cap, ...] = ()


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A key as it is shown: never its token."""

    id: str
    org: str
    team: str
    project: str
    user: str
    name: str
    role: str
    models: tuple[str, ...]
    rate: Rate
    caps: tuple[Cap, ...]
    max_input_tokens: int
    max_output_tokens: int
    max_request_nanos: int
    created_s: float
    expires_s: float
    revoked_s: float
    end_users: bool
    tier: str = "standard"


class MadeKey(msgspec.Struct, frozen=True, kw_only=True):
    """A new key with its token, which is shown only here."""

    key: Key
    token: str


class ScopeLimits(msgspec.Struct, frozen=True, kw_only=True):
    """A level with its limits, and the defaults for users first seen below it."""

    path: str
    level: str
    name: str
    rate: Rate
    caps: tuple[Cap, ...]
    user_rate: Rate
    user_caps: tuple[Cap, ...]


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What one account (``path@window``) was charged; `held_nanos` is reserved by requests under way."""

    account: str
    posted_nanos: int
    held_nanos: int
    requests: int


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """A budget now. `room_nanos` is what a request may still cost."""

    account: str
    level: str
    window: str
    limit_nanos: int
    posted_nanos: int
    held_nanos: int
    room_nanos: int
    hard: bool


class LedgerReport(msgspec.Struct, frozen=True, kw_only=True):
    """The ledger's verdict on itself; `problems` is empty when the books are whole."""

    whole: bool
    entries: int
    operations: int
    pending: int
    posted_nanos: int
    held_nanos: int
    heads: dict[str, str]
    problems: tuple[str, ...]


class CacheClass(msgspec.Struct, frozen=True, kw_only=True):
    """The part of the figures that one class of answers (static, semi, live) has."""

    hits: int = 0
    kept: int = 0
    saved_nanos: int = 0


class SemanticFigures(msgspec.Struct, frozen=True, kw_only=True):
    """How one team was served answers to questions that mean the same, since the node started; amounts in nano-dollars.
    `suspended` says why nobody looks just now; `refused` counts near questions by what kept them apart.
    """

    team: str
    vectors: int = 0
    suspended: str = ""
    lookups: int = 0
    hits: int = 0
    kept: int = 0
    late: int = 0
    failed: int = 0
    too_long: int = 0
    saved_nanos: int = 0
    spent_nanos: int = 0
    net_nanos: int = 0
    saved_ms: int = 0
    spent_ms: float = 0.0
    suspensions: int = 0
    refused: dict[str, int] = {}


class CacheFigures(msgspec.Struct, frozen=True, kw_only=True):
    """How one node's cache of answers served an organisation since the node started; amounts in nano-dollars.
    `semantic` is by team; `store` is for owners.
    """

    org: str
    hits: int = 0
    stale: int = 0
    misses: int = 0
    kept: int = 0
    not_kept: int = 0
    saved_nanos: int = 0
    classes: dict[str, CacheClass] = {}
    semantic: tuple[SemanticFigures, ...] = ()
    store: dict[str, int] | None = None


class PromptCacheRow(msgspec.Struct, frozen=True, kw_only=True):
    """What a vendor's own cache of prompts saved at one back end (``provider/model``), in nano-dollars, below 0 where
    writing cost more than reading saved.
    """

    backend: str
    requests: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    saved_nanos: int = 0


class Purge(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What to forget: a tag, a model, a key (as ``x-penstock-cache`` tells), or everything; one of them."""

    org: str = ""
    tag: str | None = None
    model: str | None = None
    key: str | None = None
    everything: bool = False


class Purged(msgspec.Struct, frozen=True, kw_only=True):
    """How many answers the node that was asked forgot."""

    forgotten: int


class ModelPrice(msgspec.Struct, frozen=True, kw_only=True):
    """A price in force today, in nano-dollars per million tokens; 0 tokens is unknown. `org` is whose it is, ""
    everybody's.
    """

    provider: str
    model: str
    org: str = ""
    version: str
    input: int
    cached_input: int
    output: int
    context_window: int
    max_output_tokens: int
    free: bool


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A model that a key may use, as `chat` is asked for it."""

    id: str
    owned_by: str = ""
    created: int = 0


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """How the platform is: `dependencies` maps each to whether it works, `breakers` each back end to its state,
    `quotas` each to the share (0 to 1) left of its vendor's scarcest limit, where the vendor tells it, and `unpriced`
    each model that is not served to the reason; `metering_…` is None where settlements are not metered.
    """

    version: str
    uptime_s: float
    draining: bool
    dependencies: dict[str, bool]
    in_flight: int
    connections: int
    providers: dict[str, int]
    breakers: dict[str, str]
    models: int
    unpriced: dict[str, str]
    audit_waiting: int
    audit_dropped: int
    quotas: dict[str, float] = {}
    metering_waiting: int | None = None
    metering_dropped: int | None = None
