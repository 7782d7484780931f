"""Limits and budgets at the console, on a whole platform: every level, by whoever may, exactly as typed."""

from __future__ import annotations

from html import unescape

import pytest

from penstock.console.inputs import fingerprint
from penstock.kernel.context import Cap, Rate
from penstock.mechanisms.scopes import ScopeDoc
from tests.unit.console.place import Visitor, filled, place, scope_of, wrong_fields


@pytest.fixture(scope="module")
def it(tmp_path_factory):
    with place(tmp_path_factory.mktemp("limits")) as made:
        yield made


@pytest.fixture(scope="module")
def ada(it) -> Visitor:
    return it.person("owner")


@pytest.fixture(scope="module")
def people(it) -> dict[str, Visitor]:
    return {"team-admin": it.person("team-admin")}


TEAM = "/keys/limits?level=team&org=acme&team=money"
PATH = "org:acme/team:money"


def test_limits_are_set_exactly_and_what_was_not_touched_stays(it, ada):
    first = ada.fill(TEAM, day_dollars="19.30", day_warn="50, 90", user_month_dollars="0.29", user_month_hard="soft",
                     tokens_per_minute="1,200,000")  # fmt: skip
    assert first.location.endswith(f"/console/keys#{PATH}")
    kept = scope_of(it, PATH)
    assert kept.caps == (Cap(window="day", limit_nanos=19_300_000_000, warn_percent=(50, 90)),)
    assert kept.user_caps == (Cap(window="month", limit_nanos=290_000_000, hard=False),)
    assert kept.rate == Rate(tokens_per_minute=1_200_000)
    assert ada.fill(TEAM, name="Money").status == 303
    assert scope_of(it, PATH) == ScopeDoc(path=PATH, level="team", name="Money", rate=kept.rate, caps=kept.caps,
                                          user_rate=kept.user_rate, user_caps=kept.user_caps)  # fmt: skip
    html = ada.get("/keys").text
    assert "of <span" in html
    assert "$19.30" in html


def test_a_tick_counts_over_any_minute_until_it_is_taken_away(it, ada):
    where, path = "/keys/limits?level=team&org=acme&team=exact", "org:acme/team:exact"
    assert ada.fill(where, requests_per_minute="60", window="yes", user_concurrency="2").status == 303
    assert scope_of(it, path).rate == Rate(requests_per_minute=60, window=True)
    assert scope_of(it, path).user_rate == Rate(concurrency=2)
    assert ada.fill(where, requests_per_minute="70").status == 303
    assert scope_of(it, path).rate == Rate(requests_per_minute=70, window=True)
    assert "70 requests in any minute" in ada.get("/keys").text
    form, _ = filled(ada.get(where).text)
    del form["window"]
    assert ada.post("/keys/limits", form).status == 303
    assert scope_of(it, path).rate == Rate(requests_per_minute=70)


def test_limits_with_mistakes_keep_what_was_typed_and_set_nothing(it, ada):
    where = "/keys/limits?level=team&org=acme&team=never-set"
    reply = ada.fill(where, day_dollars="1.0000000001", user_day_dollars="-1", concurrency="9")
    assert reply.status == 400
    assert wrong_fields(reply.text) == {"day_dollars", "user_day_dollars"}
    assert filled(reply.text)[0]["concurrency"] == "9"
    assert scope_of(it, "org:acme/team:never-set") is None


def test_limits_somebody_else_set_meanwhile_are_not_overwritten_unseen(it, ada):
    where = "/keys/limits?level=team&org=acme&team=shared"
    form, _ = filled(ada.get(where).text)
    ada.fill(where, concurrency="7")
    stale = ada.post("/keys/limits", form | {"concurrency": "5"})
    assert stale.status == 409
    assert scope_of(it, "org:acme/team:shared").rate.concurrency == 7
    assert ada.post("/keys/limits", filled(stale.text)[0]).status == 303
    assert scope_of(it, "org:acme/team:shared").rate.concurrency == 5


@pytest.mark.parametrize(
    ("level", "names", "path"),
    [
        ("org", "", "org:acme"),
        ("team", "&team=t", "org:acme/team:t"),
        ("project", "&team=t&project=p", "org:acme/team:t/project:p"),
        ("user", "&user=u", "org:acme/user:u"),
    ],
)
def test_every_level_can_be_set(it, ada, level, names, path):
    assert ada.fill(f"/keys/limits?level={level}{names}", concurrency="12").status == 303
    assert scope_of(it, path).rate.concurrency == 12


def test_a_level_asks_for_the_names_it_needs(it, ada):
    assert 'name="level"' in ada.get("/keys/limits").text
    reply = ada.get("/keys/limits?level=project&team=search&project=")
    assert reply.status == 400
    assert wrong_fields(reply.text) == {"project"}


def test_a_team_admin_divides_the_team_among_projects_and_no_more(it, people):
    jens = people["team-admin"]
    project = "/keys/limits?level=project&team=search&project=fresh"
    assert jens.fill(project, day_dollars="3").status == 303
    assert scope_of(it, "org:acme/team:search/project:fresh").caps[0].limit_nanos == 3_000_000_000
    assert jens.get("/keys/limits?level=team&team=search").status == 403
    form, _ = filled(jens.get(project).text)
    assert jens.post("/keys/limits", form | {"level": "team"}).status == 403
    refused = jens.post("/keys/limits", form | {"team": "ops", "seen": fingerprint(None)})
    assert refused.status == 403
    assert "own team only" in refused.text
    assert scope_of(it, "org:acme/team:ops/project:fresh") is None
    html = unescape(jens.get("/keys").text)
    assert "level=project&org=acme&team=search&project=fresh" in html
    assert "level=team&" not in html
