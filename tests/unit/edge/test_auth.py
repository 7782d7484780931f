"""Authentication: the scheme is Bearer, a token's start says who is asked, the policy decides; no error holds one."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from penstock.edge.auth import Authenticator, bearer
from penstock.edge.caller import ANYONE, Caller
from penstock.edge.routes import Policy
from penstock.kernel.context import Principal
from penstock.kernel.errors import Forbidden, Unauthenticated
from penstock.mechanisms.persons import Person
from penstock.mechanisms.roles import Action, Role, may
from penstock.mechanisms.sessions import Session, Visit
from tests.support import run
from tests.unit.edge.exchange import request

CALLER = Principal(key_id="k", org="a", team="t", project="p", user="u")
ROLES = tuple(str(role) for role in Role)
NEEDS = {
    Policy.CALLER: Action.USE_MODELS,
    Policy.METRICS: Action.READ_METRICS,
}


class Directory:
    """Knows one token per role, which begins as `start` says; counts how often the store was asked."""

    def __init__(self, start: str = "pen-", *, remembered: bool = True) -> None:
        self.start = start
        self.remembered = remembered
        self.asked = 0

    def known(self, token: bytes) -> Any:
        return self._find(token) if self.remembered else None

    async def principal(self, token: bytes) -> Principal:
        self.asked += 1
        found = self._find(token)
        if found is None:
            raise Unauthenticated(value=self.start)
        return found

    def key_name(self, key_id: str) -> str:
        return f"the key {key_id}"

    def _find(self, token: bytes) -> Principal | None:
        text = token.decode("latin-1")
        role = text.removeprefix(self.start)
        is_one = text.startswith(self.start) and role in (*ROLES, "ghost")
        return msgspec.structs.replace(CALLER, role=role) if is_one else None


class Visitors(Directory):
    """Knows one person's session per role."""

    def known(self, token: bytes) -> Any:
        found = super().known(token)
        return None if found is None else visit(found)

    async def visit(self, token: bytes) -> Visit:
        return visit(await self.principal(token))


def visit(principal: Principal) -> Visit:
    """Return the visit of a person."""
    session = Session(
        id="ses_1", mac="", person="per_1", epoch=0, method="password", created_s=1.0, seen_s=1.0
    )
    person = Person(
        id="per_1", org="a", team="t", email="ann@a.test", name="Ann", role=principal.role, created_s=1.0
    )
    return Visit(principal=principal, session=session, person=person, loaded_s=1.0, generation=0)


def doorkeeper(
    directory: Directory | None = None, sessions: Directory | None = None, machines: Directory | None = None
) -> Authenticator:
    """Return an authenticator over what is known."""
    keys: Any = directory or Directory()
    people: Any = sessions
    return Authenticator(keys, people, machines)


def house() -> Authenticator:
    """Return an authenticator that knows keys, people and machines."""
    return doorkeeper(Directory(), Visitors("pens-"), Directory("eyJ"))


def admitted(policy: Policy, authorization: str | None) -> Principal:
    """Ask to be let in."""
    headers = {} if authorization is None else {"authorization": authorization}
    return run(house().principal(request(**headers), policy))


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


@pytest.mark.parametrize("authorization", [None, "Bearer pen-caller", "Bearer nonsense", "Basic x"])
def test_a_public_route_asks_nobody(authorization: str | None) -> None:
    assert admitted(Policy.PUBLIC, authorization) is ANYONE


@pytest.mark.parametrize("role", [*ROLES, "ghost"])
@pytest.mark.parametrize("start", ["pen-", "pens-", "eyJ"])
@pytest.mark.parametrize("policy", list(NEEDS))
def test_the_table_of_roles_decides_whoever_it_is(policy: Policy, start: str, role: str) -> None:
    if may(role, NEEDS[policy]):
        assert admitted(policy, f"Bearer {start}{role}").role == role
    else:
        with pytest.raises(Forbidden) as caught:
            admitted(policy, f"Bearer {start}{role}")
        assert caught.value.value == role
        assert NEEDS[policy] in caught.value.message


def test_every_policy_but_the_open_ones_needs_an_action() -> None:
    assert set(NEEDS) == set(Policy) - {Policy.PUBLIC, Policy.DECLARED}
    for policy in NEEDS:
        with pytest.raises(Unauthenticated):
            admitted(policy, None)


def test_behind_a_declared_mount_nobody_is_anyone_and_a_role_is_for_the_application_to_judge() -> None:
    assert admitted(Policy.DECLARED, None) is ANYONE
    assert admitted(Policy.DECLARED, "Bearer pens-auditor").role == "auditor"
    for wrong in ("Bearer pen-nobody", "Bearer ", "Basic x", ""):
        with pytest.raises(Unauthenticated):
            admitted(Policy.DECLARED, wrong)
    assert not any(may(ANYONE.role, action) for action in Action)


@pytest.mark.parametrize("policy", [Policy.CALLER, Policy.METRICS, Policy.DECLARED])
@pytest.mark.parametrize("start", ["pen-", "pens-", "eyJ", "penl-", "sk-", ""])
def test_an_unknown_token_is_refused_without_repeating_it(policy: Policy, start: str) -> None:
    with pytest.raises(Unauthenticated) as caught:
        admitted(policy, f"Bearer {start}secret")
    assert "secret" not in str(caught.value)
    assert caught.value.value == (start if start in ("pens-", "eyJ") else "pen-")  # who was asked


@pytest.mark.parametrize("start", ["pens-", "eyJ"])
def test_where_there_are_no_people_or_machines_their_tokens_are_no_keys(start: str) -> None:
    with pytest.raises(Unauthenticated) as caught:
        run(doorkeeper().principal(request(authorization=f"Bearer {start}owner"), Policy.CALLER))
    assert caught.value.value == "pen-"


@pytest.mark.parametrize("start", ["pen-", "pens-", "eyJ"])
def test_whoever_is_remembered_costs_no_look_up(start: str) -> None:
    for remembered in (True, False):
        kind = Visitors if start == "pens-" else Directory
        directory = kind(start, remembered=remembered)
        others = {"pen-": (directory,), "pens-": (None, directory), "eyJ": (None, None, directory)}[start]
        asked = request(authorization=f"Bearer {start}developer")
        run(doorkeeper(*others).principal(asked, Policy.CALLER))
        assert directory.asked == (not remembered)


# --- who acts ------------------------------------------------------------------------------------------------------


def acting(authorization: str | None) -> Caller:
    """Be let in by a declared mount, and be told apart."""
    headers = {} if authorization is None else {"authorization": authorization}
    asked, door = request(**headers), house()

    async def case() -> Caller:
        return await door.caller(asked, await door.principal(asked, Policy.DECLARED), "req_1")

    return run(case())


@pytest.mark.parametrize(
    ("authorization", "kind", "name", "id"),
    [
        (None, "anyone", "", ""), ("Bearer pen-admin", "key", "the key k", "k"),
        ("Bearer pens-admin", "person", "Ann", "per_1"), ("Bearer eyJcaller", "machine", "u", "k"),
    ],
)  # fmt: skip
def test_an_application_is_told_who_acts_and_changes_carry_it(
    authorization: str | None, kind: str, name: str, id: str
) -> None:
    caller = acting(authorization)
    author = caller.author()
    assert (caller.kind, caller.name, caller.request_id, caller.peer) == (kind, name, "req_1", "192.0.2.1")
    assert (author.kind, author.name, author.id) == (kind, name, id)
    assert (author.request_id, author.peer) == ("req_1", "192.0.2.1")
    if authorization is not None:
        assert (author.org, author.team, author.user) == ("a", "t", "u")
        assert author.role == caller.principal.role


def test_only_a_persons_caller_holds_a_token_and_no_repr_shows_one() -> None:
    assert acting("Bearer pens-developer").token == b"pens-developer"
    for start in ("pen-", "pens-", "eyJ"):
        caller = acting(f"Bearer {start}developer")
        assert (caller.visit is not None) == bool(caller.token) == (start == "pens-")
        assert f"{start}developer" not in repr(caller) + str(caller) + str(caller.__rich_repr__())
