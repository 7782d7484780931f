"""What the client takes and gives is what the management API gives and takes, name by name.

Promise: a view and its mirror have the same members of the same plain types; a body that leaves out what the client
calls a default means the same to the server; a new view has its mirror, or is listed here with none.
"""

from __future__ import annotations

import importlib
import pkgutil
import typing

import msgspec
import pytest
from pydantic import BaseModel

from penstock.gateway import management
from penstock.gateway.management.bodies import Body
from penstock.kernel.context import Cap, Rate
from penstock.sdk import contents, oversight, people, replies, requests, routing

CALLED = {
    "BudgetRow": "Budget",
    "CapBody": "Cap",
    "ContentView": "Content",
    "RuleBody": "ContentDecision",
    "ForgetBody": "Forgetting",
    "Errors": "ErrorCounts",
    "CacheView": "CacheFigures",
    "SemanticView": "SemanticFigures",
    "CanariesView": "Canaries",
    "CanaryView": "Canary",
    "InviteBody": "InviteRequest",
    "InvoiceBody": "Invoice",
    "QueryBody": "AuditQuery",
    "KeyBody": "KeyRequest",
    "KeyPatch": "KeyChange",
    "KeyView": "Key",
    "LedgerView": "LedgerReport",
    "LinkBody": "LinkSignIn",
    "OidcCodeBody": "OidcSignIn",
    "PersonPatch": "PersonChange",
    "CheckView": "RoutingCheck",
    "ChosenView": "ChosenTarget",
    "ExplainBody": "RouteQuestion",
    "ExplainedView": "RouteAnswer",
    "PriceRow": "ModelPrice",
    "PurgeBody": "Purge",
    "RateBody": "Rate",
    "ScopeBody": "ScopeRequest",
    "ScopeView": "ScopeLimits",
    "SettingsView": "Settings",
    "SignInBody": "SignIn",
    "StatusView": "Status",
    "RoutingView": "RoutingConfig",
    "TierView": "RouteTiers",
    "UsageRow": "Usage",
    "VersionView": "RoutingVersion",
}
"""What the client calls otherwise than the server."""
APART = {
    "ApplyBody": "parameters of `routing.apply`",
    "CheckBody": "one member: a parameter of `routing.check`",
    "RollbackBody": "parameters of `routing.rollback`",
    "Body": "the base of the others",
    "CostFilter": "a query: keywords of `costs.get`",
    "ErrorReply": "an error is raised, see sdk/failures.py",
    "ErrorView": "likewise",
    "Filter": "a query: keywords of the nouns of sdk/nouns/sight.py",
    "OidcBody": "one member: a parameter of `sessions.begin_oidc`",
    "PageFilter": "a query: keywords of `requests.list`",
    "RotateBody": "one member: a parameter of `keys.rotate`",
    "ScoreBody": "a parameter of `requests.score`",
    "Skipped": "counted by the stream, see sdk/streams.py",
}
"""What has no mirror, and why."""
PLAIN = (str, int, float, bool)


def views() -> dict[str, type[BaseModel]]:
    """Return every model of the management API by its name."""
    modules = [each.name for each in pkgutil.iter_modules(management.__path__, f"{management.__name__}.")]
    named = (
        (home, name, value) for home in modules for name, value in vars(importlib.import_module(home)).items()
    )
    return {
        name: value
        for home, name, value in named
        if isinstance(value, type) and issubclass(value, BaseModel) and value.__module__ == home
    }


VIEWS = views()
MIRRORS = {
    **vars(people),
    **vars(replies),
    **vars(requests),
    **vars(routing),
    **vars(oversight),
    **vars(contents),
    "Cap": Cap,
    "Rate": Rate,
}
PAIRS = [(VIEWS[name], MIRRORS.get(CALLED.get(name, name))) for name in sorted(VIEWS) if name not in APART]
BODIES = [
    (view, mirror)
    for view, mirror in PAIRS
    if issubclass(view, Body) and mirror and mirror not in (Cap, Rate)
]


@pytest.mark.parametrize(("view", "mirror"), PAIRS, ids=[view.__name__ for view, _ in PAIRS])
def test_a_view_has_its_mirror_with_the_same_members_of_the_same_types(view, mirror):
    assert mirror is not None, f"{view.__name__} has no mirror in the SDK"
    fields = {field.name: field for field in msgspec.structs.fields(mirror)}
    assert set(fields) == set(view.model_fields)
    for name, field in view.model_fields.items():
        theirs = fields[name].type
        kinds = typing.get_args(theirs) or (theirs,)
        if field.annotation in PLAIN:
            assert field.annotation in kinds, name


@pytest.mark.parametrize(("view", "mirror"), BODIES, ids=[view.__name__ for view, _ in BODIES])
def test_what_the_client_leaves_out_means_the_same_to_the_server(view, mirror):
    needed = {field.name: "a" for field in msgspec.structs.fields(mirror) if field.required}
    needed |= {"role": "admin"} if "role" in needed else {}
    needed |= {"level": "team"} if "level" in needed else {}
    needed |= {"mode": "hash"} if "mode" in needed else {}
    needed |= {"form": "csv"} if "form" in needed else {}
    given = mirror(**needed)
    sent = msgspec.json.decode(msgspec.json.encode(given))
    assert set(sent) == set(needed)
    said = {
        name: value for name, value in msgspec.structs.asdict(given).items() if value is not msgspec.UNSET
    }
    meant = msgspec.json.decode(msgspec.json.encode(said))
    understood = view.model_validate(sent).model_dump(mode="json")
    assert {name: understood[name] for name in meant} == meant


def test_what_stands_apart_is_still_there():
    assert set(APART) <= set(VIEWS)
    assert set(CALLED) <= set(VIEWS)
