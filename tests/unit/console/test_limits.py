"""Limits and budgets in forms, bars and the tree: nothing changes on the way, mistakes go back to their fields."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.console.inputs import NANOS_MOST, Reading
from penstock.console.limits import fills, place_problem, rate_words, read_caps, read_rate, typed_limits
from penstock.console.tree import edit_address, names_of, path_of, paths_above, tree
from penstock.kernel.context import Cap, Rate
from penstock.kernel.errors import Forbidden, Invalid
from penstock.mechanisms.scopes import scope_paths
from penstock.sdk.replies import Budget, Key, ScopeLimits

COUNTS = st.integers(0, 1_000_000_000)
RATES = st.builds(
    Rate,
    requests_per_minute=COUNTS,
    tokens_per_minute=COUNTS,
    concurrency=COUNTS,
    window=st.booleans(),
)
WARNINGS = st.sets(st.integers(1, 100), max_size=10).map(lambda found: tuple(sorted(found)))


def cap(window: str) -> st.SearchStrategy[Cap]:
    return st.builds(
        Cap, window=st.just(window), limit_nanos=st.integers(0, NANOS_MOST), warn_percent=WARNINGS, hard=st.booleans()
    )  # fmt: skip


CAPS = st.tuples(*(st.none() | cap(window) for window in ("day", "month", "total"))).map(
    lambda found: tuple(each for each in found if each)
)


@given(RATES, CAPS, st.sampled_from(["", "user_"]))
def test_a_form_gives_back_the_limits_it_was_filled_from(rate, caps, prefix):
    reading = Reading(typed_limits(rate, caps, prefix))
    assert (read_rate(reading, prefix), read_caps(reading, prefix), reading.wrong) == (rate, caps, {})


def test_the_words_of_a_limit_say_how_it_is_counted():
    rate = Rate(requests_per_minute=60, concurrency=2)
    assert rate_words(rate) == ("60 requests/min", "2 at once")
    exact = Rate(requests_per_minute=60, concurrency=2, window=True)
    assert rate_words(exact) == ("60 requests in any minute", "2 at once")
    assert rate_words(Rate(window=True)) == ()


def test_an_amount_of_nothing_is_a_budget_of_nothing_and_no_amount_is_none():
    typed = typed_limits(Rate(), ()) | {"day_dollars": "0"}
    (only,) = read_caps(Reading(typed))
    assert (only.window, only.limit_nanos, only.hard) == ("day", 0, True)


CAP = Cap(window="month", limit_nanos=1)


@pytest.mark.parametrize(
    ("field", "at"),
    [
        ("team", "team"),
        ("rate.concurrency", "concurrency"),
        ("user_rate.concurrency", "user_concurrency"),
        ("max_request_nanos", "max_request_dollars"),
        ("expires_in_s", "expires"),
        ("caps.0.limit_nanos", "month_dollars"),
        ("caps.0.warn_percent", "month_warn"),
        ("user_caps.0.limit_nanos", "user_month_dollars"),
    ],
)
def test_what_the_platform_finds_wrong_stands_at_the_field_it_was_typed_into(field, at):
    fields = (
        "team",
        "expires",
        "max_request_dollars",
        *typed_limits(Rate(), ()),
        *typed_limits(Rate(), (), "user_"),
    )
    problem = Forbidden("Too much.", field=field, limit=5, remedy="Ask for less.")
    assert place_problem(problem, fields, (CAP,), (CAP,)) == {at: "Too much. At most: 5. Ask for less."}


@pytest.mark.parametrize("field", ["", "body", "caps.7.limit_nanos", "secret"])
def test_what_is_no_field_here_is_placed_nowhere(field):
    assert place_problem(Invalid("No.", field=field), ("team",), (CAP,)) == {}


# --- how full ---------------------------------------------------------------------------------------------------------


def budget(account: str, *, posted: int, held: int = 0, limit: int = 100) -> Budget:
    return Budget(account=account, level="team", window="day", limit_nanos=limit, posted_nanos=posted,
                  held_nanos=held, room_nanos=0, hard=True)  # fmt: skip


def test_held_money_counts_and_the_fullest_budget_comes_first():
    found = fills(
        [budget("org:a/team:t@total", posted=10), budget("org:a/team:t@2026-11-21", posted=60, held=20)],
        {"org:a/team:t@2026-11-21": 90.0},
    )
    day, total = found["org:a/team:t"]
    assert (day.percent, day.posted_percent, day.used_nanos, day.eta_s) == (80.0, 60.0, 80, 90.0)
    assert (total.percent, total.eta_s) == (10.0, 0.0)


def test_a_budget_of_nothing_is_full():
    (only,) = fills([budget("org:a@total", posted=0, limit=0)], {})["org:a"]
    assert only.percent == 100.0


# --- the tree ---------------------------------------------------------------------------------------------------------


def scope(path: str, level: str) -> ScopeLimits:
    return ScopeLimits(
        path=path, level=level, name="", rate=Rate(concurrency=1), caps=(), user_rate=Rate(), user_caps=()
    )


def key(team: str, project: str, user: str = "kim") -> Key:
    return Key(id="k", org="acme", team=team, project=project, user=user, name="", role="caller", models=(),
               rate=Rate(), caps=(), max_input_tokens=0, max_output_tokens=0, max_request_nanos=0, created_s=0,
               expires_s=0, revoked_s=0, end_users=False)  # fmt: skip


def test_paths_are_those_of_the_platform():
    names = {"org": "acme", "team": "search", "project": "web", "user": "kim"}
    theirs = scope_paths("acme", "search", "web", "kim", "")[:4]
    assert tuple((level, path_of(level, names)) for level, _ in theirs) == theirs
    assert paths_above(key("search", "web")) == tuple(path for _, path in theirs)
    for level, path in theirs:
        assert path_of(level, names_of(path)) == path


def test_whatever_has_limits_is_in_the_tree_below_what_is_above_it():
    scopes = [
        scope("org:acme/team:search/project:web", "project"),
        scope("org:acme/team:search-2", "team"),
        scope("org:acme/team:search-2/project:app", "project"),
        scope("org:acme/user:kim", "user"),
    ]
    root, users = tree("acme", scopes, [key("ops", "infra")], {}, frozenset({"project"}))
    assert [(team.name, [each.name for each in team.children]) for team in root.children] == [
        ("ops", ["infra"]),
        ("search", ["web"]),
        ("search-2", ["app"]),
    ]
    assert [user.name for user in users] == ["kim"]
    search = root.children[1]
    assert (root.is_set, search.is_set, search.children[0].is_set) == (False, False, True)
    assert (search.edit, bool(search.children[0].edit)) == ("", True)


def test_a_node_leads_to_its_requests_and_its_form():
    path = "org:acme/team:search/project:web"
    root, _ = tree("acme", [scope(path, "project")], [], {}, frozenset({"project"}))
    web = root.children[0].children[0]
    assert web.requests == "/console/requests?org=acme&team=search&project=web"
    assert (
        web.edit
        == edit_address(path)
        == "/console/keys/limits?level=project&org=acme&team=search&project=web"
    )
