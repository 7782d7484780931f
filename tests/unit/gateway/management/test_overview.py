"""The overview: an organisation's own figures, the platform's for its owners, and no store that takes it away."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.adapters.state.embedded import EmbeddedState
from penstock.gateway.management import meters
from penstock.gateway.management.fresh import KEPT, Fresh
from penstock.gateway.management.meters import Meters
from penstock.gateway.management.pressures import Disk, Queue
from penstock.gateway.management.sight import Sight
from penstock.kernel.clock import ManualClock
from penstock.kernel.context import Cap, Principal, Rate, Scope
from penstock.kernel.errors import Unavailable
from penstock.mechanisms.headroom import Fill
from penstock.mechanisms.limits import Plans
from penstock.mechanisms.tenancy import ScopeDoc
from penstock.ports.state import Ask, Taken
from tests.support import run
from tests.unit.gateway.management.office import STATUS
from tests.unit.gateway.management.sight_rig import Sighted, event, sighted

BUSY = msgspec.structs.replace(
    STATUS,
    in_flight=40,
    connections=7,
    audit_waiting=3,
    breakers={"sim/m": "open"},
    dependencies={"state": False},
)


async def overview(it: Sighted, role: str = "admin", query: str = "") -> Any:
    told = await it.it.ask("GET", f"/api/v1/overview?{query}", by=await it.it.as_(role))
    assert told.status == 200, told.text
    return told.json


async def capped(it: Sighted, path: str, org: str = "acme", **cap: Any) -> None:
    """Set a budget of a dollar a day."""
    doc = ScopeDoc(
        path=path,
        level=path.rpartition("/")[2].partition(":")[0],
        caps=(Cap(**({"window": "day", "limit_nanos": 10**9} | cap)),),
    )
    await it.it.tenancy.put_scope(org, doc)


def test_spending_is_told_with_how_full_it_is_and_how_soon_it_ends(tmp_path: Path) -> None:
    async def case(it: Sighted) -> None:
        await capped(it, "org:acme")
        await capped(it, "org:acme/team:search")
        await it.it.spend("org:acme@2027-01-15", 400_000_000)
        await it.it.spend("org:acme/team:search@2027-01-15", 700_000_000)
        await it.it.spend("org:acme@2027-01-02", 5)
        it.it.clock.advance(5.0)
        it.recent(
            [
                event(at_s=it.it.clock.wall_s(), cost_nanos=30_000_000),
                event(team="ads", cost_nanos=10_000_000),
            ]
        )
        it.it.clock.advance(50.0)
        told = await overview(it)
        # 0.04 dollars in the 55 seconds since the beginning; three quarters of it by the team.
        per_s = 40_000_000 / 55
        team, org = told["spend"]
        assert (team["account"], team["percent"]) == ("org:acme/team:search@2027-01-15", 70.0)
        assert team["eta_s"] == pytest.approx(300_000_000 / (per_s * 0.75))
        assert (org["percent"], org["eta_s"]) == (40.0, pytest.approx(600_000_000 / per_s))
        assert (told["today_nanos"], told["month_nanos"]) == (400_000_000, 400_000_005)
        assert [each["name"] for each in told["pressures"]][:2] == [
            "Budget of team search of acme, this day", "Budget of organisation acme, this day",
        ]  # fmt: skip

    sighted(tmp_path, case)


def test_what_happened_lately_is_told_of_the_organisation_alone(tmp_path: Path) -> None:
    async def case(it: Sighted) -> None:
        own = [event(latency_ms=100.0, first_token_ms=10.0) for _ in range(18)]
        own += [event(status=429, error="rate_limit_exceeded"), event(status=502, error="upstream_error")]
        it.recent([*own, *(event(org="other", status=500, error="canary") for _ in range(50))])
        told = await overview(it)
        assert told["errors"] == {
            "requests": 20, "refused": 1, "failed": 1,
            "by_code": {"rate_limit_exceeded": 1, "upstream_error": 1},
        }  # fmt: skip
        assert told["latency"]["requests"] == 20
        assert told["latency"]["p50_ms"] == pytest.approx(100.0, rel=0.03)
        assert told["latency"]["first_p95_ms"] == pytest.approx(10.0, rel=0.03)
        assert [row["request_id"] for row in told["live"]] == [each.request_id for each in own[::-1]][:12]
        assert (len(told["series"]), told["series"][-1]["requests"]) == (90, 20)
        assert "canary" not in str(told)

    sighted(tmp_path, case)


def test_figures_of_the_platform_are_for_owners_only(tmp_path: Path) -> None:
    sight = Sight(
        disk=lambda: Disk(used_bytes=90, total_bytes=100),
        queues=lambda: [Queue(name="traces", waiting=1, capacity=2, setting="traces.per_s")],
    )

    async def case(it: Sighted) -> None:
        it.it.management.headroom.fills = (Fill("org:other@2027-01-15", 10**9, 0, 10**9),)
        admin, owner = await overview(it), await overview(it, "owner")
        assert (admin["in_flight"], admin["dependencies"], admin["breakers"], admin["dropped"]) == (
            0,
            {},
            {},
            {},
        )
        assert admin["pressures"] == []
        assert owner["in_flight"] == 40
        assert (owner["dependencies"], owner["breakers"]) == ({"state": False}, {"sim/m": "open"})
        assert owner["dropped"] == {"audit records": 2}
        names = [each["name"] for each in owner["pressures"]]
        assert set(names[:4]) == {
            "The state is down", "sim/m is given a rest", "Dropped: audit records",
            "Budget of organisation other, this day",
        }  # fmt: skip
        assert names[4:] == [
            "Disk of the data folder", "Waiting: traces", "Requests at one time", "Connections",
            "Waiting: audit records",
        ] or names[4:6] == ["Disk of the data folder", "Waiting: traces"]  # fmt: skip
        assert owner["spend"] == admin["spend"] == []

    sighted(tmp_path, case, status=lambda: BUSY, dropped=lambda: {"audit records": 2}, sight=sight)


def test_a_foreign_organisation_is_refused_but_to_an_owner(tmp_path: Path) -> None:
    async def case(it: Sighted) -> None:
        it.recent([event(org="other")])
        assert (await overview(it, "owner", "org=other"))["errors"]["requests"] == 1
        for path in ("/overview", "/overview/live"):
            told = await it.it.ask("GET", f"/api/v1{path}?org=other", by=await it.it.as_("admin"))
            assert told.status == 403
        for role in ("developer", "team-admin", "reviewer", "auditor", "caller"):
            assert (await it.it.ask("GET", "/api/v1/overview", by=await it.it.as_(role))).status == 403

    sighted(tmp_path, case)


def test_a_store_that_is_down_does_not_take_the_overview_away(tmp_path: Path) -> None:
    async def down(**_named: Any) -> None:
        raise Unavailable

    async def case(it: Sighted) -> None:
        it.recent([event()])
        await capped(it, "org:acme")
        await it.it.spend("org:acme@2027-01-15", 7)
        owner = await it.it.as_("owner")
        ask = await it.it.ask("GET", "/api/v1/overview", by=owner)
        assert (ask.json["today_nanos"], len(ask.json["spend"])) == (7, 1)
        acme = "/api/v1/overview?org=acme"
        await it.it.records.close()
        told = (await it.it.ask("GET", acme, by=owner)).json
        assert (told["spend"], told["today_nanos"], told["errors"]["requests"]) == ([], 7, 1)
        it.it.ledger.balance = down
        told = (await it.it.ask("GET", acme, by=owner)).json
        assert told["pressures"][0]["name"] == "The ledger is down"
        assert (told["spend"], told["errors"]["requests"]) == ([], 1)

    sighted(tmp_path, case)


def test_a_budget_that_a_user_got_by_default_is_told_of_its_organisation(tmp_path: Path) -> None:
    async def case(it: Sighted) -> None:
        it.it.management.headroom.fills = (
            Fill("org:acme/user:kim@2027-01", 5, 3, 10, hard=False),
            Fill("org:acme-2/user:kim@2027-01", 5, 3, 10),
        )
        (row,) = (await overview(it))["spend"]
        assert row == {
            "account": "org:acme/user:kim@2027-01", "level": "user", "window": "month", "limit_nanos": 10,
            "posted_nanos": 5, "held_nanos": 3, "room_nanos": 2, "hard": False, "percent": 80.0, "eta_s": 0.0,
        }  # fmt: skip

    sighted(tmp_path, case)


# --- meters ---------------------------------------------------------------------------------------------------


def limited(user: str, org: str = "acme", rpm: int = 60, *, window: bool = False) -> Principal:
    scopes = (
        Scope(
            level="org",
            path=f"org:{org}",
            rate=Rate(requests_per_minute=100, tokens_per_minute=1000, window=window),
        ),
        Scope(
            level="user",
            path=f"org:{org}/user:{user}",
            rate=Rate(requests_per_minute=rpm, concurrency=2, window=window),
        ),
    )
    return Principal(key_id=user, org=org, team="t", project="p", user=user, scopes=scopes)


@pytest.mark.parametrize("window", [False, True], ids=["bucket", "window"])
def test_limits_are_told_as_far_as_they_are_taken_and_reading_takes_nothing(window: bool) -> None:
    async def case() -> None:
        clock = ManualClock()
        state, plans = EmbeddedState(clock), Plans(clock)
        read = Meters(plans, state).read
        assert await read("acme") == []
        plan = plans.of(limited("u", window=window))
        assert await read("acme") == []
        await state.take(plan.asks_for(300), "req_1")
        for _ in range(3):
            found = {(each.path, each.name): (each.used, each.limit) for each in await read("acme")}
            assert found == {
                ("org:acme", "org requests per minute"): (1, 100),
                ("org:acme", "org tokens per minute"): (300, 1000),
                ("org:acme/user:u", "user requests per minute"): (1, 60),
                ("org:acme/user:u", "user requests at one time"): (1, 2),
            }
        assert await read("acm") == await read("other") == []
        clock.advance(30)  # a bucket is half full again and more, a window is as it was
        used = {each.name: each.used for each in await read("acme")}
        assert used.get("org tokens per minute", 0) == (300 if window else 0)
        clock.advance(30)
        assert [each.name for each in await read("acme")] == ["user requests at one time"]

    run(case())


def test_one_reading_asks_a_bounded_number_of_limits_the_latest_callers_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []

    class Counting(EmbeddedState):
        async def peek(self, asks: Any) -> Taken:
            asked.append(len(asks))
            return await super().peek(asks)

    async def case() -> None:
        clock = ManualClock()
        state, plans = Counting(clock), Plans(clock)
        kept = [limited(f"u{number}") for number in range(20)]
        for each in kept:
            await state.take(plans.of(each).asks, each.user)
        monkeypatch.setattr(meters, "ASKED_MOST", 10)
        found = await Meters(plans, state).read("acme")
        assert asked == [10]
        assert {each.path for each in found} >= {"org:acme/user:u19", "org:acme/user:u18"}
        assert "org:acme/user:u0" not in {each.path for each in found}

    run(case())


def test_a_state_that_is_down_tells_nothing() -> None:
    class Down(EmbeddedState):
        async def peek(self, asks: list[Ask]) -> Taken:
            raise Unavailable

    async def case() -> None:
        clock = ManualClock()
        plans = Plans(clock)
        plans.of(limited("u"))
        assert await Meters(plans, Down(clock)).read("acme") == []

    run(case())


# --- made at most so often ------------------------------------------------------------------------------------


def living(seconds: float) -> Callable[[int], float]:
    return lambda _: seconds


def test_a_value_is_made_anew_at_its_age_and_not_before_and_the_number_kept_is_bounded() -> None:
    async def case() -> None:
        clock, fresh, made = ManualClock(), Fresh[int](), [0]

        async def make() -> int:
            made[0] += 1
            return made[0]

        assert [
            await fresh.get("a", living(2.0), clock, make),
            await fresh.get("a", living(2.0), clock, make),
        ] == [1, 1]
        clock.advance(1.999)
        assert await fresh.get("a", living(2.0), clock, make) == 1
        clock.advance(0.001)
        assert await fresh.get("a", living(2.0), clock, make) == 2
        assert await fresh.get("a", living(0.0), clock, make) == 3
        assert await fresh.get("b", living(2.0), clock, make) == 4
        for number in range(KEPT * 2):
            await fresh.get(str(number), living(2.0), clock, make)
        assert len(fresh._slots) == KEPT

    run(case())


def test_a_making_that_failed_is_tried_again() -> None:
    async def case() -> None:
        clock, fresh = ManualClock(), Fresh[int]()

        async def fail() -> int:
            raise Unavailable

        async def make() -> int:
            return 1

        with pytest.raises(Unavailable):
            await fresh.get("a", living(9.0), clock, fail)
        assert await fresh.get("a", living(9.0), clock, make) == 1

    run(case())
