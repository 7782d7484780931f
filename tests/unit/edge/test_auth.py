"""Authentication: the scheme is Bearer, the policy decides, and no error holds the token."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from penstock.edge.auth import ANYONE, Authenticator, bearer
from penstock.edge.routes import Policy
from penstock.kernel.context import Principal
from penstock.kernel.errors import Forbidden, Unauthenticated
from tests.support import run
from tests.unit.edge.exchange import request

CALLER = Principal(key_id="k", org="a", team="t", project="p", user="u")
ROLES = ("caller", "admin", "owner")


class Directory:
    """Knows one token per role; counts how often the store was asked."""

    def __init__(self, *, remembered: bool = True) -> None:
        self.remembered = remembered
        self.asked = 0

    def known(self, token: bytes) -> Principal | None:
        return self._find(token) if self.remembered else None

    async def principal(self, token: bytes) -> Principal:
        self.asked += 1
        found = self._find(token)
        if found is None:
            raise Unauthenticated
        return found

    def _find(self, token: bytes) -> Principal | None:
        role = token.decode("latin-1").removeprefix("pen-")
        return msgspec.structs.replace(CALLER, role=role) if role in ROLES else None


def doorkeeper(directory: Directory | None = None) -> Authenticator:
    """Return an authenticator over a directory."""
    known: Any = directory or Directory()
    return Authenticator(known)


def admitted(policy: Policy, authorization: str | None) -> Principal:
    """Ask to be let in."""
    headers = {} if authorization is None else {"authorization": authorization}
    return run(doorkeeper().principal(request(**headers), policy))


@pytest.mark.parametrize(
    ("value", "token"),
    [("Bearer pen-x", b"pen-x"), ("bearer pen-x", b"pen-x"), ("BEARER  pen-x ", b"pen-x"), ("Bearer ", b"")],
)
def test_the_scheme_is_bearer_in_any_case(value: str, token: bytes) -> None:
    assert bearer(request(authorization=value)) == token


@pytest.mark.parametrize("value", [None, "", "pen-secret", "Basic pen-secret", "Bearerpen-secret", "Bearer"])
def test_anything_else_is_refused_without_repeating_it(value: str | None) -> None:
    headers = {} if value is None else {"authorization": value}
    with pytest.raises(Unauthenticated) as caught:
        bearer(request(**headers))
    assert caught.value.reason == "missing_api_key"
    assert "secret" not in str(caught.value)


def test_a_public_route_asks_nobody() -> None:
    assert admitted(Policy.PUBLIC, None) is ANYONE


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("policy", [Policy.CALLER, Policy.ADMIN])
def test_the_policy_decides_by_role(policy: Policy, role: str) -> None:
    if policy is Policy.ADMIN and role == "caller":
        with pytest.raises(Forbidden) as caught:
            admitted(policy, f"Bearer pen-{role}")
        assert caught.value.value == "caller"
    else:
        assert admitted(policy, f"Bearer pen-{role}").role == role


@pytest.mark.parametrize("policy", [Policy.CALLER, Policy.ADMIN])
def test_an_unknown_key_is_refused_without_repeating_it(policy: Policy) -> None:
    with pytest.raises(Unauthenticated) as caught:
        admitted(policy, "Bearer pen-secret")
    assert "secret" not in str(caught.value)


def test_a_remembered_key_costs_no_look_up() -> None:
    remembered, new = Directory(), Directory(remembered=False)
    for directory in (remembered, new):
        run(doorkeeper(directory).principal(request(authorization="Bearer pen-caller"), Policy.CALLER))
    assert (remembered.asked, new.asked) == (0, 1)
