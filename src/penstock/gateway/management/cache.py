"""The cache of answers: how it serves an organisation, and having it forget.

Promises: figures are an organisation's own; those of the store, which all share, are the owner's to see, since their
changes would tell of others; a purge is in the audit before it is done, and nothing purged is served on any node a
second later.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from pydantic import BaseModel, Field

from penstock.gateway.management.bodies import Body, Model
from penstock.gateway.management.parts import Api, Management
from penstock.gateway.management.policy import By, Routes
from penstock.gateway.management.reach import Org, must_reach
from penstock.gateway.semantic import standing_of
from penstock.kernel.errors import Invalid, NotFound
from penstock.mechanisms.answer_cache import EVERYTHING, AnswerCache
from penstock.mechanisms.changes import Told
from penstock.mechanisms.roles import Action

ROUTES = Routes("cache")
Tag = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$")]


class CacheClass(BaseModel):
    """The part of one class (static, semi, live) of answers."""

    hits: int
    kept: int
    saved_nanos: int


class SemanticView(BaseModel):
    """How one team was served answers to questions that mean the same. `net_nanos` is what that saved, less what
    looking cost; `suspended` says why nobody looks just now, "" while somebody does; `refused` counts near questions
    that were not served, by what kept them apart.
    """

    team: str
    vectors: int
    suspended: str
    lookups: int
    hits: int
    kept: int
    late: int
    failed: int
    too_long: int
    saved_nanos: int
    spent_nanos: int
    net_nanos: int
    saved_ms: int
    spent_ms: float
    suspensions: int
    refused: dict[str, int] = {}


class CacheView(BaseModel):
    """How the node that was asked served an organisation since it started. `saved_nanos` is what the answers it served
    had cost when they were fresh; `classes` are the parts of each class; `semantic` is by team, of those opted in that
    asked anything; `store` (owners only) counts entries, bytes, evictions and refused of all.
    """

    org: str
    hits: int
    stale: int
    misses: int
    kept: int
    not_kept: int
    saved_nanos: int
    classes: dict[str, CacheClass] = {}
    semantic: list[SemanticView] = []
    store: dict[str, int] | None = None


class PromptCacheRow(BaseModel):
    """What a vendor's own cache of prompts took off the bill, by back end, since the node that was asked started."""

    backend: str
    requests: int
    input_tokens: int
    cached_tokens: int
    saved_nanos: int


class PurgeBody(Body):
    """What to forget: every answer with `tag`, every one of `model`, the one of `key` (as ``x-penstock-cache`` tells),
    or `everything`; one of them.
    """

    org: Annotated[str, Field(max_length=64)] = ""
    tag: Tag | None = None
    model: Model | None = None
    key: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")] | None = None
    everything: bool = False


class Purged(BaseModel):
    """How many answers the node that was asked forgot."""

    forgotten: int


@ROUTES.add("GET", "/cache", needs=Action.READ_CACHE, refuses=[404])
async def figures(by: By, api: Api, org: Org = "") -> CacheView:
    """Tell how the cache serves an organisation."""
    own, cache = must_reach(by.principal, org), _cache(api)
    store = await cache.stats() if by.principal.role == "owner" else None
    standings = api.semantic.standings(own) if api.semantic is not None else []
    semantic = [SemanticView.model_validate(standing_of(each)) for each in standings]
    return CacheView(org=own, store=store, semantic=semantic, **msgspec.to_builtins(cache.figures(own)))


@ROUTES.add("POST", "/cache/purge", needs=Action.PURGE_CACHE, refuses=[404])
async def purge(body: PurgeBody, by: By, api: Api) -> Purged:
    """Forget answers of an organisation, on every node."""
    own, cache = must_reach(by.principal, body.org), _cache(api)
    named = [
        *([body.tag] if body.tag is not None else []),
        *([f"model:{body.model}"] if body.model is not None else []),
        *([f"key:{body.key}"] if body.key is not None else []),
        *([EVERYTHING] if body.everything else []),
    ]
    if len(named) != 1:
        raise Invalid("Name a tag, a model, a key, or everything: one of them.", field="tag", value=body.tag)
    (tag,) = named
    told = Told(action="cache.purge", subject=tag, org=own, team="", before=None, after={"tag": tag})
    await api.changes.tell(by.author(), told, api.clock.wall_s())
    return Purged(forgotten=await cache.forget(own, tag))


@ROUTES.add("GET", "/cache/prompts", needs=Action.READ_CACHE)
async def prompts(by: By, api: Api, org: Org = "") -> list[PromptCacheRow]:
    """Tell what vendors' own caches of prompts saved an organisation, the most first."""
    sums = api.prompt_savings.of(must_reach(by.principal, org))
    rows = [PromptCacheRow(backend=name, **msgspec.to_builtins(each)) for name, each in sums.items()]
    return sorted(rows, key=lambda row: (-row.saved_nanos, -row.cached_tokens, row.backend))


def _cache(api: Management) -> AnswerCache:
    if api.answers is None:
        raise NotFound("No answers are kept here.", code="cache_off", field="cache.url")
    return api.answers
