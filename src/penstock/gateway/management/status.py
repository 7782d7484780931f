"""How the platform is, in one object for people and for `penstock status`.

Promise: it asks nothing of any dependency, so it answers when they are down; it names no tenant and no secret.
"""

from __future__ import annotations

import msgspec
from pydantic import BaseModel

from penstock.gateway.management.parts import Api
from penstock.gateway.management.policy import Routes
from penstock.mechanisms.roles import Action

ROUTES = Routes("status")


class StatusView(BaseModel):
    """How the platform is. `dependencies` tells which work, `breakers` the state of each back end, `quotas` the share
    left of its vendor's scarcest limit, `unpriced` why each model left out is not served. Of `metering_…`
    there is nothing where settlements are not metered.
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
    quotas: dict[str, float]
    metering_waiting: int | None = None
    metering_dropped: int | None = None


@ROUTES.add("GET", "/status", needs=Action.READ_STATUS)
async def status(api: Api) -> StatusView:
    """Tell how the platform is."""
    return StatusView.model_validate(msgspec.to_builtins(api.status()))
