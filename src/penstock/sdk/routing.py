"""Routing as the client sees it: versions of the configuration, and what a request would get."""

from __future__ import annotations

from typing import Any

import msgspec


class RoutingVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One version of the routing configuration. `again` is the version it repeats, -1 for none; `at_s` is wall time."""

    number: int
    author: str = ""
    why: str = ""
    at_s: float = 0.0
    again: int = -1


class RoutingConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A version with its document. `refused` are stored versions that the asked node cannot use, with the reason."""

    version: RoutingVersion
    document: dict[str, Any]
    refused: dict[str, str] = {}


class RoutingCheck(msgspec.Struct, frozen=True, kw_only=True):
    """A document without a mistake."""

    sound: bool
    routes: int


class RouteQuestion(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request that is not made: what routing would look at."""

    model: str
    org: str = ""
    user: str = ""
    tier: str = "standard"
    task: str = ""
    region: str = ""
    urgent: bool = False
    input_tokens: int = 0
    output_tokens: int = 0
    text: str = ""
    draw: int = 0


class ChosenTarget(msgspec.Struct, frozen=True, kw_only=True):
    """A back end in the order of trying. `route` is its name with the arm, as the audit tells it."""

    route: str
    provider: str
    model: str
    arm: str = ""
    region: str = ""
    price_version: str = ""
    free: bool = False


class RouteAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Who would answer, in order, and why; `larger` are who a cascade would ask after a weak answer."""

    model: str
    version: int
    why: tuple[str, ...] = ()
    tier: str = ""
    targets: tuple[ChosenTarget, ...] = ()
    larger: tuple[ChosenTarget, ...] = ()


class RouteTiers(msgspec.Struct, frozen=True, kw_only=True):
    """What one route's small and large models did. `saved_nanos` (nano-dollars) is against the large one's price."""

    model: str
    small: int = 0
    large: int = 0
    escalated: int = 0
    small_failed: int = 0
    large_failed: int = 0
    saved_nanos: int = 0
