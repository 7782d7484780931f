"""Requests: each filter means what it says, and nobody sees further than their role reaches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.management.filters import Filter, admitting, within_reach
from penstock.gateway.management.request_models import RequestView, request_view
from penstock.kernel.context import Principal
from penstock.kernel.errors import Forbidden, Invalid
from penstock.kernel.events import Call, RequestEvent
from penstock.ports.traces import TraceFilter
from tests.unit.gateway.management.sight_rig import NOW_S, Sighted, event, sighted

FILTERS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("team=a", {"team": "a"}, {"team": "ab"}),
    ("project=a", {"project": "a"}, {"project": ""}),
    ("user=a", {"user": "a"}, {"user": "A"}),
    ("key_id=a", {"key_id": "a"}, {"key_id": "b"}),
    ("feature=a%2Fb", {"feature": "a/b"}, {"feature": "a"}),
    ("model=m", {"model": "x", "model_used": "m"}, {"model": "m", "model_used": "x"}),
    ("model=m", {"model": "m"}, {"model": "m2"}),
    ("provider=p", {"provider": "p"}, {"provider": "q"}),
    ("outcome=ok", {"status": 399}, {"status": 400}),
    ("outcome=refused", {"status": 400}, {"status": 399}),
    ("outcome=refused", {"status": 499}, {"status": 500}),
    ("outcome=failed", {"status": 500}, {"status": 499}),
    ("since_s=1800000000", {"at_s": NOW_S}, {"at_s": NOW_S - 0.001}),
    ("until_s=1800000000", {"at_s": NOW_S - 0.001}, {"at_s": NOW_S}),
]


@pytest.mark.parametrize(("query", "inside", "outside"), FILTERS)
def test_a_filter_shows_what_matches_listed_and_live(
    tmp_path: Path, query: str, inside: dict[str, Any], outside: dict[str, Any]
) -> None:
    async def case(it: Sighted) -> None:
        admin = await it.it.as_("admin")
        wanted, other = event(**inside), event(**outside)
        await it.keep(wanted, other)
        assert await it.ids(f"/requests?{query}", admin) == [wanted.request_id]
        assert len(await it.ids("/requests", admin)) == 2
        live = admitting(within_reach(admin_principal(), asked_of(query)))
        assert live(wanted)
        assert not live(other)

    sighted(tmp_path, case)


_NAME = st.sampled_from(["", "a", "b"])
_NAMES = ("org", "team", "project", "user", "key_id", "feature", "model", "provider")


@given(
    st.fixed_dictionaries(dict.fromkeys(_NAMES, _NAME)),
    st.fixed_dictionaries(dict.fromkeys((*_NAMES, "model_used"), _NAME)),
    st.sampled_from(["", "ok", "refused", "failed"]),
    st.sampled_from([200, 404, 503]),
)
def test_a_live_view_s_question_is_the_filter_s(
    asked: dict[str, str], told: dict[str, str], outcome: str, status: int
) -> None:
    wanted = TraceFilter(**asked, outcome=outcome)
    heard = event(**told, status=status)
    assert admitting(wanted)(heard) == wanted.admits(heard)


def asked_of(query: str) -> Filter:
    """Return a filter as the framework reads it from a query of one member."""
    name, _, value = query.partition("=")
    return Filter.model_validate({name: value.replace("%2F", "/")})


def admin_principal(**fields: str) -> Principal:
    told = {"key_id": "k", "org": "acme", "team": "search", "project": "p", "user": "u", "role": "admin"}
    return Principal(**(told | fields))


REACH: list[tuple[str, str, set[str]]] = [
    ("developer", "", {"own"}),
    ("developer", "team=search", {"own"}),
    ("developer", "team=ads", set()),
    ("developer", "user=mate", set()),
    ("team-admin", "", {"own", "mate"}),
    ("team-admin", "user=mate", {"mate"}),
    ("team-admin", "team=ads", set()),
    ("reviewer", "", {"own", "mate"}),
    ("admin", "", {"own", "mate", "ads"}),
    ("admin", "team=ads", {"ads"}),
    ("auditor", "", {"own", "mate", "ads"}),
    ("owner", "", {"own", "mate", "ads"}),
    ("owner", "org=other", {"foreign"}),
    ("owner", "org=*", {"own", "mate", "ads", "foreign"}),
]


async def populated(it: Sighted, user: str) -> dict[str, RequestEvent]:
    """Keep one request of each distance from somebody, and return them by its name."""
    made = {
        "own": event(user=user),
        "mate": event(user="mate"),
        "ads": event(team="ads", user=user),
        "foreign": event(org="other", user=user),
    }
    await it.keep(*made.values())
    return made


@pytest.mark.parametrize(("role", "query", "seen"), REACH)
def test_a_role_sees_as_far_as_it_reaches(tmp_path: Path, role: str, query: str, seen: set[str]) -> None:
    async def case(it: Sighted) -> None:
        who = await it.it.as_(role)
        made = await populated(it, who.id)
        ids = await it.ids(f"/requests?{query}", who)
        assert sorted(ids) == sorted(made[name].request_id for name in seen)
        costs = (await it.it.ask("GET", f"/api/v1/costs?by=user&{query}", by=who)).json
        assert costs["total"]["requests"] == sum(row["requests"] for row in costs["rows"]) == len(seen)
        async with it.live(f"/requests/live?{query}", who) as looking:
            it.recent(list(made.values()))
            await it.it.ask("GET", "/api/v1/requests", by=who)  # as long as it takes to be told
            assert {row["request_id"] for row in looking.named("request")} == set(ids)

    sighted(tmp_path, case)


@pytest.mark.parametrize("role", ["developer", "team-admin", "reviewer", "admin", "auditor", "owner"])
def test_one_request_out_of_reach_looks_absent_kept_or_just_ended(tmp_path: Path, role: str) -> None:
    seen = {name for each, query, names in REACH if each == role and query in {"", "org=*"} for name in names}

    async def case(it: Sighted) -> None:
        who = await it.it.as_(role)
        made = await populated(it, who.id)
        absent = await it.it.ask("GET", "/api/v1/requests/req_none", by=who)
        assert absent.status == 404
        for heard in ((), list(made.values())):
            it.recent(heard)
            for name, each in made.items():
                told = await it.it.ask("GET", f"/api/v1/requests/{each.request_id}", by=who)
                assert told.status == (200 if name in seen else 404), (name, told.text)
                if name not in seen:
                    assert told.text.replace(each.request_id, "req_none") == absent.text

    sighted(tmp_path, case)


@pytest.mark.parametrize("role", ["developer", "team-admin", "reviewer", "admin", "auditor"])
@pytest.mark.parametrize("org", ["other", "*"])
@pytest.mark.parametrize("path", ["/requests", "/requests/live", "/costs"])
def test_another_organisation_is_refused_by_name(tmp_path: Path, role: str, org: str, path: str) -> None:
    async def case(it: Sighted) -> None:
        told = await it.it.ask("GET", f"/api/v1{path}?org={org}", by=await it.it.as_(role))
        assert (told.status, told.error["param"]) == (403, "org")

    sighted(tmp_path, case)


@pytest.mark.parametrize(
    "lacking",
    [
        {"role": "team-admin", "team": ""}, {"role": "developer", "user": ""}, {"role": "developer", "team": ""},
        {"role": "admin", "org": ""}, {"role": "reviewer", "team": ""}, {"role": "nobody"}, {"role": ""},
    ],
)  # fmt: skip
def test_an_empty_name_never_widens_a_reach(lacking: dict[str, str]) -> None:
    assert within_reach(admin_principal(**lacking), Filter()) is None


def test_the_reach_is_a_part_of_the_filter() -> None:
    narrowed = within_reach(admin_principal(role="developer"), Filter(model="m"))
    assert narrowed == TraceFilter(org="acme", team="search", user="u", model="m")
    with pytest.raises(Forbidden):
        within_reach(admin_principal(role="developer"), Filter(org="other"))


def test_a_period_that_ends_before_it_begins_is_refused_and_an_instant_is_empty() -> None:
    with pytest.raises(Invalid):
        within_reach(admin_principal(), Filter(since_s=2, until_s=1.999))
    assert within_reach(admin_principal(), Filter(since_s=2, until_s=2)) is not None


@pytest.mark.parametrize(
    "query",
    [
        "limit=0", "limit=201", "after=nonsense", "outcome=fine", "ouctome=ok", "since_s=nan", "until_s=inf",
        "since_s=-1", "team=%00", "org=a/b", f"model={'x' * 257}", "since_s=2&until_s=1",
    ],
)  # fmt: skip
def test_what_is_no_filter_is_refused(tmp_path: Path, query: str) -> None:
    async def case(it: Sighted) -> None:
        told = await it.it.ask("GET", f"/api/v1/requests?{query}", by=await it.it.as_("owner"))
        assert told.status == 400, told.text
        assert told.error["param"]

    sighted(tmp_path, case)


def test_pages_have_every_request_once_and_are_as_full_as_there_are(tmp_path: Path) -> None:
    async def case(it: Sighted) -> None:
        who = await it.it.as_("developer")
        own = [event(user=who.id, at_s=NOW_S + number) for number in range(5)]
        await it.keep(*own, *(event(user="mate", at_s=NOW_S + number) for number in range(20)))
        found: list[str] = []
        sizes: list[int] = []
        after = ""
        while True:
            told = (await it.it.ask("GET", f"/api/v1/requests?limit=2&after={after}", by=who)).json
            found += [row["request_id"] for row in told["requests"]]
            sizes.append(len(told["requests"]))
            after = told["after"]
            if not after:
                break
        assert found == [each.request_id for each in reversed(own)]
        assert sizes == [2, 2, 1]

    sighted(tmp_path, case)


def test_a_request_comes_with_its_spans_the_root_first(tmp_path: Path) -> None:
    async def case(it: Sighted) -> None:
        calls = (Call("sim", "small", 5.0, 20.0, "overloaded"), Call("sim", "big", 30.0, 90.0, "ok", 7, 3, 4))
        each = event(
            model="gpt", provider="sim", model_used="big", calls=calls, routed_ms=1.0, admitted_ms=2.0,
            latency_ms=90.0, cost_nanos=7, flags=("estimated",), temperature=0.5,
        )  # fmt: skip
        await it.keep(each)
        told = await it.it.ask("GET", f"/api/v1/requests/{each.request_id}", by=await it.it.as_("admin"))
        shown, spans = told.json["request"], told.json["spans"]
        assert shown["calls"][1] == {
            "provider": "sim", "model": "big", "began_ms": 30.0, "ended_ms": 90.0, "outcome": "ok",
            "cost_nanos": 7, "input_tokens": 3, "output_tokens": 4,
        }  # fmt: skip
        assert (shown["outcome"], shown["flags"], shown["temperature"]) == ("ok", ["estimated"], 0.5)
        assert [span["depth"] for span in spans] == [0] + [1] * (len(spans) - 1)
        assert [span["error"] for span in spans if span["kind"] == "client"] == ["overloaded", ""]
        assert spans[0]["attributes"]["penstock.request_id"] == each.request_id

    sighted(tmp_path, case)


def test_a_request_shows_every_field_of_its_event_under_its_name() -> None:
    assert set(RequestView.model_fields) == {*RequestEvent.__struct_fields__, "outcome"}
    shown = request_view(event(model="m", status=503, error="overloaded"))
    assert (shown.model, shown.status, shown.error, shown.outcome) == ("m", 503, "overloaded", "failed")


def test_a_text_that_no_utf8_can_hold_does_not_break_its_page() -> None:
    request_view(
        event(feature="\ud800", flags=("\udfff",), calls=(Call("\ud800", "", 0, 0),))
    ).model_dump_json()


def test_without_traces_the_routes_say_so(tmp_path: Path) -> None:
    async def case(it: Sighted) -> None:
        for path in (
            "/requests",
            "/requests/req_1",
            "/costs",
            "/requests/live",
            "/overview",
            "/overview/live",
        ):
            told = await it.it.ask("GET", f"/api/v1{path}", by=await it.it.as_("owner"))
            assert (told.status, told.error["code"]) == (503, "no_traces"), path

    sighted(tmp_path, case, traces=None, recent=None)
