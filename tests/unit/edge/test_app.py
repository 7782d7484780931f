"""The edge: the route first, then the caller, and only then the route's own code."""

from __future__ import annotations

from typing import Any

from penstock.edge.app import Edge
from penstock.edge.routes import Policy, Routes
from penstock.kernel.context import Principal
from penstock.kernel.errors import NotFound, PenstockError
from penstock.net.request import Request
from tests.support import run
from tests.unit.edge.exchange import Replies, request
from tests.unit.edge.test_auth import doorkeeper


def test_a_route_runs_only_after_its_policy_was_met() -> None:
    served: list[str] = []

    async def serve(_request: Request, _responder: Any, principal: Principal) -> None:
        served.append(principal.role)

    routes = Routes()
    routes.add("GET", "/open", Policy.PUBLIC, serve)
    routes.add("GET", "/shut", Policy.METRICS, serve)
    edge, responder = Edge(routes, doorkeeper()), Replies()

    def got(path: str, **headers: str) -> str:
        listener: Any = responder
        try:
            run(edge.handle(request(path=path, **headers), listener))
        except PenstockError as error:
            return error.reason
        return "ok"

    assert got("/open") == "ok"
    assert got("/shut") == "missing_api_key"
    assert got("/shut", authorization="Bearer pen-caller") == "forbidden"
    assert got("/shut", authorization="Bearer pen-admin") == "forbidden"
    assert got("/shut", authorization="Bearer pen-owner") == "ok"
    assert got("/none", authorization="Bearer pen-owner") == NotFound.code
    assert served == ["anyone", "owner"]
