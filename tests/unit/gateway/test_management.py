"""The management API: an admin's reach ends at its organisation, nothing is smuggled in, a token is shown once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from penstock.adapters.ledger.sqlite import SqliteLedger
from penstock.adapters.records.sqlite import SqliteRecords
from penstock.adapters.signals.embedded import EmbeddedSignals
from penstock.edge.asgi import AsgiApp, AsgiBridge
from penstock.gateway.management import Management, application
from penstock.kernel.clock import ManualClock
from penstock.kernel.context import Principal
from penstock.mechanisms.prices import PriceBook
from penstock.mechanisms.tenancy import COLLECTIONS, KeyDoc, Tenancy
from penstock.ports.ledger import NO_LIMIT, Hold, Line, Posting
from tests.support import run
from tests.unit.edge.exchange import Replies, request

PRICES = PriceBook.load()


@dataclass
class Told:
    """A reply."""

    status: int
    text: str
    request_ids: int

    @property
    def json(self) -> Any:
        """Return the decoded body."""
        return msgspec.json.decode(self.text)

    @property
    def error(self) -> dict[str, Any]:
        """Return the error in the house's form."""
        return self.json["error"]


class Office:
    """The management API over real stores, with callers of any role and organisation."""

    def __init__(self, tenancy: Tenancy, ledger: SqliteLedger, clock: ManualClock) -> None:
        self.tenancy = tenancy
        self.ledger = ledger
        self._bridge = AsgiBridge(cast("AsgiApp", application(Management(tenancy, ledger, PRICES, clock))))

    async def ask(
        self, method: str, path: str, body: object = None, *, role: str = "admin", org: str = "acme"
    ) -> Told:
        """Ask as a caller the edge has admitted."""
        principal = Principal(key_id="k", org=org, team="t", project="p", user="u", role=role)
        path, _, query = path.partition("?")
        data = b"" if body is None else body if isinstance(body, bytes) else msgspec.json.encode(body)
        asked = request(method, path, query=query, body=data, content_type="application/json")
        replies: Any = Replies()
        await self._bridge.serve(asked, replies, principal)
        return Told(replies.status, replies.body.decode(), len(replies.header("x-request-id")))

    async def key(self, org: str = "acme", role: str = "caller", **fields: Any) -> str:
        """Make a key behind the API's back; return its id."""
        doc = KeyDoc(id="", mac="", org=org, team="t", project="p", user="u", role=role, **fields)
        made, _ = await self.tenancy.create_key(doc)
        return made.id

    async def spend(self, account: str, amount_nanos: int) -> None:
        """Charge an account."""
        await self.ledger.hold(Hold(f"op-{account}", amount_nanos, (Line(account, NO_LIMIT),)))
        await self.ledger.post(Posting(f"op-{account}", amount_nanos))


def office(folder: Path, case: Callable[[Office], Awaitable[None]]) -> None:
    """Run a case."""

    async def opened() -> None:
        clock = ManualClock()
        records = await SqliteRecords.open(folder / "records.sqlite", COLLECTIONS, clock)
        ledger = await SqliteLedger.open(folder / "ledger.sqlite", clock)
        signals = EmbeddedSignals()
        try:
            await case(Office(Tenancy(records, signals, clock, b"p" * 32), ledger, clock))
        finally:
            await signals.close()
            await ledger.close()
            await records.close()

    run(opened())


def test_a_token_is_shown_by_the_reply_that_made_it_and_never_again(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        made = await it.ask("POST", "/api/v1/keys", {"org": "acme"})
        assert (made.status, made.request_ids) == (201, 1)
        token, key_id = made.json["token"], made.json["key"]["id"]
        for path in ("/api/v1/keys", f"/api/v1/keys/{key_id}"):
            told = await it.ask("GET", path)
            assert told.status == 200
            assert token not in told.text
            assert "mac" not in told.text
        assert (await it.tenancy.principal(token.encode())).org == "acme"

    office(tmp_path, case)


@pytest.mark.parametrize(
    "smuggled",
    [
        {"id": "x" * 12}, {"mac": "00"}, {"created_s": 1}, {"revoked_s": 0}, {"expires_s": 9e9},
        {"scopes": []}, {"allowed_routes": ["*"]}, {"role": "root"}, {"rate": {"requests": 1}},
        {"caps": [{"window": "day", "limit_nanos": -1}]}, {"caps": [{"window": "hour", "limit_nanos": 1}]},
        {"org": "a/b"}, {"org": "a@b"}, {"org": "*"}, {"org": ""}, {"user": "kim smith"}, {"team": "x" * 65},
    ],
)  # fmt: skip
def test_what_a_caller_may_not_set_is_refused_by_name_and_nothing_is_made(
    tmp_path: Path, smuggled: dict[str, object]
) -> None:
    async def case(it: Office) -> None:
        told = await it.ask("POST", "/api/v1/keys", {"org": "acme", **smuggled}, role="owner")
        assert told.status == 400
        assert told.error["param"].startswith(next(iter(smuggled)))
        assert (await it.ask("GET", "/api/v1/keys")).json == []

    office(tmp_path, case)


@pytest.mark.parametrize(("by", "role", "status"), [
    ("admin", "caller", 201), ("admin", "admin", 403), ("admin", "owner", 403), ("owner", "owner", 201),
])  # fmt: skip
def test_only_an_owner_makes_admins_and_owners(tmp_path: Path, by: str, role: str, status: int) -> None:
    async def case(it: Office) -> None:
        told = await it.ask("POST", "/api/v1/keys", {"org": "acme", "role": role}, role=by)
        assert told.status == status

    office(tmp_path, case)


@pytest.mark.parametrize("verb", ["revoke", "rotate"])
def test_an_admin_cannot_touch_its_owners_key(tmp_path: Path, verb: str) -> None:
    async def case(it: Office) -> None:
        key_id = await it.key(role="owner")
        ask = ("DELETE", f"/api/v1/keys/{key_id}") if verb == "revoke" else (
            "POST", f"/api/v1/keys/{key_id}/rotate", {}
        )  # fmt: skip
        assert (await it.ask(*ask)).status == 403
        doc = await it.tenancy.key(key_id)
        assert doc is not None
        assert doc.revoked_s == 0
        assert (await it.ask(*ask, role="owner")).status in (200, 201)

    office(tmp_path, case)


REACHES = [
    ("POST", "/api/v1/keys", {"org": "other"}, 403),
    ("GET", "/api/v1/keys?org=other", None, 403),
    ("GET", "/api/v1/keys/{key}", None, 404),
    ("DELETE", "/api/v1/keys/{key}", None, 404),
    ("POST", "/api/v1/keys/{key}/rotate", {}, 404),
    ("PUT", "/api/v1/scopes", {"level": "org", "org": "other"}, 403),
    ("GET", "/api/v1/scopes?level=org&org=other", None, 403),
    ("GET", "/api/v1/usage?org=other", None, 403),
    ("GET", "/api/v1/budgets?org=other", None, 403),
    ("GET", "/api/v1/ledger/verify", None, 403),
]


@pytest.mark.parametrize(("method", "path", "body", "status"), REACHES)
def test_an_admins_reach_ends_at_its_own_organisation(
    tmp_path: Path, method: str, path: str, body: object, status: int
) -> None:
    async def case(it: Office) -> None:
        foreign, own = await it.key("other"), await it.key("acme")
        before = await it.tenancy.key(foreign)
        told = await it.ask(method, path.format(key=foreign), body)
        assert told.status == status
        assert await it.tenancy.key(foreign) == before
        absent = await it.ask(method, path.format(key="x" * 12), body)
        assert absent.error["message"].replace("x" * 12, foreign) == told.error["message"]
        mine = path.format(key=own).replace("other", "acme")
        reached = msgspec.json.decode(msgspec.json.encode(body).replace(b"other", b"acme"))
        role = "owner" if "verify" in path else "admin"
        assert (await it.ask(method, mine, reached, role=role)).status in (200, 201)

    office(tmp_path, case)


def test_usage_of_one_organisation_is_never_anothers_whose_name_begins_alike(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        for account in ("org:acme", "org:acme/team:t", "org:acme-2", "org:acme.3/team:t", "org:acmeb"):
            await it.spend(f"{account}@2026-11-20", 5)
        own = ["org:acme/team:t@2026-11-20", "org:acme@2026-11-20"]
        for limit in (1, 2, 1000):
            rows = (await it.ask("GET", f"/api/v1/usage?limit={limit}")).json
            assert [row["account"] for row in rows] == own[:limit]
        assert [r["account"] for r in (await it.ask("GET", f"/api/v1/usage?after={own[0]}")).json] == own[1:]
        assert [r["account"] for r in (await it.ask("GET", "/api/v1/usage?prefix=/team:")).json] == own[:1]
        for prefix in ("-2", "b", ".3/team"):
            assert (await it.ask("GET", f"/api/v1/usage?prefix={prefix}")).status == 400

    office(tmp_path, case)


def test_a_budget_tells_what_is_left_of_it(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        body = {"level": "team", "org": "acme", "team": "t", "caps": [{"window": "total", "limit_nanos": 9}]}
        assert (await it.ask("PUT", "/api/v1/scopes", body)).status == 200
        await it.spend("org:acme/team:t@total", 5)
        [row] = (await it.ask("GET", "/api/v1/budgets")).json
        assert (row["account"], row["posted_nanos"], row["room_nanos"]) == ("org:acme/team:t@total", 5, 4)

    office(tmp_path, case)


def test_a_window_has_one_budget(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        caps = [{"window": "day", "limit_nanos": 1}, {"window": "day", "limit_nanos": 2}]
        told = await it.ask("PUT", "/api/v1/scopes", {"level": "org", "org": "acme", "caps": caps})
        assert (told.status, told.error["param"]) == (400, "caps.window")

    office(tmp_path, case)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/api/v1/nothing", None, 404),
        ("PUT", "/api/v1/keys", {}, 405),
        ("POST", "/api/v1/keys", b"{", 400),
        ("POST", "/api/v1/keys", b"[]", 400),
        ("GET", "/api/v1/keys?limit=0", None, 400),
        ("GET", "/api/v1/keys?limit=1001", None, 400),
        ("GET", "/api/v1/scopes?level=key", None, 400),
        ("GET", "/api/v1/scopes", None, 400),
    ],
)
def test_every_refusal_has_the_houses_form_and_an_id(
    tmp_path: Path, method: str, path: str, body: object, status: int
) -> None:
    async def case(it: Office) -> None:
        told = await it.ask(method, path, body)
        assert (told.status, told.request_ids) == (status, 1)
        assert {"message", "type", "param", "code"} <= set(told.error)

    office(tmp_path, case)


def test_what_nobody_foresaw_is_a_500_that_repeats_nothing(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        async def breaks(*_: object) -> None:
            raise ValueError("postgresql://user:secret@db")

        it.tenancy.keys = breaks  # pyright: ignore[reportAttributeAccessIssue]  # a store that breaks
        replies: Any = Replies()
        principal = Principal(key_id="k", org="acme", team="t", project="p", user="u", role="admin")
        with pytest.raises(ValueError, match="secret"):
            await it._bridge.serve(request("GET", "/api/v1/keys"), replies, principal)
        assert replies.status == 500
        assert b"secret" not in replies.body
        assert msgspec.json.decode(replies.body)["error"]["code"] == "internal_error"

    office(tmp_path, case)
