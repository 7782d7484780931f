"""Every route declares who may call it, and what it declares is what is enforced: the whole table, role by role."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

import pytest
from fastapi import FastAPI

from penstock.gateway.management import application as assembled
from penstock.gateway.management.parts import Management
from penstock.gateway.management.policy import Guarded, Open, Routes, must_be_declared
from penstock.kernel.errors import Broken
from penstock.mechanisms.roles import ALLOWED, Action, Role, may
from tests.unit.gateway.management.office import Office, office

KINDS = ("x-penstock-action", "x-penstock-public", "x-penstock-authenticated")
NOBODY = "x" * 12


async def operations(it: Office) -> dict[tuple[str, str], dict[str, Any]]:
    """Return every operation of the OpenAPI document by method and path."""
    told = (await it.ask("GET", "/api/v1/openapi.json", by=await it.as_("caller"))).json
    return {(m.upper(), path): told for path, methods in told["paths"].items() for m, told in methods.items()}


def filled(path: str) -> str:
    """Return a path with ids that nothing has."""
    return re.sub(r"\{\w+\}", NOBODY, path)


def test_every_route_of_the_document_declares_one_action_or_that_it_is_open(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        found = await operations(it)
        assert len(found) > 25
        for name, told in found.items():
            assert [kind in told for kind in KINDS].count(True) == 1, name
            assert told.get("x-penstock-action", "read usage") in set(Action), name
            assert ("x-penstock-public" in told) == (told["security"] == []), name
        public = {name for name, told in found.items() if "x-penstock-public" in told}
        assert public == {
            ("POST", "/api/v1/sessions"),
            ("POST", "/api/v1/sessions/link"),
            ("GET", "/api/v1/sessions/oidc"),
            ("POST", "/api/v1/sessions/oidc"),
            ("POST", "/api/v1/sessions/oidc/code"),
        }
        routes = {(method, route.path) for route in it.app.routes for method in route.methods}
        assert routes == set(found)

    office(tmp_path, case)


def test_who_brings_no_token_gets_401_everywhere_but_at_the_public_routes(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        for (method, path), told in (await operations(it)).items():
            reply = await it.ask(method, filled(path), b"{")  # a body nobody could read, were it looked at
            if "x-penstock-public" in told:
                assert reply.status in (200, 400), path
            else:
                assert (reply.status, reply.error["code"]) == (401, "missing_api_key"), path
                assert reply.headers["www-authenticate"] == ["Bearer"]

    office(tmp_path, case)


@pytest.mark.parametrize("role", sorted(Role))
def test_a_role_is_refused_exactly_what_its_line_of_the_table_does_not_hold(
    tmp_path: Path, role: str
) -> None:
    async def case(it: Office) -> None:
        by = await it.as_(role)
        for (method, path), told in (await operations(it)).items():
            action = told.get("x-penstock-action")
            if action is None or may(role, Action(action)):
                continue
            reply = await it.ask(method, filled(path), b"{", by=by)
            assert reply.status == 403, path
            assert (reply.error["param"], reply.error["value"]) == ("role", role)
            assert reply.error["limit"] == ", ".join(sorted(ALLOWED[Action(action)]))

    office(tmp_path, case)


async def serve() -> dict[str, str]:
    """Answer."""
    return {}


def test_a_route_made_past_the_declarations_is_found_out() -> None:
    plain = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    plain.get("/api/v1/plain")(serve)
    with pytest.raises(Broken, match="/api/v1/plain"):
        must_be_declared(plain.routes)


@pytest.mark.parametrize("extra", [
    None, {}, {"x-penstock-action": "do anything"}, {"x-penstock-public": "yes"}, {"x-penstock-authenticated": False},
    {"x-penstock-action": "read keys", "x-penstock-public": True},
])  # fmt: skip
def test_a_route_that_does_not_declare_one_thing_cannot_be_added(extra: dict[str, Any] | None) -> None:
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    with pytest.raises(Broken, match="/api/v1/bare"):
        app.router.add_api_route("/api/v1/bare", serve, route_class_override=Guarded, openapi_extra=extra)


def test_the_whole_application_does_not_start_with_one_undeclared_route(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stray = Routes("stray")
    stray.add("GET", "/stray", needs=Open.PUBLIC)(serve)
    monkeypatch.setattr(assembled, "NOUNS", (*assembled.NOUNS, stray))
    assembled.application(cast("Management", None))
    stray.declared[0].more["openapi_extra"].clear()
    with pytest.raises(Broken, match="/api/v1/stray"):
        assembled.application(cast("Management", None))


def test_an_action_without_a_line_in_the_table_cannot_be_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(ALLOWED, Action.READ_PRICES)
    routes, app = Routes("prices"), FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    routes.add("GET", "/prices", needs=Action.READ_PRICES)(serve)
    with pytest.raises(Broken, match="/api/v1/prices"):
        routes.declared[0].add_to(app)


def test_the_document_says_what_is_true_of_refusals(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        told = await operations(it)
        for name, each in told.items():
            assert "422" not in each["responses"], name  # mistakes are told as 400
            assert "400" in each["responses"], name
        assert "429" in told["POST", "/api/v1/sessions"]["responses"]
        assert "409" in told["PATCH", "/api/v1/keys/{key_id}"]["responses"]

    office(tmp_path, case)
