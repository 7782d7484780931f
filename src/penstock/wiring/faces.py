"""The faces beside chat: what else vendors' SDKs ask a gateway for, each at its vendor's path."""

from __future__ import annotations

from penstock.edge.routes import Policy
from penstock.gateway.models import Models
from penstock.wiring.platform import Platform


def declare_faces(platform: Platform) -> None:
    """Declare the routes of every face but chat."""
    routes = platform.routes
    models = Models(platform.catalogue.current)
    for root in ("/v1", "/v1beta"):
        routes.add("GET", f"{root}/models", Policy.CALLER, models.list)
        routes.mount(f"{root}/models/", Policy.CALLER, models.one, method="GET")
