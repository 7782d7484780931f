"""What the routes about routing work with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from penstock.gateway.routing import RouteTable
from penstock.gateway.tiers import Tiers
from penstock.mechanisms.config_versions import ConfigVersions


@dataclass(frozen=True, slots=True)
class RoutingPart:
    """The versions of the routing configuration, the table in force, and what telling easy requests apart saved."""

    versions: ConfigVersions[RouteTable]
    table: Callable[[], RouteTable]
    tiers: Tiers
