"""schemathesis against the management API: every phase, on a running platform, signed in as an owner.

    report = fuzz(house, seed=1, seconds=60)

The fuzzer ends its own sessions, shuts itself out and takes its own role: whenever it is no owner any more, it becomes
another. What no schema can say (a password that is right, a link that was made, a code of the OpenID provider) it is
handed, every other time. Live views are read to their second event and closed.

Promise: `Report` counts every reply, also those of cases that are tried again; nothing is filtered out of its failures.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import requests
import schemathesis
from schemathesis import hooks
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema
from schemathesis.generation import GenerationMode

from penstock.mechanisms.changes import THE_PLATFORM
from penstock.mechanisms.persons import Person
from penstock.mechanisms.roles import Role
from tests.browser.theatre import PASSWORD, House
from tests.oidc_provider import signed_in

ORG, TEAM = "default", "default"
CHANGES_SOMETHING = ("DELETE", "POST", "PATCH")
LIVE_EVENTS = 2
OFF = ("positive_data_acceptance",)
"""Not asked: what a schema cannot say (two budgets of one window, a period that ends before it begins) is refused."""
API = "/api/v1"
UNTRUE = {
    # One person's session is not to be ended by another, who made it by signing in.
    f"DELETE {API}/sessions/{{session_id}}": "ensure_resource_availability",
    # Ending all of them leaves an empty list.
    f"GET {API}/people/{{person_id}}/sessions": "use_after_free",
    # A revoked key takes nobody in, and stays on show: who asks for it is told when it was revoked.
    f"GET {API}/keys/{{key_id}}": "use_after_free",
}
"""What a check takes for granted and is not so here, by operation."""
HANDED_MOST = 30
"""How often each thing that costs a sign-in is handed over: more are refused for a quarter of an hour."""


@dataclass
class Report:
    """What the fuzzer did and found."""

    operations: set[str] = field(default_factory=set[str])
    answered: set[str] = field(default_factory=set[str])
    statuses: Counter[int] = field(default_factory=Counter[int])
    phases: dict[str, str] = field(default_factory=dict[str, str])
    cases: Counter[str] = field(default_factory=Counter[str])
    broken: list[str] = field(default_factory=list[str])
    failures: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    told: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    errors: list[str] = field(default_factory=list[str])
    owners: int = 0

    @property
    def share_answered(self) -> float:
        """The part of the operations that were used successfully at least once."""
        return len(self.answered) / max(1, len(self.operations))


class Spares:
    """Owners to be, and what a fuzzer cannot guess."""

    def __init__(self, it: House, back: str) -> None:
        self._it = it
        self._back = back
        self._people = it.stage.platform.people
        self._sessions = it.stage.platform.sessions
        self._self: Person
        self._made = 0
        self._handed: Counter[str] = Counter()
        self.owners = 0
        self.token = ""

    def owner(self) -> str:
        """Make another owner; return the token of their session."""
        self._self, _ = self._settle(Role.OWNER)
        self.owners += 1
        self.token = self._it.run(self._sessions.open(self._self, method="password"))[1]
        return self.token

    def look(self) -> None:
        """Let the session go when whoever calls is signed in no more, or no owner any more."""
        signed = {"authorization": f"Bearer {self.token}"}
        told = requests.get(f"{self._it.url}{API}/me", headers=signed, timeout=10)
        if told.status_code != 200 or told.json()["role"] != Role.OWNER:
            self.token = ""

    def session(self) -> str:
        """Return the id of another session of the owner who calls."""
        return self._it.run(self._sessions.open(self._self, method="password"))[0].id

    def hand(self, operation: str, body: dict[str, Any]) -> None:
        """Put into a body what makes it good."""
        given = GIVEN.get(operation)
        if given is None or (operation in COSTLY and self._handed[operation] >= HANDED_MOST):
            return
        self._handed[operation] += 1
        made = given(self)
        body.clear()
        body.update(made)

    def invitee(self) -> dict[str, Any]:
        """Return somebody who was not invited yet."""
        self._made += 1
        return {"email": f"invited-{self._made}@example.org", "name": "Kim", "role": "developer"}

    def account(self) -> dict[str, Any]:
        """Return an email address and its password."""
        person, _ = self._settle(Role.DEVELOPER)
        return {"email": person.email, "password": PASSWORD}

    def link(self) -> dict[str, Any]:
        """Return a one-time link."""
        person, link = self._invite(Role.DEVELOPER)
        return {"token": link, "password": PASSWORD, "email": person.email, "name": person.name}

    def address(self) -> dict[str, Any]:
        """Return where the provider may send a browser back to."""
        return {"redirect_uri": self._back}

    def code(self) -> dict[str, Any]:
        """Sign in at the provider as somebody invited; return what a browser brings back."""
        person, _ = self._invite(Role.DEVELOPER)
        door = self._it.stage.platform.oidc
        begun = self._it.run(door.begin(self._back))
        came = signed_in(begun.url, person.email.partition("@")[0])
        return {"code": came["code"], "state": came["state"], "kept": begun.kept, "redirect_uri": self._back}

    def _invite(self, role: Role) -> tuple[Person, str]:
        self._made += 1
        email = f"spare-{self._made}@example.org"
        return self._it.run(self._people.invite(THE_PLATFORM, email, "Spare", role, org=ORG, team=TEAM))

    def _settle(self, role: Role) -> tuple[Person, str]:
        _, link = self._invite(role)
        peer = f"10.1.{self._made // 250}.{self._made % 250}"
        return self._it.run(self._people.accept(link, PASSWORD, peer=peer)), link


GIVEN: dict[str, Callable[[Spares], dict[str, Any]]] = {
    f"POST {API}/people": Spares.invitee,
    f"POST {API}/sessions": Spares.account,
    f"POST {API}/sessions/link": Spares.link,
    f"POST {API}/sessions/oidc": Spares.address,
    f"POST {API}/sessions/oidc/code": Spares.code,
}
END_SESSION = f"DELETE {API}/sessions/{{session_id}}"
DRAWN, STATEFUL, STATEFUL_WALKS = ("examples", "coverage", "fuzzing"), "stateful", 40
COSTLY = frozenset(GIVEN) - {f"POST {API}/people", f"POST {API}/sessions/oidc"}


def fuzz(it: House, *, seed: int, seconds: int) -> Report:
    """Run every phase; those that draw cases for about so many seconds, the stateful one, which has an end of its own,
    for about as many at most. `it` has an OpenID provider (tests/browser/doors).
    """
    report, spares = Report(), Spares(it, it.console("/sign-in/oidc/back"))
    signed = {"authorization": f"Bearer {spares.owner()}"}
    document = requests.get(f"{it.url}{API}/openapi.json", headers=signed, timeout=10).json()
    rng = random.Random(seed)

    @schemathesis.hook
    def before_call(context: Any, case: Any, kwargs: Any) -> None:
        is_good = case.meta is None or case.meta.generation.mode is GenerationMode.POSITIVE
        if not is_good or rng.random() < 0.5:
            return
        if case.operation.label == END_SESSION:
            case.path_parameters = {"session_id": spares.session()}
        elif isinstance(case.body, dict):
            spares.hand(case.operation.label, case.body)

    try:
        for phases in (DRAWN, (STATEFUL,)):
            schema = schemathesis.openapi.from_dict(
                document, config=configured(it.url, seed, seconds, phases)
            )
            _prepare(schema, report, spares)
            for event in from_schema(schema).execute():
                _note(report, event)
    finally:
        hooks.unregister(before_call)
    report.owners = spares.owners
    return report


def _prepare(schema: Any, report: Report, spares: Spares) -> None:
    """Have calls of `schema` signed, and their answers counted."""

    @schema.auth(refresh_interval=None)
    class Signed:
        def get(self, case: Any, context: Any) -> str:
            return spares.token or spares.owner()

        def set(self, case: Any, data: str, context: Any) -> None:
            case.headers = {**(case.headers or {}), "Authorization": f"Bearer {data}"}

    @schema.hook
    def after_call(context: Any, case: Any, response: Any) -> None:
        _count(report, case.operation.label, response)
        is_refused = response.status_code == 401 and spares.token in str(response.request.headers)
        if is_refused or (response.status_code < 300 and case.operation.method.upper() in CHANGES_SOMETHING):
            spares.look()

    report.operations = {operation.ok().label for operation in schema.get_all_operations()}


def configured(url: str, seed: int, seconds: int, phases: Sequence[str]) -> SchemathesisConfig:
    """Return how schemathesis is set up: `phases`, every check but those that are `OFF` or `UNTRUE`."""
    asked = {name: {"enabled": name in phases} for name in (*DRAWN, STATEFUL)}
    return SchemathesisConfig.from_dict(
        {
            "seed": seed,
            "max-time": seconds,
            "continue-on-failure": True,
            "base-url": url,
            "request-timeout": 10.0,
            "max-stream-events": LIVE_EVENTS,
            "checks": {name: {"enabled": False} for name in OFF},
            "operations": [
                {"include-name": name, "checks": {check: {"enabled": False}}}
                for name, check in UNTRUE.items()
            ],
            "phases": {
                **asked,
                "examples": {**asked["examples"], "fill-missing": True},
                STATEFUL: {**asked[STATEFUL], "generation": {"max-examples": STATEFUL_WALKS}},
            },
            "generation": {"database": "none", "no-shrink": True},
        }
    )


def _count(report: Report, label: str, response: Any) -> None:
    status = response.status_code
    report.statuses[status] += 1
    if 200 <= status < 300:
        report.answered.add(label)
    if status >= 500:
        report.broken.append(f"{label}: {status} {response.text[:200]}")


def _note(report: Report, event: events.EngineEvent) -> None:
    match event:
        case events.PhaseFinished():
            name, after = event.phase.name.value, event.status.value
            before = report.phases.setdefault(name, after)
            if before != "failure" and after != "skip":  # each run skips what is the other's
                report.phases[name] = after
        case events.NonFatalError():
            report.errors.append(f"{event.label}: {event.value!r}"[:300])
        case events.FatalError():
            report.errors.append(f"fatal: {event.exception!r}"[:300])
        case events.ScenarioFinished():
            _judge(report, event)
        case _:
            pass


def _judge(report: Report, scenario: events.ScenarioFinished) -> None:
    recorder = scenario.recorder
    report.cases[scenario.phase.value] += len(recorder.interactions)
    for case_id, checks in recorder.checks.items():
        for check in checks:
            if check.failure_info is None:
                continue
            label = recorder.cases[case_id].value.operation.label
            key = (check.name, label)
            report.failures[key] += 1
            failure = check.failure_info
            report.told.setdefault(key, f"{failure.failure.message} :: {failure.code_sample}"[:1500])
