"""Each method of the client asks its own route as the server expects it, and gives what the server told.

Promise: every public method is in the table below; arguments are encoded, never pasted into a path; lists are read to
their end and not past it.
"""

from __future__ import annotations

import inspect

import msgspec
import pytest

from penstock.kernel.context import Cap
from penstock.kernel.errors import Invalid, Upstream
from penstock.sdk.calls import PAGE_ROWS, Calls
from penstock.sdk.client import Client
from penstock.sdk.contents import ContentDecision, Forgetting
from penstock.sdk.oversight import AuditQuery, Invoice
from penstock.sdk.people import InviteRequest, LinkSignIn, OidcSignIn, PersonChange, SignIn
from penstock.sdk.replies import KeyChange, KeyRequest, Purge, ScopeRequest
from penstock.sdk.routing import RouteQuestion
from penstock.sdk.transport import HttpTransport
from tests.support import run
from tests.unit.sdk.test_knowledge import METHODS
from tests.unit.sdk.wires import Scripted

KEY = {
    "id": "k1", "org": "default", "team": "t", "project": "p", "user": "u", "name": "", "role": "caller", "models": [],
    "rate": {}, "caps": [], "max_input_tokens": 0, "max_output_tokens": 0, "max_request_nanos": 0, "created_s": 1.0,
    "expires_s": 0.0, "revoked_s": 0.0, "end_users": False, "tier": "standard", "unknown_to_us": 1,
}  # fmt: skip
SCOPE = {"path": "p", "level": "org", "name": "", "rate": {}, "caps": [], "user_rate": {}, "user_caps": []}
PERSON = {
    "id": "per_1", "org": "o", "team": "t", "email": "a@b.c", "name": "A", "role": "admin", "state": "active",
}  # fmt: skip
SESSION = {"id": "s1", "person": "per_1", "method": "password", "created_s": 1.0, "seen_s": 2.0}
MADE = {"token": "pens-x", "csrf": "c", "session": SESSION, "person": PERSON}
STATUS = {
    "version": "1", "uptime_s": 1.0, "draining": False, "dependencies": {}, "in_flight": 0, "connections": 0,
    "providers": {}, "breakers": {}, "models": 0, "unpriced": {}, "audit_waiting": 0, "audit_dropped": 0,
}  # fmt: skip
VERDICT = {
    "whole": True, "entries": 0, "operations": 0, "pending": 0, "posted_nanos": 0, "held_nanos": 0, "heads": {},
    "problems": [],
}  # fmt: skip
REQUEST = {"request_id": "req_1", "at_s": 1.0, "calls": [{"provider": "p", "model": "m"}]}
FORECAST = {"org": "o", "today_nanos": 1, "today_end_nanos": 2, "month_nanos": 3, "month_end_nanos": 4}
RECONCILED = {
    "vendor": "openai", "since": "2026-11-20", "until": "2026-11-20", "agrees": True, "ours_nanos": 1,
    "theirs_nanos": 1, "difference_nanos": 0, "counts": {"matched": 1}, "lines": [],
}  # fmt: skip
COSTS = {"by": ["day"], "rows": [{"group": ["1"]}], "total": {}, "since_s": 1.0, "until_s": 2.0}
ANSWER = {"choices": [{"message": {"role": "assistant", "content": "Hi"}}]}
INVITED = {"person": PERSON, "link_token": "penl-x"}
RULE = {"team": "t", "mode": "full"}
CONTENT_RULES = {"org": "o", "most": "full", "default": "hash", "rules": [RULE]}
CONTENT = {
    "request_id": "r", "org": "o", "team": "t", "user": "u", "face": "openai", "prompt": "p", "answer": "",
}  # fmt: skip
CAP = Cap(window="day", limit_nanos=5, warn_percent=(50,))
CAP_BODY = {"window": "day", "limit_nanos": 5, "warn_percent": [50], "hard": True}
ASK = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}

VERSION = {"number": 3}
ROUTING = {"version": VERSION, "document": {}}

# name, what is called, what the server answers, the method and target it must be asked, the body it must be given
ROUTES = [
    ("contents.rules", lambda c: c.contents.rules("o"), CONTENT_RULES, "GET /api/v1/contents/rules?org=o", None),
    ("contents.decide", lambda c: c.contents.decide(ContentDecision(**RULE)), RULE, "PUT /api/v1/contents/rules", RULE),
    ("contents.read", lambda c: c.contents.read("r/1"), CONTENT, "GET /api/v1/requests/r%2F1/content", None),
    (
        "contents.forget", lambda c: c.contents.forget(Forgetting(user="u")), {"keys": 2},
        "POST /api/v1/contents/forget", {"user": "u"},
    ),
    (
        "requests.score", lambda c: c.requests.score("req_1", 0.5), {"request_id": "req_1", "score": 0.5},
        "POST /api/v1/requests/req_1/feedback", {"score": 0.5},
    ),
    ("routing.get", lambda c: c.routing.get(3), ROUTING, "GET /api/v1/routing?version=3", None),
    ("routing.history", lambda c: c.routing.history(9), [VERSION], "GET /api/v1/routing/versions?limit=9", None),
    ("routing.canaries", lambda c: c.routing.canaries(), {"canaries": []}, "GET /api/v1/routing/canaries", None),
    ("routing.tiers", lambda c: c.routing.tiers(), [{"model": "m"}], "GET /api/v1/routing/tiers", None),
    (
        "routing.check",
        lambda c: c.routing.check({"routes": []}),
        {"sound": True, "routes": 0},
        "POST /api/v1/routing/check",
        {"document": {"routes": []}},
    ),
    (
        "routing.apply",
        lambda c: c.routing.apply({}, why="w", based_on=2),
        VERSION,
        "PUT /api/v1/routing",
        {"document": {}, "why": "w", "based_on": 2},
    ),
    (
        "routing.rollback",
        lambda c: c.routing.rollback(1),
        VERSION,
        "POST /api/v1/routing/rollback",
        {"to": 1, "why": ""},
    ),
    (
        "routing.explain",
        lambda c: c.routing.explain(RouteQuestion(model="m", user="u")),
        {"model": "m", "version": 1},
        "POST /api/v1/routing/explain",
        {"model": "m", "user": "u"},
    ),
    ("me", lambda c: c.me(), {"kind": "key", "id": "k", "role": "owner"}, "GET /api/v1/me", None),
    ("status", lambda c: c.status(), STATUS, "GET /api/v1/status", None),
    ("chat.create", lambda c: c.chat.create(**ASK), ANSWER, "POST /v1/chat/completions", ASK),
    ("models.list", lambda c: c.models.list(), {"data": [{"id": "m"}]}, "GET /v1/models", None),
    (
        "keys.create",
        lambda c: c.keys.create(KeyRequest(team="search", caps=(CAP,))),
        {"key": KEY, "token": "pen-x"},
        "POST /api/v1/keys",
        {"team": "search", "caps": [CAP_BODY]},
    ),
    ("keys.list", lambda c: c.keys.list("acme"), [KEY], "GET /api/v1/keys?org=acme&limit=1000", None),
    ("keys.get", lambda c: c.keys.get("a/b"), KEY, "GET /api/v1/keys/a%2Fb", None),
    (
        "keys.change",
        lambda c: c.keys.change("k1", KeyChange(name="", models=())),
        KEY,
        "PATCH /api/v1/keys/k1",
        {"name": "", "models": []},
    ),
    ("keys.revoke", lambda c: c.keys.revoke("k1"), KEY, "DELETE /api/v1/keys/k1", None),
    (
        "keys.rotate",
        lambda c: c.keys.rotate("k1", overlap_s=0),
        {"key": KEY, "token": "pen-x"},
        "POST /api/v1/keys/k1/rotate",
        {"overlap_s": 0},
    ),
    (
        "scopes.put",
        lambda c: c.scopes.put(ScopeRequest(level="org")),
        SCOPE,
        "PUT /api/v1/scopes",
        {"level": "org"},
    ),
    ("scopes.list", lambda c: c.scopes.list("team"), [SCOPE], "GET /api/v1/scopes?level=team&limit=1000", None),
    (
        "scopes.get",
        lambda c: c.scopes.get("team", team="search"),
        SCOPE,
        "GET /api/v1/scopes/one?level=team&team=search",
        None,
    ),
    ("budgets.list", lambda c: c.budgets.list("a&org=b"), [], "GET /api/v1/budgets?org=a%26org%3Db", None),
    ("usage.list", lambda c: c.usage.list("o", "/t"), [], "GET /api/v1/usage?org=o&prefix=%2Ft&limit=1000", None),
    ("prices.list", lambda c: c.prices.list("p", "m"), [], "GET /api/v1/prices?provider=p&model=m&limit=1000", None),
    ("ledger.verify", lambda c: c.ledger.verify(), VERDICT, "GET /api/v1/ledger/verify", None),
    ("cache.status", lambda c: c.cache.status("o"), {"org": "o"}, "GET /api/v1/cache?org=o", None),
    (
        "cache.purge",
        lambda c: c.cache.purge(Purge(tag="doc:1")),
        {"forgotten": 1},
        "POST /api/v1/cache/purge",
        {"tag": "doc:1"},
    ),
    ("people.list", lambda c: c.people.list(), [PERSON], "GET /api/v1/people?limit=1000", None),
    (
        "people.invite",
        lambda c: c.people.invite(InviteRequest(email="a@b.c", name="A", role="admin")),
        INVITED,
        "POST /api/v1/people",
        {"email": "a@b.c", "name": "A", "role": "admin"},
    ),
    (
        "people.change",
        lambda c: c.people.change("per_1", PersonChange(team="")),
        PERSON,
        "PATCH /api/v1/people/per_1",
        {"team": ""},
    ),
    ("people.link", lambda c: c.people.link("per_1"), INVITED, "POST /api/v1/people/per_1/link", None),
    ("people.disable", lambda c: c.people.disable("per_1"), PERSON, "POST /api/v1/people/per_1/disable", None),
    ("people.enable", lambda c: c.people.enable("per_1"), PERSON, "POST /api/v1/people/per_1/enable", None),
    ("people.sessions", lambda c: c.people.sessions("per_1"), [SESSION], "GET /api/v1/people/per_1/sessions", None),
    (
        "people.end_sessions",
        lambda c: c.people.end_sessions("per_1"),
        PERSON,
        "DELETE /api/v1/people/per_1/sessions",
        None,
    ),
    (
        "sessions.sign_in",
        lambda c: c.sessions.sign_in(SignIn(email="a@b.c", password="p")),
        MADE,
        "POST /api/v1/sessions",
        {"email": "a@b.c", "password": "p"},
    ),
    (
        "sessions.accept",
        lambda c: c.sessions.accept(LinkSignIn(token="penl-x", password="p")),
        MADE,
        "POST /api/v1/sessions/link",
        {"token": "penl-x", "password": "p"},
    ),
    ("sessions.oidc", lambda c: c.sessions.oidc(), {"enabled": False}, "GET /api/v1/sessions/oidc", None),
    (
        "sessions.begin_oidc",
        lambda c: c.sessions.begin_oidc("https://a.example/back"),
        {"url": "u", "kept": "k"},
        "POST /api/v1/sessions/oidc",
        {"redirect_uri": "https://a.example/back"},
    ),
    (
        "sessions.finish_oidc",
        lambda c: c.sessions.finish_oidc(OidcSignIn(code="c", state="s", kept="k", redirect_uri="r")),
        MADE,
        "POST /api/v1/sessions/oidc/code",
        {"code": "c", "state": "s", "kept": "k", "redirect_uri": "r"},
    ),
    ("sessions.list", lambda c: c.sessions.list(), [SESSION], "GET /api/v1/sessions", None),
    ("sessions.sign_out", lambda c: c.sessions.sign_out(), b"", "DELETE /api/v1/sessions/current", None),
    ("sessions.end", lambda c: c.sessions.end("s1"), b"", "DELETE /api/v1/sessions/s1", None),
    (
        "changes.verify",
        lambda c: c.changes.verify(head="ab"),
        {"org": "acme", "seals": 1, "rows": 2, "unsealed": 0, "head": "ab", "problems": []},
        "GET /api/v1/changes/seals?head=ab",
        None,
    ),
    (
        "changes.list",
        lambda c: c.changes.list(actor="per_1", after="c1", limit=5),
        [{"id": "c2", "at_s": 1.0, "before": {"a": [1]}, "after": None}],
        "GET /api/v1/changes?actor=per_1&after=c1&limit=5",
        None,
    ),
    (
        "requests.list",
        lambda c: c.requests.list(outcome="failed", since_s=1.5, after="x"),
        {"requests": [REQUEST], "after": ""},
        "GET /api/v1/requests?outcome=failed&since_s=1.5&after=x&limit=50",
        None,
    ),
    ("requests.get", lambda c: c.requests.get("req_1"), {"request": REQUEST}, "GET /api/v1/requests/req_1", None),
    (
        "costs.get",
        lambda c: c.costs.get("day", "model", team="search"),
        COSTS,
        "GET /api/v1/costs?by=day%2Cmodel&team=search",
        None,
    ),
    (
        "costs.chargeback",
        lambda c: c.costs.chargeback("2026-11-01", "2026-11-30", "o"),
        b"",
        "GET /api/v1/costs/chargeback?since=2026-11-01&until=2026-11-30&org=o",
        None,
    ),
    ("costs.forecast", lambda c: c.costs.forecast("o"), FORECAST, "GET /api/v1/costs/forecast?org=o", None),
    (
        "audit.query",
        lambda c: c.audit.query(AuditQuery(sql="select 1")),
        {"columns": ["1"], "types": ["INTEGER"], "rows": [[1]], "truncated": False},
        "POST /api/v1/audit/query",
        {"sql": "select 1"},
    ),
    ("audit.about", lambda c: c.audit.about("o"), {"org": "o", "kept": True}, "GET /api/v1/audit?org=o", None),
    ("alerts.rules", lambda c: c.alerts.rules(), [], "GET /api/v1/alerts/rules", None),
    ("alerts.deliveries", lambda c: c.alerts.deliveries("o"), {}, "GET /api/v1/alerts/deliveries?org=o", None),
    ("cache.prompts", lambda c: c.cache.prompts("o"), [{"backend": "b"}], "GET /api/v1/cache/prompts?org=o", None),
    ("alerts.list", lambda c: c.alerts.list(), {"standing": [], "past": []}, "GET /api/v1/alerts", None),
    ("alerts.test", lambda c: c.alerts.test("o"), {"targets": 2}, "POST /api/v1/alerts/test?org=o", None),
    (
        "invoices.reconcile",
        lambda c: c.invoices.reconcile(Invoice(vendor="openai", form="csv", text="t")),
        RECONCILED,
        "POST /api/v1/reconcile",
        {"vendor": "openai", "form": "csv", "text": "t"},
    ),
    ("overview.get", lambda c: c.overview.get("acme"), {"at_s": 1.0}, "GET /api/v1/overview?org=acme", None),
    ("settings.get", lambda c: c.settings.get(), {"rows": [{"key": "server.port"}]}, "GET /api/v1/settings", None),
]  # fmt: skip
STREAMS = {"chat.stream", "requests.live", "overview.live", "routing.watch_canaries"}
"""See test_chat.py and test_live.py."""


@pytest.mark.parametrize(("name", "ask", "answer", "asked", "body"), ROUTES, ids=[row[0] for row in ROUTES])
def test_a_method_asks_its_route_and_gives_what_it_told(name, ask, answer, asked, body):
    wire = Scripted(answer)
    found = run(ask(Client(transport=wire)))
    ((method, target, sent),) = wire.calls
    assert f"{method} {target}" == asked
    assert (msgspec.json.decode(sent) if sent else None) == body
    told = msgspec.to_builtins(found)
    assert answer == b"" or is_shown(answer["data"] if name == "models.list" else answer, told)


def is_shown(answer, told) -> bool:
    """Tell whether everything of `answer` is in `told`; what is unknown to us is left out there."""
    if isinstance(answer, dict):
        known = [name for name in answer if name != "unknown_to_us"]
        return all(name in told and is_shown(answer[name], told[name]) for name in known)
    if isinstance(answer, list):
        return len(answer) == len(told) and all(map(is_shown, answer, told))
    return answer == told


def test_every_public_method_is_in_the_table():
    client = Client(transport=Scripted())
    nouns = {name: noun for name, noun in vars(client).items() if isinstance(noun, Calls)}
    methods = {
        f"{name}.{method}"
        for name, noun in nouns.items()
        for method, _ in inspect.getmembers(noun, inspect.ismethod)
        if not method.startswith("_")
    }
    methods |= {name for name in vars(Client) if not name.startswith("_")} - {"close", "under"}
    assert methods == {row[0] for row in ROUTES} | STREAMS | METHODS


@pytest.mark.parametrize(
    ("rows", "calls"), [(0, 1), (1, 1), (PAGE_ROWS - 1, 1), (PAGE_ROWS, 2), (PAGE_ROWS + 1, 2)]
)
def test_a_list_is_read_to_its_end_and_not_past_it(rows, calls):
    keys = [KEY | {"id": f"k{number:05d}"} for number in range(rows)]
    wire = Scripted(keys[:PAGE_ROWS], keys[PAGE_ROWS:])
    found = run(Client(transport=wire).keys.list("acme"))
    assert [key.id for key in found] == [key["id"] for key in keys]
    assert len(wire.calls) == calls
    if calls == 2:
        assert f"after={keys[PAGE_ROWS - 1]['id']}" in wire.calls[1][1]


def test_usage_asks_for_the_organisation_and_what_is_below_it_apart():
    row = {"account": "org:acme@total", "posted_nanos": 1, "held_nanos": 0, "requests": 1}
    wire = Scripted([row], [])
    assert len(run(Client(transport=wire).usage.list("acme"))) == 1
    assert ["prefix=%40" in wire.calls[0][1], "prefix=%2F" in wire.calls[1][1]] == [True, True]


def test_an_id_is_encoded_never_pasted():
    wire = Scripted(KEY)
    run(Client(transport=wire).keys.revoke("../scopes?x=1"))
    assert wire.calls[0][1] == "/api/v1/keys/..%2Fscopes%3Fx%3D1"


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_an_id_that_would_name_another_route_is_refused(name):
    wire = Scripted([])
    with pytest.raises(Invalid):
        run(Client(transport=wire).people.end_sessions(name))
    assert wire.calls == []


@pytest.mark.parametrize("answer", [b"<html>", b"{}", b'{"key": {}}', b"\xff", b"[" * 5000])
def test_a_reply_not_understood_says_so(answer):
    with pytest.raises(Upstream, match="not understood"):
        run(Client(transport=Scripted(answer)).ledger.verify())


def test_the_transport_is_closed_with_the_client():
    wire = Scripted([])

    async def use():
        async with Client(transport=wire) as client:
            await client.budgets.list()

    run(use())
    assert wire.closed


def test_under_asks_under_the_other_token_and_leaves_its_own_way_open():
    wire = Scripted()

    async def use():
        async with Client(transport=wire).under("pens-x", "10.0.0.1") as other:
            return other._transport.answers[-1]

    assert run(use()) == ("pens-x", "10.0.0.1")
    assert not wire.closed


def test_a_transport_and_an_address_are_not_given_together():
    with pytest.raises(Invalid):
        Client("http://127.0.0.1:1", transport=Scripted())


@pytest.mark.parametrize("key", ["a b", "a\r\nx: y", "schl\u00fcssel", "a\n"])
def test_a_key_that_would_break_a_header_is_refused_and_not_shown(key):
    with pytest.raises(Invalid) as refusal:
        HttpTransport("http://127.0.0.1:1", key)
    assert key not in str(refusal.value)
